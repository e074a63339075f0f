"""What can be wrong with a split by prompt (exercise 2.2)."""

import random
from types import SimpleNamespace

import numpy
import torch

from rmtutorial.lesson.exercises.exercise import tried


class Salted(str):
    """A text with another hash: what `set` makes of it has another order, as in another Python process."""

    __slots__ = ("salt",)

    def __hash__(self):
        return hash((self.salt, str(self)))


def make_pairs(prompts, each, salt=None):
    """`each` pairs of as many prompts, whose names are not in the order of the alphabet."""
    names = [f"prompt {7 * i % 31:02d}" for i in range(prompts)]
    if salt is not None:
        names = [Salted(name) for name in names]
        for name in names:
            name.salt = salt
    return [SimpleNamespace(prompt=name, chosen=f"{name} {k}", rejected="r") for k in range(each) for name in names]


def split_by_prompt_mistake(function):
    pairs, state = make_pairs(20, 4), random_states()
    train, held_out = tried(function, pairs, 0.25, 0)
    prompts = {p.prompt for p in held_out}
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
    return _number_mistake(function) or _hash_mistake(function)


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
