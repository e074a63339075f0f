"""Intervals that fit the data: of a proportion, of a mean over rows that share text, of a paired difference.

Letters: n rows, G units (sets, prompts, topics) that the rows belong to.
"""

import json
from math import comb, sqrt

import torch


def wilson_interval(accuracy, n, z=1.96):
    """95 % interval of a proportion of n independent rows (Wilson 1927): unlike p +- 1.96 s it stays inside 0..1."""
    if n < 1:
        raise ValueError(f"n={n}: an interval needs at least one pair")
    center = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def units(pairs, by="group"):
    """The unit of each PreferencePair, a label: what varies when other rows are drawn.

    Args: by, "group" (its set; the prompt where there is none), "prompt", or another column such as "topic".
    Raises: ValueError when a pair has nothing in that column.
    """
    labels = [getattr(pair, by) if by != "prompt" else "" for pair in pairs]
    if by in ("group", "prompt"):
        return [label or json.dumps(pair.prompt) for label, pair in zip(labels, pairs)]
    if not all(labels):
        raise ValueError(f"by={by!r}: {labels.count('')} of {len(labels)} pairs have no {by}")
    return labels


def bootstrap_means(values, units, draws=10_000, seed=0):
    """Means of `values` when whole units are drawn anew, with replacement (Davison & Hinkley 1997, section 3.8).

    Args: values (n,) float, or (n, K) for K means at once; units, n labels; draws, how often; seed of the drawing.
    Returns: (draws,) or (draws, K) float64.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    columns = values.reshape(len(values), -1)  # (n, K)
    number = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    of = torch.tensor([number[unit] for unit in units])  # (n,)
    G = len(number)
    totals = torch.zeros(G, columns.shape[1] + 1, dtype=torch.float64)
    totals.index_add_(0, of, torch.cat([columns, torch.ones(len(columns), 1)], dim=1))  # sums and rows of each unit
    generator = torch.Generator().manual_seed(seed)
    block = max(1, 2_000_000 // G)  # draws at a time, for memory
    means = []
    for start in range(0, draws, block):
        picks = torch.randint(G, (min(block, draws - start), G), generator=generator)
        times = torch.zeros(picks.shape, dtype=torch.float64).scatter_add_(1, picks, torch.ones(picks.shape).double())
        sums = times @ totals  # (block, K + 1)
        means.append(sums[:, :-1] / sums[:, -1:])
    return torch.cat(means).reshape(draws, *values.shape[1:])


def grouped_interval(values, units):
    """95 % interval of the mean of `values` (n,), by a bootstrap over units: the 2.5 % and 97.5 % points.

    Rows of one unit share text, so they are not independent. Where they err together, as rows on one topic do, an
    interval over rows is too narrow; where they err in opposite ways, as the two rows of a mirror set do, too wide.
    With few units (say, below 20) it is somewhat too narrow itself (Cameron, Gelbach & Miller 2008).
    Raises: ValueError for fewer than two units.
    """
    low, high = grouped_intervals(values, units)
    return low.item(), high.item()


def grouped_intervals(values, units):
    """The ends of `grouped_interval` for each column of values (n, K), from the same draws: (K,) and (K,) float64."""
    if len(set(units)) < 2:
        raise ValueError("one unit alone: there is nothing that varies, so no interval")
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return tuple(torch.quantile(bootstrap_means(values, units), ends, dim=0))


def accuracy_interval(right, units):
    """95 % interval of a share: `grouped_interval` of right (n,), each 1, 0 or, for a tie, 0.5.

    Where all rows are right (or wrong), a bootstrap would have no width: there it is Wilson's for as many rows as
    there are units.
    """
    right = torch.as_tensor(right, dtype=torch.float64)
    if len(set(units)) < 2 or right.sum() in (0, len(right)):
        return wilson_interval(right.mean().item(), len(set(units)))
    return grouped_interval(right, units)


def mcnemar(only_a, only_b):
    """Two-sided p-value of McNemar's exact test (1947): could two judges who differ on so many rows be equally good?

    Args: only_a, only_b, on how many rows only one of the two was right. Rows count as independent.
    """
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    return min(1.0, 2 * tail)
