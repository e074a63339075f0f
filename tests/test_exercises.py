"""Exercises: right answers come back, stubs give the reference, and each plausible mistake is named."""

import itertools
import random

import pytest
import torch
import torch.nn.functional as F

from rmtutorial import exercises, solutions
from rmtutorial.exercise_checks import EXERCISES
from rmtutorial.exercises import Wrong, check, hint, solution


def row_split(pairs, share, seed):
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    n = round(share * len(pairs))
    return shuffled[n:], shuffled[:n]


def without_seed(pairs, share, seed):
    return solutions.split_by_prompt(pairs, share, 0)


def losing_pairs(pairs, share, seed):
    train, held_out = solutions.split_by_prompt(pairs, share, seed)
    return train[1:], held_out


WRONG = {
    "0.1": [
        (lambda p, e, r, m: (p + r)[-m:], "separator is missing"),
        (lambda p, e, r, m: [*p, *r, e][-m:], "EOS stands at the end"),
        (lambda p, e, r, m: [*p, e, *r][:m], "lost its right end"),
        (lambda p, e, r, m: [e, *p, *r], r"it gave \[0, 5, 6"),
    ],
    "0.2": [
        (lambda h, n: h.mean(0), "prompt's tokens too"),
        (lambda h, n: h[-1], "last token alone"),
        (lambda h, n: h[-n:].mean(), "hidden size as well"),
        (lambda h, n: h[:n].mean(0), "2 response tokens it gave"),
    ],
    "1.1": [
        (lambda m: torch.full((len(m),), m.shape[1] - 1), "last position, padding or not"),
        (lambda m: m.sum(1), "one too far"),
        (lambda m: m.sum(1) - 1, "silently wrong on the left"),
        (lambda m: m.argmax(1), r"it gave \[0, 0\]"),
    ],
    "1.2": [
        (lambda p, v, h, t: p - v * h + h, "removes no parameter"),
        (lambda p, v, h, t: p + h, "and they go"),
        (lambda p, v, h, t: p - (0 if t else v * h), "reward head has `hidden` parameters"),
        (lambda p, v, h, t: h, r"it leaves 4 \(tied\)"),
    ],
    "2.1": [
        (lambda a: list(itertools.pairwise(a)), "only neighbors"),
        (lambda a: [(x, y) for x in a for y in a if x != y], "twice"),
        (lambda a: [(y, x) for x, y in solutions.ranking_to_pairs(a)], "worse answer stands first"),
        (lambda a: solutions.ranking_to_pairs(a)[:-1], "it gave"),
    ],
    "2.2": [
        (row_split, "stand on both sides"),
        (without_seed, "the seed changes nothing"),
        (losing_pairs, "80 pairs went in and 79 came out"),
        (lambda p, s, seed: solutions.split_by_prompt(p, s, seed)[::-1], "sides are exchanged"),
    ],
    "2.3": [
        (lambda a, f: a - f, "subtracting"),
        (lambda a, f: a * (1 - f), "one half of the story"),
        (lambda a, f: 1 - f, "most a perfect model reaches"),
    ],
    "3.1": [
        (lambda c, r: -torch.log(torch.sigmoid(c - r)).mean(), r"overflows: at a margin of -90"),
        (lambda c, r: -F.logsigmoid(r - c).mean(), "sign of the margin"),
        (lambda c, r: F.logsigmoid(c - r).mean(), "a minus is missing"),
        (lambda c, r: -F.logsigmoid(c - r).sum(), "that is the sum"),
        (lambda c, r: -F.logsigmoid(c - r), "one loss for each pair"),
    ],
    "3.2": [
        (lambda c, r: torch.sigmoid(r - c) / len(c), "the sign"),
        (lambda c, r: -torch.sigmoid(r - c), "divided by B"),
        (lambda c, r: -torch.sigmoid(c - r) / len(c), "push must be large where it is wrong"),
    ],
    "3.3": [
        (lambda c, r: (c > r).float().mean(), "untrained model, all zeros, would measure 0 "),
        (lambda c, r: (c >= r).float().mean(), "would measure 1"),
        (lambda c, r: solutions.accuracy_with_ties(c, r) * len(c), "divide by the number of pairs"),
    ],
}
CASES = [(key, function, message) for key, cases in WRONG.items() for function, message in cases]


def test_every_exercise_ships_three_wrong_answers_with_messages_of_their_own():
    """So that no check passes everything, and none says the same to everybody."""
    assert WRONG.keys() == EXERCISES.keys()
    for cases in WRONG.values():
        assert len({message for _, message in cases}) >= 3


@pytest.mark.parametrize("key, function, message", CASES)
def test_a_wrong_answer_is_refused_and_the_mistake_named(key, function, message):
    """The message is about this mistake, not only that something is wrong."""
    with pytest.raises(Wrong, match=message):
        check(key, function)


@pytest.mark.parametrize("key", EXERCISES)
def test_the_reference_is_right_and_comes_back(key, capsys):
    """What `solution` prints passes its own check; the learner's function is the one that later cells use."""
    reference = getattr(solutions, EXERCISES[key].solution)
    assert check(key, reference) is reference
    assert capsys.readouterr().out == f"Exercise {key}: right.\n"


@pytest.mark.parametrize("key", EXERCISES)
@pytest.mark.parametrize("stub", [lambda *a: None, lambda *a: ...], ids=["None", "..."])
def test_an_untouched_stub_gives_the_reference_and_says_so(key, stub, capsys):
    """Cells behind an exercise run for those who skip it."""
    assert check(key, stub) is getattr(solutions, EXERCISES[key].solution)
    assert "not tried yet" in capsys.readouterr().out


def test_an_answer_that_raises_is_told_what_it_raised():
    """Its own error, in one line, instead of a traceback through our code."""
    with pytest.raises(Wrong, match="ZeroDivisionError"):
        check("3.1", lambda c, r: 1 / 0)


@pytest.mark.parametrize("key", EXERCISES)
def test_hints_and_solution_are_printed(key, capsys):
    """Two hints at least; the solution is its source."""
    hint(key)
    assert "2. " in capsys.readouterr().out
    solution(key)
    assert f"def {EXERCISES[key].solution}(" in capsys.readouterr().out


def test_an_unknown_key_is_refused_with_those_there_are():
    """A typing error in a notebook."""
    with pytest.raises(ValueError, match=r"'9\.9': there are 0\.1"):
        exercises.check("9.9", print)
