"""What can be wrong with a split by prompt (exercise 2.2)."""

import itertools
import random
from collections import Counter

import numpy
import torch

from rmtutorial.lesson.exercises.exercise import tried
from rmtutorial.preferences import PreferencePair

LONG = "In the story that follows, a traveler crosses seven rivers on foot and meets a stranger at each of them. "
ALIKE = {  # prompts that are different texts, however alike
    "that begin alike": [2 * LONG + f"Who is number {i}?" for i in range(6)],
    "that end alike": [f"Number {i}. " + 2 * LONG for i in range(6)],
    "that differ in the middle": [LONG + str(i) + LONG for i in range(6)],
    "that differ in capitals": ["name a fish", "Name a fish", "Name a Fish", "NAME A FISH", "name a Fish", "name A fish"],
    "that differ in white space": ["Name a fish", "Name a fish ", " Name a fish", "Name  a fish", "Name a fish\n", "Name a\tfish"],
    "that differ in punctuation": ["Name a fish", "Name a fish.", "Name a fish!", "Name a fish?", "Name: a fish", "Name a 'fish'"],
}  # fmt: skip
SEEDS = 400


class Salted(str):
    """A text with another hash: what `set` makes of it has another order, as in another Python process."""

    __slots__ = ("salt",)

    def __hash__(self):
        return hash((self.salt, str(self)))


def make_pairs(prompts, each, salt=None):
    """`each` pairs of as many prompts, whose names are not in the order of the alphabet; two prompts are a set."""
    names = [f"prompt {7 * i % 31:02d}" for i in range(prompts)]
    if salt is not None:
        names = [Salted(name) for name in names]
        for name in names:
            name.salt = salt
    return _pairs_of(names, each)


def _pairs_of(prompts, each):
    return [
        PreferencePair(prompt, f"{prompt} {k}", "r", id=f"{i} {k}", group=f"set {i // 2}")
        for k in range(each)
        for i, prompt in enumerate(prompts)
    ]


def split_by_prompt_mistake(function):
    pairs, state = make_pairs(20, 4), random_states()
    train, held_out = tried(function, pairs, 0.25, 0)
    prompts = {p.prompt for p in held_out}
    if train and prompts and not {p.group for p in train} & {p.group for p in held_out}:
        return (
            "whole sets (pair.group), here of two prompts each, are held out; asked is a split by prompt, pair.prompt: "
            "what it lets through is what the cell below shows"
        )
    if shared := {p.prompt for p in train} & prompts:
        return (
            f"{len(shared)} of 20 prompts stand on both sides, as a split by rows makes them: the leak of this chapter"
        )
    if len(train) + len(held_out) != len(pairs):
        return f"{len(pairs)} pairs went in and {len(train) + len(held_out)} came out"
    if len(prompts) == 15:
        return "the sides are exchanged: `share` is held out, and (train, held_out) is the order"
    if names(tried(function, pairs, 0.25, 0)) != names((train, held_out)):
        return "the same seed gave two different splits; draw from random.Random(seed)"
    others = [names(tried(function, pairs, 0.25, seed)) for seed in (1, 2, 3)]
    if all(other == names((train, held_out)) for other in others):
        return "the seed changes nothing: always the same prompts are held out"
    if not same_states(state, random_states()):
        return (
            "it seeds, or draws from, the random numbers that all other code shares; draw from random.Random(seed), "
            "which is nobody else's"
        )
    return _number_mistake(function) or _key_mistake(function) or _hash_mistake(function) or _chance_mistake(function)


def _number_mistake(function):
    for n, share, right in ((20, 0.25, 5), (7, 0.4, 3), (7, 0.2, 1), (11, 0.1, 1), (6, 0.0, 0), (31, 0.5, 16)):
        for seed in (0, 4):
            train, held_out = tried(function, make_pairs(n, 3), share, seed)
            there = len({p.prompt for p in held_out})
            if there != right or len(train) + len(held_out) != 3 * n:
                return (
                    f"round({share} * {n}) is {right}, and {there} of {n} prompts are held out; each prompt stands in "
                    "the draw once, however many pairs it has, and their number is not left to chance"
                )
    return None


def _key_mistake(function):
    """What is wrong if another text than the whole prompt decides: its beginning, its words, its small letters."""
    for alike, prompts in ALIKE.items():
        for seed in range(4):
            train, held_out = tried(function, _pairs_of(prompts, 2), 0.5, seed)
            there = len({p.prompt for p in held_out})
            if there != 3 or len(train) + len(held_out) != 12:
                return (
                    f"of six prompts {alike} {there} are held out, not 3: a prompt is its whole text as it stands, neither "
                    "a part of it nor a cleaned form"
                )
    return None


def _chance_mistake(function):
    """What is wrong if not every five of 20 prompts can be drawn, or some prompts more often than others."""
    alone, together = Counter(), Counter()
    for seed in range(SEEDS):
        prompts = sorted({p.prompt for p in tried(function, make_pairs(20, 1), 0.25, seed)[1]})
        alone.update(prompts)
        together.update(itertools.combinations(prompts, 2))
    every = sorted({p.prompt for p in make_pairs(20, 1)})
    if never := [pair for pair in itertools.combinations(every, 2) if not together[pair]]:
        return (
            f"in {SEEDS} seeds, {len(never)} couples of the 20 prompts, as {' and '.join(never[0])}, are never held out together, so "
            "this is no random choice: a block of neighbors, a rotated list and every k-th prompt give few of the "
            "possible splits; shuffle the prompts, or sample from them"
        )
    often = max(every, key=lambda prompt: abs(alone[prompt] - SEEDS / 4))
    if abs(alone[often] - SEEDS / 4) > 6 * (SEEDS * 3 / 16) ** 0.5:
        return (
            f"{often} is held out in {alone[often]} of {SEEDS} seeds; each prompt should be in about a quarter of them"
        )
    return None


def _hash_mistake(function):
    splits = [names(tried(function, make_pairs(20, 4, salt), 0.25, 0)) for salt in (1, 2, 3)]
    if splits[0] != splits[1] or splits[0] != splits[2]:
        return (
            "the order of a set is another one in each run of Python (the hash of a text is), so tomorrow the same seed "
            "gives another split: sort the prompts before you shuffle them"
        )
    return None


def names(sides):
    return [sorted(str(p.chosen) for p in side) for side in sides]


def random_states():
    """Of Python, numpy and torch."""
    return random.getstate(), numpy.random.get_state()[1:3], torch.get_rng_state()


def same_states(old, new):
    (a, (b, at), c), (x, (y, there), z) = old, new
    return a == x and at == there and (b == y).all() and torch.equal(c, z)
