"""Exercises of notebook 05: KL of best of n on texts that repeat, the optimum under a KL penalty; choosing.py has two more."""

from math import log

import torch

from rmtutorial.lesson.exercises import choosing
from rmtutorial.lesson.exercises.exercise import Exercise, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import dtype_mistake

EXERCISES = {}

SHARES = torch.tensor([0.4, 0.1, 0.2, 0.3], dtype=torch.float64)  # of four texts, from the lowest score to the highest


def kl_of_best(p, n):
    """KL of best of n, nats; p (K,), shares of the texts from the lowest score up: a scalar."""
    F = p.cumsum(0)  # (K,) P(one draw is this text or a worse one)
    pick = F**n - (F - p) ** n  # (K,) P(the best of n is this text)
    return torch.special.xlogy(pick, pick / p).sum()


def kl_of_best_mistake(function):
    got = tried(function, SHARES, 3)
    if mistake := named(got, _wrong_kls(SHARES, 3)):
        return mistake
    if not same(got, right := kl_of_best(SHARES, 3)):
        return f"for four texts with the shares {SHARES.tolist()} and n = 3 it gave {shown(got)}, not {right:.4f}"
    equal = [torch.full((K,), 1 / K, dtype=torch.float64) for K in (2, 10)]
    for p, n in ((SHARES, 1), (SHARES, 2), (equal[0], 4), (equal[1], 16), (SHARES.flip(0), 3)):
        if not same(got := tried(function, p, n), right := kl_of_best(p, n)):
            return f"right for four texts and n = 3; for {len(p)} other shares or n = {n} it gave {shown(got)}, not {right:.4f}"
    if not same(got := tried(function, SHARES, 5000), right := kl_of_best(SHARES, 5000)):
        return (
            f"for n = 5000 it gave {shown(got)}, not {right:.4f}: a text that is never picked costs nothing, "
            "0 log 0 = 0; torch.special.xlogy knows it"
        )
    return None


def _wrong_kls(p, n):
    K, F = len(p), p.cumsum(0)
    pick = F**n - (F - p) ** n
    kl = lambda q: torch.special.xlogy(q, q / p).sum()  # noqa: E731
    worst = (1 - F + p) ** n - (1 - F).clamp(min=0) ** n
    seen = 1 - (1 - p) ** n
    ranks = torch.arange(1, K + 1) / K
    equal = ranks**n - (ranks - 1 / K) ** n
    return [
        (log(n), "log n is not reached: it would be the KL if the best of n fell into the highest n-th of all draws"),
        (log(n) - (n - 1) / n, "that is an upper bound, close while no text has much probability; p says how much each one has"),
        (log(K), "log K is what no n can exceed if all texts are equally frequent; p and n do not enter it"),
        ((p * (p / pick).log()).sum(), "that is the other direction, KL(reference, best of n): the expectation is over the picks"),
        (torch.special.xlogy(pick, pick).sum(), "the reference is missing: that is the negative entropy of the picks"),
        ((pick / p).log().sum(), "the logarithms of the ratio are summed without weights: weigh each by how often the text is picked"),
        ((p * (pick / p).log()).sum(), "the logarithms are weighted by the reference; the expectation is over the picks"),
        ((pick * (pick / p).log()).mean(), "that is the mean over the texts; an expectation is a weighted sum"),
        (kl(pick) / log(2), "that is in bits; the natural logarithm gives nats"),
        (-kl(pick), "the ratio is upside down: a KL is never negative"),
        (kl(worst), "that is the worst of n: the last text of p has the highest score"),
        (kl(p**n / (p**n).sum()), "p**n is the chance that all n draws are this text; it is the best as soon as no better one comes"),
        (kl(seen / seen.sum()), "1 - (1 - p)^n is the chance that a text is among the draws, not that it is the best"),
        (kl(seen), "1 - (1 - p)^n is the chance that a text is among the draws, not that it is the best"),
        (kl(equal), "the picks are those of equally frequent texts: cumulate p, not 1 / K"),
        ((equal * (equal * K).log()).sum(), "that is the KL for equally frequent texts; p says how often each one comes"),
        (pick, "the chances of being picked came back; asked is their KL from p"),
        (pick * (pick / p).log(), "one term for each text came back; sum them"),
        (kl(pick)[None], "the number is right, in a tensor of shape (1,); return a scalar"),
    ]  # fmt: skip


EXERCISES["5.3"] = Exercise(
    kl_of_best,
    hints=(
        "The best of n is text k or a worse one if all n draws are: F(k)^n, with F the cumulated shares.",
        "P(the best is text k) = F(k)^n - F(k-1)^n; the KL is the sum of P log(P / p).",
        "0 log 0 = 0: torch.special.xlogy(x, y) is x log y, and 0 where x is 0.",
    ),
    mistake=kl_of_best_mistake,
)

POOL = torch.tensor([[1.0, -0.5, 2.0], [0.25, 4.0, 3.5]])
BETA = 0.25


def tilt(proxy, beta):
    """The best policy for a KL penalty, weights on the pool: proxy (P, N), beta > 0 -> (P, N)."""
    return torch.softmax(proxy / beta, dim=1)


def tilt_mistake(function):
    got = tried(function, POOL, BETA)
    if mistake := named(got, _wrong_tilts(POOL, BETA)):
        return mistake
    if not same(got, right := tilt(POOL, BETA)):
        return f"for two prompts with three samples and beta {BETA} it gave {shown(got)}, not {shown(right)}"
    for proxy, beta in ((POOL, 2.0), (POOL.T.contiguous(), BETA), (torch.zeros(1, 4), 1.0)):
        if not same(got := tried(function, proxy, beta), right := tilt(proxy, beta)):
            return f"right for beta {BETA}; for {tuple(proxy.shape)} scores and beta {beta} it gave {shown(got)}, not {shown(right)}"
    advice = "take each prompt's maximum off first, or use torch.softmax"
    for first, second in ((1000.0, 1000.0), (-1000.0, -1000.0), (1000.0, 0.0)):
        offset = torch.tensor([[first], [second]])
        if not same(got := tried(function, POOL + offset, BETA), tilt(POOL, BETA), 1e-4):
            where = "every score" if first == second else "the scores of one prompt of two"
            return (
                f"with {first:+.0f} on {where} it gave {shown(got)}; an offset per prompt changes nothing, but exp of "
                f"a large number overflows, and of a very negative one is 0: {advice}"
            )
    for scale, beta in ((1.0, 0.01), (1000.0, 1000.0)):  # exp(score / beta) too large; exp(score) too unequal
        if not same(got := tried(function, scale * POOL, beta), right := tilt(scale * POOL, beta), 1e-4):
            return (
                f"right for beta {BETA}; for scores times {scale:g} and beta {beta:g} it gave {shown(got)}, not "
                f"{shown(right)}: exp over- or underflows; {advice}"
            )
    return dtype_mistake(function, (POOL, BETA), "scores")


def _wrong_tilts(proxy, beta):
    tilted = (proxy / beta).exp()
    own, below = tilted / tilted.sum(1, keepdim=True), (-proxy / beta).softmax(1)
    return [
        ((proxy * beta).softmax(1), "beta is upside down: the score is divided by it; a large beta stays near the reference"),
        (proxy.softmax(1), "beta is missing"),
        (tilted / tilted.sum(), "it is normalized over the whole batch; each prompt has a policy, so each row sums to 1"),
        ((proxy / beta).softmax(0), "it is normalized over the prompts; the samples of one prompt share a weight of 1: dim=1"),
        (tilted, "the weights do not sum to 1: divide by Z, the sum over the samples of the prompt"),
        (tilted / tilted.mean(1, keepdim=True), "that is the ratio to the reference, whose mean is 1; as weights on the pool each row sums to 1"),
        (below, "the sign: the sample with the lowest score has the largest weight"),
        ((proxy / beta).log_softmax(1), "those are the logarithms of the weights"),
        (torch.nn.functional.one_hot(proxy.argmax(1), proxy.shape[1]), "all weight is on the best sample: that is beta = 0, or best of N"),
        (proxy / proxy.sum(1, keepdim=True), "the exponential is missing: pi* is the reference times exp(r / beta)"),
        (beta * own, "beta stands in front of the weights; it divides the score"),
    ]  # fmt: skip


EXERCISES["5.4"] = Exercise(
    tilt,
    hints=(
        "pi* is the reference times exp(r / beta), normalized; on the pool the reference has the same weight for each sample.",
        "torch.softmax(..., dim=1) normalizes each prompt and takes the maximum off first.",
    ),
    mistake=tilt_mistake,
)

EXERCISES |= choosing.EXERCISES
EXERCISES = {key: EXERCISES[key] for key in sorted(EXERCISES)}
