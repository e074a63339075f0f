"""Figures of notebook 02: what a cut leaves of a text, biased annotators, ties."""

import matplotlib.pyplot as plt
import torch

from rmtutorial.intervals import accuracy_interval
from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, OKABE_ITO, REJECTED

ANNOTATORS_ALT = (
    "Six rows of marks, one for each kind of annotator and for two majorities of five: on all core rows the single ones but "
    "the hurried are alike; where the shorter answer is right the length lovers fall, where the agreeing one is wrong the "
    "flattery lover."
)
PARTS = {"prompt": "#d9d9d9", "answer": "#8fbfe0", "end mark": "#000000"}


def cut(lengths, max_length):
    """What is left of a text of these lengths, {part: tokens}, when it is cut to `max_length` on either side."""
    ax, total = plt.subplots(figsize=(8, 2.6))[1], sum(lengths.values())
    kept = {"whole": (0, total), "cut on the left": (total - max_length, total), "cut on the right": (0, max_length)}
    for row, (first, last) in enumerate(kept.values()):
        at = 0
        for part, length in lengths.items():
            left, right = max(at, first, 0), min(at + length, last)
            ax.barh(row, length, left=at, color="white", edgecolor="gray", linestyle=":")
            label = part if row == 0 else None
            ax.barh(row, max(0, right - left), left=left, color=PARTS[part], edgecolor="black", label=label)
            at += length
    ax.set_yticks(range(3), kept)
    ax.set(xlabel=f"token (dotted: what a cut to {max_length:,} takes away)", ylim=(2.6, -0.6))
    ax.grid(False)
    legend_below(ax, columns=3, gap=0.3)
    return ax


def annotators(found):
    """Expected shares right of each annotator on several slices: found, {annotator: {slice: (share, (low, high))}}."""
    ax = plt.subplots(figsize=(8, 4.2))[1]
    slices = list(next(iter(found.values())))
    looks = list(zip(("o", "^", "v", "s", "D"), ("#000000", OKABE_ITO[2], OKABE_ITO[2], OKABE_ITO[3], OKABE_ITO[3])))
    for k, (name, (marker, color)) in enumerate(zip(slices, looks)):
        for y, shares in enumerate(found.values()):
            share, (low, high) = shares[name]
            at = y + 0.15 * (k - (len(slices) - 1) / 2)
            ax.plot([low, high], [at, at], color=color, linewidth=1.5)
            ax.plot(share, at, marker, color=color, markeredgecolor="black", label=name if y == 0 else None)
    ax.axvline(0.5, color="black", linestyle=":")
    ax.set(xlabel="expected share of votes as the label says, with 95 % interval by set", ylim=(len(found) - 0.5, -0.5))
    ax.set_yticks(range(len(found)), list(found))
    legend_below(ax, columns=3, gap=0.14)
    return ax


def ties(strength, outcome, units, slope, nu):
    """Shares of the three outcomes at each strength (N,), and what Davidson's model with this slope and nu says.

    Args: outcome (N,): 0 chosen won, 1 rejected won, 2 a tie; units, N labels, by which the 95 % intervals are drawn.
    """
    ax, x = plt.subplots(figsize=(8, 3.8))[1], torch.linspace(0, 3.2, 50)
    half = torch.stack([slope * x / 2, -slope * x / 2, torch.full_like(x, nu).log()], dim=1)
    p = half.softmax(dim=1)  # (50, 3)
    names = ("chosen won", "rejected won", "tie: they disagree")
    for k, (name, marker, style, color) in enumerate(zip(names, "o^s", ("-", "--", ":"), (CHOSEN, REJECTED, "black"))):
        look = {"color": color, "markeredgecolor": "black", "markersize": 9}
        ax.plot(x, p[:, k], style, color=color, linewidth=2, marker=".", markevery=7)
        for s in strength.unique().tolist():
            at, rows = s + 0.06 * (k - 1), (strength == s).nonzero().flatten().tolist()
            share = (outcome[rows] == k).double()
            ax.plot([at, at], accuracy_interval(share, [units[i] for i in rows]), color="black", linewidth=1.2)
            ax.plot(at, share.mean(), marker, **look)
        ax.plot([], [], style, marker=marker, linewidth=2, label=name, **look)
    ax.set(
        xlabel="strength of the label (0: near tie)", ylabel="share of the pairs", xticks=range(4), ylim=(-0.03, 1.03)
    )
    legend_below(ax, columns=3)
    ax.get_legend().set_title("large marks: shares, with 95 % interval by set; lines: the fitted model", {"size": 9})
    return ax
