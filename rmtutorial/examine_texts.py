"""How a text is written around prompt and answer: its end mark, a second BOS, a system turn, a blank, and what is cut."""

from dataclasses import replace

from rmtutorial.chat import control_tokens
from rmtutorial.encoding import Encoded
from rmtutorial.examine_findings import finding

NO_TEMPLATE = "It has no chat template of its own."
READ = 2048  # tokens: a longer maximum is looked at in the tokenizer only


def _change(rm, before, behind):
    """(mean change in margins, mean size of it, pairs that turn round) of texts [chosen, rejected, ...]."""
    old, new = rm.scores(before), rm.scores(behind)
    moved = (new - old) / rm.scale
    margins = (old[::2] - old[1::2]) * (new[::2] - new[1::2])
    return moved.mean().item(), moved.abs().mean().item(), int((margins < 0).sum())


def maximum_length(rm, rows):
    """Beyond the maximum length the prompt is cut, not the end of the answer, which is still read."""
    guards = "natolambert/rlhf-book#503, allenai/reward-bench#35"
    limit, positions = rm.tokenizer.model_max_length, getattr(rm.config, "max_position_embeddings", None)
    if limit > (positions or limit - 1):
        wanted = "no maximum" if limit > 1e9 else f"a maximum of {limit:,} tokens"
        said = f"The tokenizer has {wanted}, the model {positions or 'an unknown number of'} positions: nothing is cut in time."
        return finding("maximum length", "warn", said, guards, "Set tokenizer.model_max_length to what was trained.")
    text = rm.encode("Why? " * limit, ["It is so."])[0].ids  # cut on the left, as here
    ends = [
        rm.tokenizer("Why? " * limit + end, add_special_tokens=False, truncation=True).input_ids for end in ("A", "B")
    ]
    if ends[0] == ends[1]:
        said = f"Beyond {limit:,} tokens the tokenizer cuts the end (truncation_side 'right'): two answers become one."
        do = "Set tokenizer.truncation_side = 'left', or leave such texts out; check that no pair became identical."
        return finding("maximum length", "warn", said, guards, do)
    if limit > READ:
        said = f"The prompt's left end is cut beyond {limit:,} tokens; so long a text was not read."
        return finding("maximum length", "ok", said, guards, "")
    other = Encoded([*text[: -len(rm.tail()) - 2], text[0], *text[len(text) - len(rm.tail()) - 1 :]], 0)
    moved = abs(rm.forward([Encoded(text, 0)]) - rm.forward([other])).item() / rm.scale
    said = f"Cut on the left to {len(text):,} tokens, the end of the answer still moves the score, by {moved:.1%} of a margin."
    do = "Nothing of the answer is read at this length (or the score is not finite): set a smaller model_max_length."
    return finding("maximum length", "ok" if moved > 1e-4 else "fail", said, guards, do)


def end_mark(rm, rows):
    """Every answer ends in an end mark; what a text without it gets, as an answer that was cut off."""
    guards = "allenai/reward-bench PR#94, OpenRLHF/OpenRLHF#300, OpenRLHF/OpenRLHF#238"
    if not rm.templated:
        return finding("end mark", "skipped", NO_TEMPLATE, guards, "")
    tail = rm.tail()
    special = set(rm.tokenizer.all_special_ids) | set(
        rm.tokenizer.convert_tokens_to_ids(list(control_tokens(rm.tokenizer)))
    )
    if not special & set(tail):
        said = "Nothing stands behind an answer: one that was cut off looks like a whole one."
        return finding(
            "end mark",
            "warn",
            said,
            guards,
            "Add the end token to the chat template's assistant turn, and train with it.",
        )
    mark = repr(rm.tokenizer.decode(tail))
    texts = rm.encode_pairs(rows.few)
    cut = [replace(text, ids=text.ids[: -len(tail)]) for text in texts]
    mean, size, turned = _change(rm, texts, cut)
    said = (
        f"Without the end {mark} rewards move by {mean:+.0%} of a margin on average ({size:.0%} in size), and {turned} of "
        f"{len(rows.few)} pairs turn round."
    )
    bad = mean > 0.5 or turned > len(rows.few) / 4
    do = "Never score a text without its end mark: append it, or give answers that were cut off a reward of their own (TRL's missing_eos_penalty)."
    return finding("end mark", "warn" if bad else "ok", said, guards, do)


def second_bos(rm, rows):
    """Tokenizing the template's text adds no token that the template has written already."""
    guards = "allenai/reward-bench#164, RLHFlow/RLHF-Reward-Modeling#16"
    if not rm.templated:
        return finding("second bos", "skipped", NO_TEMPLATE, guards, "")
    talks = [_talk(pair.prompt, answer) for pair in rows.few[:4] for answer in (pair.chosen, pair.rejected)]
    written = [rm.tokenizer.apply_chat_template(talk, tokenize=False) for talk in talks]
    ids, more = (rm.tokenizer(written, add_special_tokens=add)["input_ids"] for add in (False, True))
    added = len(more[0]) - len(ids[0])
    if ids == more:
        said = "Tokenizing the template's text with special tokens adds none."
        return finding("second bos", "ok", said, guards, "")
    _, size, turned = _change(rm, *([Encoded(row, 0) for row in rows] for rows in (ids, more)))
    said = (
        f"Tokenizing the template's text adds {added} ({rm.tokenizer.decode(more[0][:2])!r} ...): rewards move by {size:.0%} of a "
        f"margin, and {turned} of {len(talks) // 2} pairs turn round."
    )
    do = "Tokenize with add_special_tokens=False, or take the token out of the tokenizer's post-processor or the template."
    return finding("second bos", "warn", said, guards, do)


def _talk(prompt, answer):
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return [*turns, {"role": "assistant", "content": answer}]


def system_turn(rm, rows):
    """The template writes nothing of its own before the first turn: no system turn, no date."""
    guards = "allenai/open-instruct PR#199 (adds one), huggingface/trl#1979, OpenRLHF/OpenRLHF#242 (whose template?)"
    do = "Write the same system turn in training, in the policy and here, or take it out of the template."
    if not rm.templated:
        return finding("system turn", "skipped", NO_TEMPLATE, guards, "")
    if rm.dated:
        said = "The template writes today's date: a text has another score tomorrow. Here the date is fixed."
        return finding("system turn", "warn", said, guards, "Fix the date in the template, and save it.")
    extra = _before_all(rm)
    if not extra.strip():
        return finding("system turn", "ok", "The template writes none that was not asked for.", guards, do)
    ids = rm.tokenizer(extra, add_special_tokens=False)["input_ids"]
    texts = rm.encode_pairs(rows.few)
    without = [replace(text, ids=text.ids[len(ids) :]) for text in texts]
    _, size, turned = _change(rm, texts, without)
    said = (
        f"It writes {len(ids)} tokens before every conversation ({extra[:60]!r}); without them rewards move by {size:.0%} of a "
        f"margin, and {turned} of {len(rows.few)} pairs turn round."
    )
    return finding("system turn", "warn", said, guards, do)


def _before_all(rm):
    """What stands before the first user turn and not before the second, if there are words in it."""
    one, two = "First question", "Second question"
    text = rm.tokenizer.apply_chat_template([*_talk(one, "Answer."), *_talk(two, "Answer.")], tokenize=False)
    first, between = text.partition(one)[0], text.partition("Answer.")[2].partition(two)[0]
    same = next(
        (i for i, (a, b) in enumerate(zip(first[::-1], between[::-1])) if a != b), min(len(first), len(between))
    )
    extra = words = first[: len(first) - same]
    for token in control_tokens(rm.tokenizer):
        words = words.replace(token, "")
    return extra if words.strip() else ""


def trailing_blank(rm, rows):
    """A blank or a newline behind an answer is nothing that anybody asked for: its reward should hardly move."""
    guards = "huggingface/trl#1702 (tokens merge where prompt and answer meet)"
    texts = rm.encode_pairs(rows.few)
    sizes, turns = [], []
    for end in (" ", "\n"):
        more = [t for p in rows.few for t in rm.encode(p.prompt, [p.chosen + end, p.rejected + end])]
        _, size, turned = _change(rm, texts, more)
        sizes.append(size)
        turns.append(turned)
    said = (
        f"A blank behind the answer moves rewards by {sizes[0]:.0%} of a margin, a newline by {sizes[1]:.0%}; {turns[0]} and "
        f"{turns[1]} of {len(rows.few)} pairs turn round."
    )
    bad = max(sizes) > 0.5 or max(turns) > len(rows.few) / 4
    return finding(
        "trailing blank",
        "warn" if bad else "ok",
        said,
        guards,
        "Strip every answer before it is scored, in training too.",
    )


CHECKS = (maximum_length, end_mark, second_bos, system_turn, trailing_blank)
