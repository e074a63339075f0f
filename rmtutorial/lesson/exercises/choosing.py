"""Exercises 5.1 and 5.2: what the best of n by one judge is worth to another, and the unit of that gain."""

import inspect
from math import comb

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, as_tensor, named, same, shown, tried

EXERCISES = {}

PROXY = torch.tensor([0.2, 1.5, -0.7, 3.1, 0.9])
GOLD = torch.tensor([1.0, 4.0, -2.0, 0.5, 7.0])
TIED = torch.tensor([1.0, 3.0, 3.0, 0.0, 3.0, 2.0])
GOLD_OF_TIED = torch.tensor([2.0, 1.0, 9.0, -3.0, 4.0, 0.0])
TIED_BELOW = torch.tensor([1.0, 5.0, 0.0, 1.0, 7.0, 1.0, 5.0])  # three, and two, neither the highest
GOLD_OF_TIED_BELOW = torch.tensor([6.0, -2.0, 1.0, 0.5, 3.0, 11.0, 8.0])


def expected_gold(proxy, gold, n):
    """Gold of the best of n by proxy, the mean over all draws of n of the N samples: a scalar."""
    lower = (proxy < proxy[:, None]).sum(1)  # (N,) how many samples score lower
    upto = (proxy <= proxy[:, None]).sum(1)  # (N,) lower or the same
    F = torch.tensor([comb(k, n) / comb(len(proxy), n) for k in range(len(proxy) + 1)])  # all n are among the k lowest
    return (gold * (F[upto] - F[lower]) / (upto - lower)).sum()


def expected_gold_mistake(function):
    got = tried(function, PROXY, GOLD, 3)
    if len({round(float(as_tensor(tried(function, PROXY, GOLD, 3)).double().mean()), 6) for _ in range(10)}) > 1:
        return (
            "it gave other numbers for the same scores: it draws at random; the mean over all draws has a closed form"
        )
    if mistake := named(got, _wrong_gold(PROXY, GOLD, 3)):
        return mistake
    if not same(got, right := expected_gold(PROXY, GOLD, 3), 1e-5):
        return f"for the best 3 of 5 samples it gave {shown(got)}, not {shown(right)}"
    for n, asked in ((1, "a best of 1 is any sample"), (5, "a best of all 5 is the best by proxy"), (2, "n is not 3")):
        if not same(got := tried(function, PROXY, GOLD, n), right := expected_gold(PROXY, GOLD, n), 1e-5):
            return f"right for n = 3; for n = {n} it gave {shown(got)}, not {shown(right)}: {asked}"
    if "combinations" in _names_in(inspect.unwrap(function)):
        return "right for 5 samples, but 512 have more subsets of 100 than there are atoms; count, do not list them"
    if not same(got := tried(function, TIED, GOLD_OF_TIED, 2), right := expected_gold(TIED, GOLD_OF_TIED, 2), 1e-5):
        return (
            named(got, _wrong_ties())
            or f"right without ties; with three equal ones it gave {shown(got)}, not {right:.4f}"
        )
    for n in (2, 3, 4):
        right = expected_gold(TIED_BELOW, GOLD_OF_TIED_BELOW, n)
        if not same(got := tried(function, TIED_BELOW, GOLD_OF_TIED_BELOW, n), right, 1e-5):
            return (
                f"right where the highest are equal and n = 2; with equal ones below the highest and n = {n} it gave "
                f"{shown(got)}, not {right:.4f}: all equal scores share, wherever they are and however many"
            )
    many = torch.linspace(-1, 1, 512)
    if not same(got := tried(function, many, many, 100), right := expected_gold(many, many, 100), 5e-3):
        return f"right for a few samples; for the best 100 of 512 it gave {shown(got)}, not {right:.4f}: do the counts overflow?"
    return None


def _wrong_gold(proxy, gold, n):
    N = len(proxy)
    ascending = gold[proxy.argsort()]
    counts = torch.tensor([float(comb(i - 1, n - 1)) for i in range(1, N + 1)])
    weights, i = counts / comb(N, n), torch.arange(1, N + 1)
    again = (i / N) ** n - ((i - 1) / N) ** n
    return [
        ((again * ascending).sum(), "that is with replacement, which is biased low: the same sample can come twice, and "
         "then fewer than n are compared"),
        (gold.mean(), "that is the mean of gold, the best of 1: every sample has the same weight, whatever n is"),
        (gold.sum() * n / N, "a weight of n / N each is how often a sample is among the n drawn, not how often it is the best"),
        (ascending[-n:].mean(), "that is the mean over the n best by proxy; a draw of n need not hold any of these"),
        ((weights.flip(0) * ascending).sum(), "the order is reversed: the sample with the highest proxy has the smallest weight"),
        ((weights * gold).sum(), "the weights are in ascending order of proxy, gold still in the order of the samples"),
        ((weights * proxy.sort().values).sum(), "that is the proxy's own score of its choice; gold was asked"),
        ((weights * gold.sort().values).sum(), "the sample is chosen by gold; the proxy chooses, gold only judges"),
        (gold[proxy.argmax()], "that is the best of all N, whatever n is"),
        (gold[:n][proxy[:n].argmax()], "that is one draw, the first n samples; asked is the mean over all draws"),
        ((counts * ascending).sum(), "the weights do not sum to 1: divide by how many draws of n there are, C(N, n)"),
        (weights, "the weights came back; asked is gold, weighted by them and summed"),
        (weights * ascending, "one number for each sample came back; sum them"),
        (expected_gold(proxy, gold, n)[None], "the number is right, in a tensor of shape (1,); return a scalar"),
    ]  # fmt: skip


def _wrong_ties():
    share = (
        "equal scores must share their weights, or the result depends on the order in the pool: here all goes to the"
    )
    place = torch.arange(6) * 1e-3
    shifts = {"first": -place, "last": place, "highest gold": GOLD_OF_TIED * 1e-3, "lowest gold": GOLD_OF_TIED * -1e-3}
    wrong = [(expected_gold(TIED + x, GOLD_OF_TIED, 2), f"{share} {side} of them") for side, x in shifts.items()]
    lower = (TIED[:, None] > TIED).sum(1)
    F = torch.tensor([comb(k, 2) / comb(6, 2) for k in range(7)])
    below, upto = (F[lower + 1] - F[lower]) * GOLD_OF_TIED, (TIED[:, None] >= TIED).sum(1)
    return [
        *wrong,
        (below.sum(), "with ties the weights do not sum to 1: each of the equal ones has that of the lowest place among them"),
        (((F[upto] - F[lower]) * GOLD_OF_TIED).sum(), "each of the equal ones has the weight of all of them: divide it by how many there are"),
    ]  # fmt: skip


def _names_in(function):
    code = getattr(function, "__code__", function)
    inner = [c for c in getattr(code, "co_consts", ()) if hasattr(c, "co_names")]  # lambdas and comprehensions
    return set(getattr(code, "co_names", ())).union(*map(_names_in, inner))


EXERCISES["5.1"] = Exercise(
    expected_gold,
    hints=(
        "Of the C(N, n) draws, how many lie wholly among the k samples with the lowest proxy? C(k, n).",
        "A sample is the best in those draws that lie among the samples up to it, less those that lie below it.",
        "math.comb counts; samples with the same proxy share what they have together.",
    ),
    mistake=expected_gold_mistake,
)

PICKED = torch.tensor([3.0, 11.0, -1.5])
DISLIKED = torch.tensor([0.5, 10.0, -4.0])  # two of three below their prompt's mean
JUDGED = torch.tensor([[1.0, 2.0, 4.0, 0.0], [8.0, 9.0, 12.0, 9.5], [-2.0, -2.5, -1.0, -4.0]])


def gain_in_spreads(picked, gold):
    """Mean gain of picks (P,) over a random sample, in spreads; gold (P, N) of all: a scalar."""
    spread = gold.var(dim=1).mean().sqrt()
    return (picked - gold.mean(dim=1)).mean() / spread


def gain_in_spreads_mistake(function):
    got = tried(function, PICKED, JUDGED)
    if mistake := named(got, _wrong_gains(PICKED, JUDGED)):
        return mistake
    if not same(got, right := gain_in_spreads(PICKED, JUDGED)):
        return f"for three prompts with four samples it gave {shown(got)}, not {shown(right)}"
    if not same(got := tried(function, DISLIKED, JUDGED), right := gain_in_spreads(DISLIKED, JUDGED)):
        return (
            f"right for picks above their prompt's mean; for picks below it it gave {shown(got)}, not {shown(right)}: "
            "a judge may dislike the pick, and a loss keeps its sign and its size"
        )
    far = torch.tensor([[100.0], [-50.0], [0.0]])
    for picked, gold in ((PICKED[:2], JUDGED[:2]), (PICKED, JUDGED[:, 1:]), (PICKED + far[:, 0], JUDGED + far)):
        if not same(got := tried(function, picked, gold), right := gain_in_spreads(picked, gold), 1e-4):
            return f"right for (3, 4) scores; for {tuple(gold.shape)} others it gave {shown(got)}, not {shown(right)}"
    return None


def _wrong_gains(picked, gold):
    gain, spread = (picked - gold.mean(1)).mean(), gold.var(1).mean().sqrt()
    each = (picked - gold.mean(1)) / gold.std(1)
    return [
        (gain / gold.std(), "that spread is over all prompts: it contains how they differ from each other, which no choice among "
         "the samples of one prompt can gain"),
        (gain / gold.var(1, correction=0).mean().sqrt(), "the variance divides by N; with N - 1, gold.var(dim=1), it does not depend on the size of the pool"),
        (picked.mean() / spread, "the best of 1 is not subtracted: the gain is over the mean of the prompt's samples"),
        (gain, "that is in gold's own unit; divide by the spread"),
        (gain / spread**2, "that is divided by the variance; the spread is its root"),
        (each.mean(), "each prompt is divided by its own spread, so a prompt whose samples are nearly alike counts most; one spread for all: "
         "the root of the mean variance"),
        (gain / gold.std(1).mean(), "that is the mean of the standard deviations; the spread is the root of the mean variance"),
        ((picked - gold.mean(1)) / spread, "one gain for each prompt came back; asked is their mean"),
        ((picked - gold.mean(1)).sum() / spread, "the gains are summed over the prompts; asked is their mean"),
        ((picked - gold.max(1).values).mean() / spread, "compared is with the best sample; the gain is over a sample at random, the mean"),
        ((picked - gold[:, 0]).mean() / spread, "compared is with the first sample; the mean of all N says the same with less noise"),
        (gain / picked.std(), "the spread of the picks is no unit: it changes with the judge that chose them"),
        (-gain / spread, "the sign: the gain is the pick's gold minus the mean"),
        (gain / gold.mean(1).std(), "that is how the prompts' means differ; the spread is of the samples within a prompt"),
        ((gain / spread)[None], "the number is right, in a tensor of shape (1,); return a scalar"),
    ]  # fmt: skip


EXERCISES["5.2"] = Exercise(
    gain_in_spreads,
    hints=(
        "A sample at random has the mean of its prompt: gold.mean(dim=1).",
        "gold.var(dim=1) is each prompt's variance; the spread is the root of their mean.",
    ),
    mistake=gain_in_spreads_mistake,
)
