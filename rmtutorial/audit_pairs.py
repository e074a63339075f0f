"""What an audit finds by holding pairs against each other: repeats, contradictions, and leaks between the splits."""

import re
from collections import Counter, defaultdict

from rmtutorial.audit_findings import HELD_OUT, Finding
from rmtutorial.splits import MANY, prompt_key, split_by_prompt, units_of

ONE_ANSWER = 20  # times that an answer must stand there before it is called a refrain


def division(pairs):
    """(unit of each pair, split of each pair, findings about the split)."""
    units = units_of(pairs.pairs)
    try:
        splits = split_by_prompt(pairs.pairs) if not all(pairs.named) else [None] * len(units)
    except ValueError as error:  # `group` means something else
        why = "A training that holds pairs out refuses it. " + str(error).split(". ")[0] + "."
        do = "Leave the column out, columns={'group': None} (--columns group=), or add a column 'split'."
        tied = Finding("spoils", "pairs in groups that leave no fifth to hold out", len(units), [], why, do, pairs.unit)
        return units, ["train"] * len(units), [tied]
    splits = [name or held for name, held in zip(pairs.named, splits)]
    return units, splits, _leaks(pairs, units, splits) + _too_few(pairs, splits)


def _leaks(pairs, units, splits):
    """Pairs to test on whose prompt, or whose group, is trained on as well."""
    trained = {unit for unit, split in zip(units, splits) if split == "train"}
    leaks = [i for i, split in enumerate(splits) if split == "test" and units[i] in trained]
    do = "Divide by prompt: leave the column 'split' out (--columns split=), or move these pairs to one side."
    return pairs.finding("spoils", "pairs whose prompt or group is in train and in test", leaks, HELD_OUT, do)


def _too_few(pairs, splits):
    prompts = len({prompt_key(pair) for pair in pairs.pairs})
    why = f"{prompts} prompts, {splits.count('test')} pairs held out: the interval of an accuracy on them is wide."
    do = "Collect more prompts, or train with --held_out none and judge on another set."
    few = range(len(splits)) if prompts < MANY or "test" not in splits else []
    return pairs.finding("note", "pairs in all: few prompts to hold out", few, why, do)


def checks(pairs):
    """Findings that need the whole texts and nothing else."""
    return _duplicates(pairs) + _contradictions(pairs) + _almost_identical(pairs) + _one_word(pairs) + _refrains(pairs)


def _duplicates(pairs):
    seen, again = set(), []
    for i, pair in enumerate(pairs.pairs):
        key = hash((prompt_key(pair), pair.chosen, pair.rejected))
        again += [i] if key in seen else []
        seen.add(key)
    why = "A pair that is there twice counts twice, and makes intervals too narrow."
    return pairs.finding(pairs.level(again, 0.2), "pairs that repeat an earlier one", again, why, "Keep one of each.")


def _contradictions(pairs):
    rows = defaultdict(list)
    for i, pair in enumerate(pairs.pairs):
        rows[hash((prompt_key(pair), *sorted((pair.chosen, pair.rejected))))].append(i)
    against = [i for same in rows.values() if len({pairs.pairs[i].chosen for i in same}) > 1 for i in same]
    why = "The same answers to the same prompt, once this way and once the other: no model can have both right."
    do = "Take the majority of the votes, or remove both. Many of them: the raters disagree, or a column was exchanged."
    return pairs.finding(pairs.level(against, 0.01), "pairs that contradict each other", against, why, do)


def _almost_identical(pairs):
    def bare(text):
        return re.sub(r"\W+", "", text.casefold())

    alike = [i for i, p in enumerate(pairs.pairs) if bare(p.chosen) and bare(p.chosen) == bare(p.rejected)]
    why = "The preference, if it is one, is about white space, capitals or punctuation."
    what = "pairs whose answers differ in white space, capitals or punctuation only"
    return pairs.finding(pairs.level(alike, 0.1), what, alike, why, "Remove them, unless form is what you train.")


def _one_word(pairs):
    short = [i for i, p in enumerate(pairs.pairs) if is_one_word(p.chosen) or is_one_word(p.rejected)]
    sides = ", ".join(f"{sum(is_one_word(getattr(p, side)) for p in pairs.pairs):,} {side}" for side in ("chosen", "rejected"))  # fmt: skip
    why = f"({sides}) Where the prompt asks for one word that is right; else a generation that broke off."
    return pairs.finding("look" if len(short) >= 0.05 * len(pairs.pairs) else "note", "pairs with an answer of one word", short, why,
                         "Read some of them.")  # fmt: skip


def is_one_word(text):
    """No space within it, and no longer than a word: 30 letters, or 3 where a letter is a syllable or a word."""
    if len(text) > 60:
        return False
    text = text.strip(" \n\t.!?。！？")
    letters = 3 if any(ord(character) > 0x2E80 for character in text) else 30
    return len(text.split()) == 1 and len(text) <= letters


def _refrains(pairs):
    found = []
    for side in ("chosen", "rejected"):
        (text, n), *_ = Counter(getattr(pair, side) for pair in pairs.pairs).most_common(1)
        if n >= max(ONE_ANSWER, 0.05 * len(pairs.pairs)):
            rows = [i for i, pair in enumerate(pairs.pairs) if getattr(pair, side) == text]
            why = "It is learned by heart, whatever the prompt: a model that knows this text alone ranks them right."
            do = "Keep a few of them, or let another model write other answers."
            found += pairs.finding(
                pairs.level(rows, 0.3), f"pairs with the same {side} answer: {text[:40]!r}", rows, why, do
            )
    return found
