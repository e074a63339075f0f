"""Fits of a few numbers to comparisons with ties, with intervals by unit."""

import random

import torch
import torch.nn.functional as F


def tie_as_half(margin, outcome):
    """Bradley-Terry loss (a scalar) of margins (B,); outcome (B,): 0 first won, 1 second, 2 a tie, half of each."""
    won, lost = F.softplus(-margin), F.softplus(margin)  # (B,)
    return torch.where(outcome == 0, won, torch.where(outcome == 1, lost, (won + lost) / 2)).mean()


def fit(loss, start):
    """The numbers (size,) at which `loss(theta)` is smallest, by L-BFGS from `start` (size,), float64."""
    theta = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(theta)
        value.backward()
        return value

    optimizer.step(closure)
    return theta.detach()


def fit_by_unit(loss, size, data, units, draws=100, seed=0):
    """(theta, low, high), each (size,): a fit, and the ends of its 95 % interval when whole units are drawn anew.

    Args: loss(theta, *data), a scalar; data, tensors (B, ...); units, B labels.
    """
    best = fit(lambda theta: loss(theta, *data), torch.zeros(size, dtype=torch.float64))
    rows, draw = {}, random.Random(seed)
    for i, unit in enumerate(units):
        rows.setdefault(unit, []).append(i)
    found = []
    for _ in range(draws):
        at = [i for unit in draw.choices(list(rows.values()), k=len(rows)) for i in unit]
        drawn = [column[at] for column in data]
        found.append(fit(lambda theta, drawn=drawn: loss(theta, *drawn), best))
    low, high = torch.stack(found).quantile(torch.tensor([0.025, 0.975], dtype=best.dtype), dim=0)
    return best, low, high
