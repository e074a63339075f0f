"""What is read: up to which token, the prompt as well, the right way round, and can prompts be compared?"""

from dataclasses import replace

import torch

from rmtutorial.examine_findings import finding
from rmtutorial.intervals import accuracy_interval, units


def position(rm, rows):
    """Every token of the answer moves the score, its end mark too: one token is replaced at a time."""
    guards = "huggingface/trl PR#6952, huggingface/transformers#35352, EleutherAI/gpt-neox PR#1285"
    text = min(rm.encode_pairs(rows.easy), key=lambda text: len(text.ids))
    moves, tail = _moves(rm, text), len(rm.tail())
    last = max((i for i, moved in enumerate(moves) if moved), default=-1)
    end = len(moves) - tail - 1  # of the answer's own words
    said = (
        f"{sum(moves)} of {len(moves)} tokens move the score, {sum(moves[text.start :])} of them behind the prompt; the last that "
        f"does is {rm.tokenizer.decode([text.ids[last]])!r}, {len(moves) - 1 - last} before the end."
    )
    if last < end:
        do = "The score is read from a token before the end of the answer: from the first end mark, off by one, or from the prompt."
        said += f" Not read: {rm.tokenizer.decode(text.ids[last + 1 : end + 1])!r}."
        return finding("position", "fail", said, guards, do)
    ends = [i for i in text.ids[len(text.ids) - tail :] if i == rm.pad]
    if ends and text.ids[-1] == rm.pad:
        without = replace(text, ids=text.ids[: -len(ends)])
        if abs(rm.scores([text]) - rm.scores([without])).item() <= 1e-4 * rm.scale:
            do = "The pad token is the end mark, and is skipped: libraries that pool by the mask give another score. Take another pad token."
            return finding("position", "warn", f"{said} The end mark itself is not read.", guards, do)
    return finding("position", "ok", said, guards, "")


def _moves(rm, text):
    """Of every token: does the score move when another one stands in its place? (T,) bools."""
    ids = list(text.ids)
    other = max(set(ids) - {rm.pad, *rm.tokenizer.all_special_ids}, key=ids.count)
    spare = next(i for i in ids if i not in (other, rm.pad, *rm.tokenizer.all_special_ids))
    rows = [replace(text, ids=[*ids[:i], spare if ids[i] == other else other, *ids[i + 1 :]]) for i in range(len(ids))]
    return ((rm.scores(rows) - rm.scores([text])).abs() > 1e-4 * rm.scale).tolist()


def prompt(rm, rows):
    """With another prompt another answer is right: the two prompts of mirror sets, exchanged; then no prompt at all."""
    guards = "huggingface/trl#204 (the same answer to every prompt)"
    first, second = (rm.margins([both[k] for both in rows.mirrors]) for k in (0, 1))
    together = first + second  # (sets,): 0 where the prompt is not read, since the answers are the same two
    right = (together > 0).float()
    low, high = accuracy_interval(right, [both[0].group for both in rows.mirrors])
    blank = rm.right([replace(pair, prompt="") for pair in rows.easy])
    said = (
        f"Exchanging the prompts of {len(rows.mirrors)} mirror sets moves the margin to the right side in {_share(right, low, high)} "
        f"(chance 0.50). With a blank prompt {blank.mean():.2f} of the plain pairs are ranked right, with theirs "
        f"{rm.right(rows.easy).mean():.2f}."
    )
    if together.abs().max() <= 0.01 * rm.scale:
        do = "The prompt does not reach the score: look for a cut, a mask over the prompt, or answers that are scored alone."
        return finding("prompt", "fail", f"Another prompt changes no margin. {said}", guards, do)
    do = "It judges answers mostly by themselves: add pairs of which each answer is right for one of two prompts."
    return finding("prompt", "warn" if low <= 0.5 <= high else "ok", said, guards, do)  # the wrong way: see `sign`


def _share(right, low, high):
    return f"{right.mean():.2f} [{low:.2f}, {high:.2f}]"


def sign(rm, rows):
    """Answers that are plainly better get more."""
    guards = "huggingface/trl#2771, huggingface/trl#2714"
    right = rm.right(rows.easy)
    low, high = accuracy_interval(right, units(rows.easy))
    kind = "of your pairs" if rows.own else "rankings, best against worst"
    said = f"{len(right)} {kind}: {_share(right, low, high)} ranked right."
    if high < 0.5:
        return finding("sign", "fail", said, guards, "Better answers get less: chosen and rejected were exchanged, or the loss has the wrong sign. Negate the score.")  # fmt: skip
    do = "No better than chance on pairs that are plain: is it the right template, the right language, a trained head?"
    return finding("sign", "ok" if low > 0.5 else "warn", said, guards, do)


def offset(rm, rows):
    """Bradley-Terry leaves every prompt an offset of its own: may answers to different prompts be compared?"""
    guards = "OpenLMLab/MOSS-RLHF#21, PeterGriffinJin/Search-R1#65"
    chosen, rejected = rm.scores(rm.encode_pairs(rows.easy)).view(-1, 2).unbind(1)
    within = (chosen - rejected).square().mean().sqrt().item()
    level = ((chosen + rejected) / 2).std().item()
    n = len(chosen)
    above = chosen[:, None] > rejected[None, :]  # (n, n): chosen of one prompt, rejected of another
    across = above[~torch.eye(n, dtype=torch.bool)].float().mean().item()
    said = (
        f"The level of a prompt (mean of its two answers) has a standard deviation of {level:.2f}, two answers to one prompt are "
        f"{within:.2f} apart; the better answer wins {above.diagonal().float().mean():.2f} within a prompt, {across:.2f} against "
        "the worse answers to others."
    )
    do = "Compare within a prompt only: subtract the prompt's mean (GRPO does), no threshold, no average over other prompts."
    return finding("offset", "warn" if level > within else "ok", said, guards, do)


CHECKS = (position, prompt, sign, offset)
