"""What the answers to exercises are checked against, and which mistake each failure is."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch


class NotTried(Exception):
    """The stub came back as it was handed out."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: its reference in `solutions`, its hints, and a function that names the mistake or returns None."""

    solution: str
    hints: tuple
    mistake: Callable


def tried(function, *arguments):
    """The learner's answer; a stub gives None."""
    answer = function(*arguments)
    if answer is None or answer is ...:
        raise NotTried
    return answer


def same(answer, expected, tolerance=1e-6):
    """Tensors or numbers that agree in shape and value."""
    answer, expected = torch.as_tensor(answer), torch.as_tensor(expected)
    return answer.shape == expected.shape and torch.allclose(answer.double(), expected.double(), atol=tolerance)


def join(function):
    got = tried(function, [5, 6], 0, [7, 8, 9], 10)
    if got == [5, 6, 7, 8, 9]:
        return "the separator is missing: without EOS between them, prompt and response run together"
    if got == [5, 6, 7, 8, 9, 0]:
        return "EOS stands at the end; it is the separator, between prompt and response"
    if got != [5, 6, 0, 7, 8, 9]:
        return f"for prompt [5, 6], EOS 0 and response [7, 8, 9] it gave {got}, not [5, 6, 0, 7, 8, 9]"
    got = tried(function, [5, 6], 0, [7, 8, 9], 4)
    if got == [5, 6, 0, 7]:
        return "what is too long lost its right end, and with it the end of the answer; cut from the left"
    if got != [0, 7, 8, 9]:
        return f"cut to 4 tokens it gave {got}, not [0, 7, 8, 9]"
    return None


def mean_pool(function):
    hidden = torch.arange(12.0).reshape(4, 3)  # (T, H)
    got = tried(function, hidden, 2)
    if same(got, hidden.mean(0)):
        return "it averages the prompt's tokens too; only the last n_response belong to the answer"
    if same(got, hidden[-1]):
        return "that is the last token alone; average over all n_response tokens"
    if same(got, hidden[-2:].mean()):
        return "it averages over the hidden size as well; the mean runs over tokens only (dim=0)"
    if not same(got, hidden[-2:].mean(0)):
        return f"for 4 tokens with states {hidden.tolist()} and 2 response tokens it gave {got}"
    return None


def last_token(function):
    right, left = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]), torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]])
    got = tried(function, right)
    if same(got, [3, 3]):
        return "with padding on the right that is the last position, padding or not; find the last 1 of the mask"
    if same(got, [3, 4]):
        return "one too far: that is how many real tokens there are, and positions count from 0"
    if not same(got, [2, 3]):
        return f"for the mask {right.tolist()} it gave {torch.as_tensor(got).tolist()}, not [2, 3]"
    got = tried(function, left)
    if same(got, [2, 1]):
        return "right for padding on the right, silently wrong on the left: sum - 1 counts tokens, and they start later there"
    if not same(got, [3, 3]):
        return f"for padding on the left, {left.tolist()}, it gave {torch.as_tensor(got).tolist()}, not [3, 3]"
    return None


def parameters_after_swap(function):
    tied, untied = tried(function, 1000, 50, 4, True), tried(function, 1000, 50, 4, False)
    if tied == 1000 - 200 + 4:
        return "a tied LM head is the embedding matrix itself: taking the head away removes no parameter"
    if untied == 1000 + 4:
        return "an LM head of its own has vocabulary x hidden parameters, and they go"
    if (tied, untied) in ((1000, 800), (1005, 805)):
        return "the reward head has `hidden` parameters: one weight for each number of the state, no bias"
    if (tied, untied) != (1004, 804):
        return f"of 1000 parameters, vocabulary 50, hidden 4, it leaves {tied} (tied) and {untied} (not tied)"
    return None


def ranking_to_pairs(function):
    got = [tuple(pair) for pair in tried(function, ["a", "b", "c", "d"])]
    if len(got) == 3:
        return "only neighbors are compared; a ranking of K answers says K (K - 1) / 2 things, here 6"
    if len(got) == 12:
        return "every pair stands there twice, once with the worse answer first"
    if set(got) == {(b, a) for a, b in SIX}:
        return "the worse answer stands first; a pair is (better, worse)"
    if sorted(got) != sorted(SIX):
        return f"for answers a, b, c, d, best first, it gave {got}"
    return None


SIX = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]


def split_by_prompt(function):
    pairs = [SimpleNamespace(prompt=f"p{i // 4}", chosen=f"c{i}", rejected="r") for i in range(80)]  # 20 prompts
    train, held_out = tried(function, pairs, 0.25, 0)
    shared = {p.prompt for p in train} & {p.prompt for p in held_out}
    if shared:
        return (
            f"{len(shared)} of 20 prompts stand on both sides, as a split by rows makes them: the leak of this chapter"
        )
    if len(train) + len(held_out) != len(pairs):
        return f"{len(pairs)} pairs went in and {len(train) + len(held_out)} came out"
    if len(held_out) > len(train):
        return "the sides are exchanged: `share` is held out, and (train, held_out) is the order"
    if len(held_out) != 20:
        return f"a quarter of 80 pairs (4 a prompt) is 20; {len(held_out)} are held out"
    others = [[p.prompt for p in tried(function, pairs, 0.25, seed)[1]] for seed in (1, 2, 3)]
    if all(other == [p.prompt for p in held_out] for other in others):
        return "the seed changes nothing: always the same prompts are held out"
    return None


def measured_accuracy(function):
    got = tried(function, 0.9, 0.2)
    if same(got, 0.9 - 0.2):
        return "subtracting counts every turned label as an error; where the model was wrong, a turned label makes it right"
    if same(got, 0.9 * 0.8):
        return "one half of the story: it can also be wrong on a turned label, and then it is counted right"
    if same(got, 0.8):
        return "that is the most a perfect model reaches; this one is right in 0.9"
    if not same(got, 0.74):
        return f"for a true accuracy of 0.9 and 0.2 of the labels turned it gave {got}, not 0.74"
    if not same(tried(function, 1.0, 0.5), 0.5):
        return "with half of the labels turned, any model measures 0.5"
    return None


def bt_loss(function):
    chosen, rejected = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([0.0, 0.5, 0.0])
    expected = torch.nn.functional.softplus(rejected - chosen)
    got = tried(function, chosen, rejected)
    if same(got, expected):
        return "one loss for each pair came back; the loss of the batch is their mean"
    if same(got, expected.sum()):
        return "that is the sum; with a mean, the size of a step does not depend on the batch size"
    if same(got, torch.nn.functional.softplus(chosen - rejected).mean()):
        return "the sign of the margin is turned round: it would teach the model to prefer the rejected answer"
    if same(got, -expected.mean()):
        return "a minus is missing: it is the log-likelihood, and minimizing it makes the model worse"
    if not same(got, expected.mean()):
        return f"for margins 2, 0, -1 it gave {float(torch.as_tensor(got).mean()):.4f}, not {expected.mean():.4f}"
    extreme = (
        tried(function, torch.tensor([-90.0]), torch.tensor([0.0])),
        tried(function, torch.tensor([-200.0]), torch.tensor([0.0])),
    )
    if not all(torch.isfinite(torch.as_tensor(x)) for x in extreme) or not same(extreme[0], 90.0, 1e-3):
        return f"it overflows: at a margin of -90 it gives {float(extreme[0])}, at -200 {float(extreme[1])}; log(sigmoid(x)) needs the stable form"
    return None


def bt_gradient(function):
    chosen, rejected = torch.tensor([2.0, 0.5, -1.0], requires_grad=True), torch.tensor([0.0, 0.5, 1.0])
    (expected,) = torch.autograd.grad(torch.nn.functional.softplus(rejected - chosen).mean(), chosen)
    got = torch.as_tensor(tried(function, chosen.detach(), rejected))
    if same(got, -expected):
        return "the sign: raising the chosen reward lowers the loss, so this gradient is negative"
    if same(got, expected * 3):
        return "the loss is a mean over B pairs, so each gradient is divided by B"
    if same(got, -torch.sigmoid(chosen.detach() - rejected) / 3):
        return "sigma(+margin) is large where the pair is ranked right; the push must be large where it is wrong"
    if not same(got, expected):
        return f"autograd gives {[round(x, 4) for x in expected.tolist()]}, it gave {[round(x, 4) for x in got.flatten().tolist()]}"
    return None


def accuracy_with_ties(function):
    chosen, rejected = torch.tensor([1.0, 2.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0, 0.0])  # right, wrong, 2 ties
    got = float(tried(function, chosen, rejected))
    if same(got, 0.25):
        return "ties count as wrong: an untrained model, all zeros, would measure 0 and not 0.5"
    if same(got, 0.75):
        return "ties count as right: an untrained model, all zeros, would measure 1 and not 0.5"
    if same(got, 2.0):
        return "that is how many are right; divide by the number of pairs"
    if not same(got, 0.5):
        return f"one right, one wrong, two ties: it gave {got}, not 0.5"
    return None


EXERCISES = {
    "0.1": Exercise("join", ("Lists are joined with +.", "What is too long loses its left end: ids[-max_length:]."), join),
    "0.2": Exercise("mean_pool", ("hidden[-n_response:] are the states of the answer.", "The mean runs over dim=0."), mean_pool),
    "1.1": Exercise("last_token", ("Which position is the last one whose mask is 1?", "torch.arange(T) * mask is 0 on padding; argmax."), last_token),
    "1.2": Exercise("parameters_after_swap", ("What is removed if the head shares its matrix with the embeddings?", "The new head has `hidden` weights."), parameters_after_swap),
    "2.1": Exercise("ranking_to_pairs", ("Every answer beats all that stand behind it.", "itertools.combinations keeps the order."), ranking_to_pairs),
    "2.2": Exercise("split_by_prompt", ("Shuffle prompts, not pairs.", "Put the held-out prompts into a set and sort the pairs by it."), split_by_prompt),
    "2.3": Exercise("measured_accuracy", ("Two ways to be counted right: right and not turned, or ...", "... wrong and turned."), measured_accuracy),
    "3.1": Exercise("bt_loss", ("The margin is r_chosen - r_rejected.", "F.logsigmoid is the stable form."), bt_loss),
    "3.2": Exercise("bt_gradient", ("The derivative of -log sigma(d) in d is -sigma(-d).", "The mean over B pairs divides by B."), bt_gradient),
    "3.3": Exercise("accuracy_with_ties", ("> gives right, == gives a tie.", "0.5 for each tie."), accuracy_with_ties),
}  # fmt: skip
