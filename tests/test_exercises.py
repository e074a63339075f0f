"""Exercises: right answers come back, stubs give the reference, and each plausible mistake is named."""

import itertools
import random

import pytest
import torch
import torch.nn.functional as F

from rmtutorial import exercises, solutions
from rmtutorial.exercise_checks import EXERCISES
from rmtutorial.exercises import Wrong, check, hint, solution
from rmtutorial.losses import bradley_terry_loss


def row_split(pairs, share, seed):
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    n = round(share * len(pairs))
    return shuffled[n:], shuffled[:n]


def without_seed(pairs, share, seed):
    return solutions.split_by_prompt(pairs, share, 0)


def other_split_every_time(pairs, share, seed):
    return solutions.split_by_prompt(pairs, share, random.random())


def shuffling_the_argument(pairs, share, seed):
    sides = solutions.split_by_prompt(pairs, share, seed)
    random.Random(seed).shuffle(pairs)
    return sides


def emptying_the_argument(answers):
    pairs = []
    while answers:
        best = answers.pop(0)
        pairs += [(best, worse) for worse in answers]
    return pairs


def losing_pairs(pairs, share, seed):
    train, held_out = solutions.split_by_prompt(pairs, share, seed)
    return train[1:], held_out


def wrong_end_of_the_prompt(prompt_ids, eos_id, response_ids, max_length):
    return [*prompt_ids[: max(0, max_length - len(response_ids) - 1)], eos_id, *response_ids][-max_length:]


def answer_kept_whole(prompt_ids, eos_id, response_ids, max_length):
    room = max(0, max_length - len(response_ids))
    return [*prompt_ids, eos_id][len(prompt_ids) + 1 - room :] + response_ids


def answer_kept_whole_but_for_one_length(prompt_ids, eos_id, response_ids, max_length):
    if max_length < len(response_ids):
        return response_ids[-max_length:]
    return [*prompt_ids, eos_id][-(max_length - len(response_ids)) :] + response_ids


WRONG = {
    "0.1": [
        (lambda p, e, r, m: (p + r)[-m:], "separator is missing"),
        (lambda p, e, r, m: [*p, *r, e][-m:], "EOS stands at the end"),
        (lambda p, e, r, m: [*p, e, *r][:m], "lost its right end"),
        (lambda p, e, r, m: [e, *p, *r], r"it gave \[0, 5, 6"),
        (wrong_end_of_the_prompt, "wrong end of the prompt"),
        (answer_kept_whole, "answer itself is too long"),
        (answer_kept_whole_but_for_one_length, r"for max_length 3 it gave 6 ids.*\[-0:\]"),
        (lambda p, e, r, m: [*p, e, *r] if m > 5 else [e, *r][-m:], r"cut to 5 tokens it gave \[0, 7, 8, 9\], not"),
        (lambda p, e, r, m: torch.tensor([*p, e, *r][-m:]), "Tensor; return a list"),
    ],
    "0.2": [
        (lambda h, n: h.mean(0), "prompt's tokens too"),
        (lambda h, n: h[-1], "last token alone"),
        (lambda h, n: h[-n:].mean(), "hidden size as well"),
        (lambda h, n: h[-n:].mean(1), "over the wrong thing"),
        (lambda h, n: h.mean(), "over the wrong thing"),
        (lambda h, n: h[:n].mean(0), r"\[1.5, 2.5, 3.5\] of shape \(3,\), not \[16.5, 17.5, 18.5\] of shape"),
        (lambda h, n: h[n:].mean(0), r"`hidden\[n_response:\]` starts after n_response tokens"),
        (lambda h, n: h[n + 1 :].mean(0), r"of shape \(3,\), not"),
        (lambda h, n: h[-n - 1 :].mean(0), "one token too many"),
        (lambda h, n: h[-n:].mean(0, keepdim=True), r"of shape \(1, 3\), not"),
    ],
    "1.1": [
        (lambda m: torch.full((len(m),), m.shape[1] - 1), "last position, padding or not"),
        (lambda m: m.sum(1), "one too far"),
        (lambda m: m.sum(1) - 1, "silently wrong on the left"),
        (lambda m: m.argmax(1), r"it gave \[0, 0\]"),
        (lambda m: solutions.last_token(m).float(), "positions are indices"),
    ],
    "1.2": [
        (lambda p, v, h, t: p - v * h + h, "removes no parameter"),
        (lambda p, v, h, t: p - v * h, "two things"),
        (lambda p, v, h, t: p + h, "and they go"),
        (lambda p, v, h, t: p - (0 if t else v * h), "reward head has `hidden` parameters"),
        (lambda p, v, h, t: h, r"it leaves 4 \(tied\)"),
    ],
    "2.1": [
        (lambda a: list(itertools.pairwise(a)), "only neighbors"),
        (lambda a: [(x, y) for x in a for y in a if x != y], "twice"),
        (lambda a: [(y, x) for x, y in solutions.ranking_to_pairs(a)], "worse answer stands first"),
        (lambda a: solutions.ranking_to_pairs(a)[:-1], "it gave"),
        (lambda a: solutions.ranking_to_pairs(a) if len(a) == 4 else [], r"for the answers 1, 2, 3 it gave \[\]"),
        (emptying_the_argument, "changes the list that it is given"),
    ],
    "2.2": [
        (row_split, "stand on both sides"),
        (without_seed, "the seed changes nothing"),
        (losing_pairs, "80 pairs went in and 79 came out"),
        (other_split_every_time, "same seed gave two different splits"),
        (shuffling_the_argument, "changes the order of the list that it is given"),
        (lambda p, s, seed: solutions.split_by_prompt(p, s, seed)[::-1], "sides are exchanged"),
    ],
    "2.3": [
        (lambda a, f: a - f, "subtracting"),
        (lambda a, f: a * (1 - f), "one half of the story"),
        (lambda a, f: 1 - f, "most a perfect model reaches"),
        (lambda a, f: round(solutions.measured_accuracy(a, f), 2), "do not round"),
    ],
    "3.1": [
        (lambda c, r: -torch.log(torch.sigmoid(c - r)).mean(), r"wrong far out: at a margin of -90"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r).clamp(min=1e-12)).mean(), r"wrong far out.* it gives 27\.63"),
        (lambda c, r: solutions.bt_loss(c, r).item(), "a float has no gradient"),
        (lambda c, r: solutions.bt_loss(c, r).detach().numpy(), "has no gradient"),
        (lambda c, r: solutions.bt_loss(c.detach(), r), "lost its gradient"),
        (lambda c, r: -F.logsigmoid(r - c).mean(), "sign of the margin is flipped"),
        (lambda c, r: F.logsigmoid(c - r).mean(), "a minus is missing"),
        (lambda c, r: -F.logsigmoid(c - r).sum(), "that is the sum"),
        (lambda c, r: -F.logsigmoid(c - r), "one loss for each pair"),
    ],
    "3.2": [
        (lambda c, r: torch.sigmoid(r - c) / len(c), "the sign"),
        (lambda c, r: -torch.sigmoid(r - c), "divided by B"),
        (lambda c, r: -torch.sigmoid(c - r) / len(c), "push must be large where it is wrong"),
        (lambda c, r: solutions.bt_gradient(c, r).tolist(), "a list came back; return a tensor"),
        (lambda c, r: solutions.bt_gradient(c, r).sum(), "one number came back"),
    ],
    "3.3": [
        (lambda c, r: (c > r).float().mean(), "untrained model, all zeros, would measure 0 "),
        (lambda c, r: (c >= r).float().mean(), "would measure 1"),
        (lambda c, r: solutions.accuracy_with_ties(c, r) * len(c), "divide by the number of pairs"),
        (lambda c, r: (c > r).sum() / (c != r).sum(), "ties are left out"),
    ],
    "4.1": [
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * pc, beta * pr), "reference is missing"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(pc - rc, pr - rr), "beta is missing"),
        (lambda pc, pr, rc, rr, beta: beta * bradley_terry_loss(pc - rc, pr - rr), "in front of the loss"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * (pc - rr), beta * (pr - rc)), "are crossed"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss((pc - rc) / beta, (pr - rr) / beta), "divides by it"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * (rc - pc), beta * (rr - pr)), "are exchanged"),
        (
            lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * pc / rc, beta * pr / rr),
            r"margins of \[0.5, -1.5\]",
        ),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * (pc - rc), beta * (pr - rr)).item(), "gradient is cut"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * (pc.detach() - rc), beta * (pr - rr)), "is cut off"),
        (lambda pc, pr, rc, rr, beta: -F.logsigmoid(beta * (pc - rc - pr + rr)), "mean over its pairs"),
        (lambda pc, pr, rc, rr, beta: F.logsigmoid(beta * (pc - rc - pr + rr)).mean(), "a minus is missing"),
    ],
    "4.2": [
        (lambda loss: {"embeddings", "blocks", "LM head", "reference"}, "reference is frozen"),
        (lambda loss: {"embeddings", "blocks", "LM head"}, "computes no logits"),
        (lambda loss: {"embeddings", "blocks", "reward head"}, "DPO has no reward head"),
        (lambda loss: {"reward head"} if loss == "RM" else {"blocks"}, "flows on into the backbone"),
        (lambda loss: {"blocks", "reward head"} if loss == "RM" else {"blocks", "LM head"}, "enters at the LM head"),
        (lambda loss: {"head"}, "is no part"),
    ],
    "4.3": [
        (lambda logprobs, n: logprobs.sum(), "prompt's tokens are summed too"),
        (lambda logprobs, n: logprobs[n:].sum(), "one token late"),
        (lambda logprobs, n: logprobs[n - 1 :].mean(), "per token"),
        (lambda logprobs, n: logprobs[: n - 1].sum(), "the answer begins where they end"),
        (lambda logprobs, n: logprobs[n - 2 :].sum(), "one token early"),
        (lambda logprobs, n: logprobs[n - 1 : -1].sum(), "end mark belongs"),
        (lambda logprobs, n: logprobs[n - 1 :], "one number per token"),
        (lambda logprobs, n: logprobs[n:].mean(), "one token late"),
        (lambda logprobs, n: logprobs[-n:].sum(), "counts from the end"),
        (lambda logprobs, n: logprobs[-(n - 1) :].sum(), "not -124"),
        (lambda logprobs, n: -logprobs[n - 1 :].sum(), "not -124"),
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


@pytest.mark.parametrize("answer", [iter, set, lambda pairs: [list(pair) for pair in pairs], reversed])
def test_pairs_in_another_order_or_container_are_right(answer):
    """They say the same about the ranking, and the cells of the notebook compare them sorted, as tuples."""
    own = lambda answers: answer(solutions.ranking_to_pairs(answers))  # noqa: E731
    assert check("2.1", own) is own


def test_an_answer_that_raises_is_told_what_it_raised():
    """Its own error, in one line, instead of a traceback through our code."""
    with pytest.raises(Wrong, match="ZeroDivisionError"):
        check("3.1", lambda c, r: 1 / 0)


@pytest.mark.parametrize("key", EXERCISES)
def test_hints_and_solution_are_printed(key, capsys):
    """One hint a call, which names the call for the next; the last names none; the solution is its source."""
    hints = EXERCISES[key].hints
    assert len(hints) >= 2
    for number, text in enumerate(hints, 1):
        hint(key, number)
        shown = capsys.readouterr().out
        assert [text in shown for text in hints] == [other == text for other in hints]
        assert (f'hint("{key}", {number + 1})' in shown) == (number < len(hints))
    hint(key)
    assert hints[0] in capsys.readouterr().out
    solution(key)
    assert f"def {EXERCISES[key].solution}(" in capsys.readouterr().out


@pytest.mark.parametrize("number", [0, 3])
def test_a_hint_that_does_not_exist_is_refused_with_how_many_there_are(number):
    """Counted from 1, and there is an end."""
    with pytest.raises(ValueError, match=f"hint {number} of exercise 0.1: there are 2"):
        hint("0.1", number)


def test_an_unknown_key_is_refused_with_those_there_are():
    """A typing error in a notebook."""
    with pytest.raises(ValueError, match=r"'9\.9': there are 0\.1"):
        exercises.check("9.9", print)
