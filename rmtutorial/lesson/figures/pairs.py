"""Figures of notebook 02: what a cut leaves of a text, what a leak measures, biased annotators, ties."""

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, OKABE_ITO, REJECTED

ANNOTATORS_ALT = (
    "Six rows of marks, one for each annotator and one for five length lovers: on all core rows all but the hurried one "
    "are alike; where the shorter answer is right the length lovers fall, where the agreeing one is wrong the flattery lover."
)
LEAKS_ALT = (
    "Seven accuracies. Clean splits: mirror rows at one half, near-duplicates close to it, rankings somewhat above. "
    "Leaks: mirror rows by row or prompt far below, rankings by row and near-duplicates by prompt far above."
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


def leaks(rows):
    """Accuracies of one judge under several splits: rows, [(label, accuracy, (low, high), is it clean?), ...]."""
    ax = plt.subplots(figsize=(8, 3.6))[1]
    looks = {True: ("o", OKABE_ITO[2], "clean split"), False: ("X", OKABE_ITO[3], "leaks")}
    for y, (_, accuracy, (low, high), clean) in enumerate(rows):
        marker, color, name = looks[clean]
        label = name if name not in ax.get_legend_handles_labels()[1] else None
        ax.plot([low, high], [y, y], color=color, linewidth=2)
        ax.plot(accuracy, y, marker, color=color, markeredgecolor="black", markersize=9, label=label)
    ax.axvline(0.5, color="black", linestyle=":")
    ax.set(xlabel="accuracy of a bag of words, with 95 % interval", xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    ax.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=9)
    legend_below(ax, columns=2)
    return ax


def annotators(found):
    """Shares right of each annotator on several slices: found, {annotator: {slice: (share, (low, high))}}."""
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
    ax.set(xlabel="votes as the label says, with 95 % interval", ylim=(len(found) - 0.5, -0.5))
    ax.set_yticks(range(len(found)), list(found))
    legend_below(ax, columns=3, gap=0.14)
    return ax


def ties(strength, outcome, slope, nu):
    """Shares of the three outcomes at each strength (N,), and what Davidson's model with this slope and nu says."""
    ax, x = plt.subplots(figsize=(8, 3.6))[1], torch.linspace(0, 3.2, 50)
    half = torch.stack([slope * x / 2, -slope * x / 2, torch.full_like(x, nu).log()], dim=1)
    p = half.softmax(dim=1)  # (50, 3)
    names = ("chosen won", "rejected won", "tie: they disagree")
    for k, (name, marker, style, color) in enumerate(zip(names, "o^s", ("-", "--", ":"), (CHOSEN, REJECTED, "black"))):
        ax.plot(x, p[:, k], style, color=color, linewidth=2, marker=".", markevery=7)
        at = [s for s in range(4) if (strength == s).any()]
        shares = [(outcome[strength == s] == k).float().mean().item() for s in at]
        ax.plot(at, shares, marker, color=color, markeredgecolor="black", markersize=9, label=name)
    ax.set(xlabel="strength of the label (0: near tie)", ylabel="share of the pairs", xticks=range(4), ylim=(-0.03, 1))
    legend_below(ax, columns=3)
    return ax
