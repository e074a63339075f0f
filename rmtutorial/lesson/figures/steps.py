"""Rewards of two answers at each step of a training, and held-out rows before and after it."""

import textwrap

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, REJECTED


def rewards_by_step(panels, names=("chosen", "rejected")):
    """One panel each for {title: rewards (steps + 1, 2)}, row 0 before training; all on one scale. At most 2 a line."""
    rows = (len(panels) + 1) // 2
    across = min(2, len(panels))
    axes = plt.subplots(rows, across, figsize=(8, 0.6 + 2.5 * rows), sharey=True, squeeze=False)[1].flatten()
    for ax, (title, rewards) in zip(axes, panels.items()):
        rewards = torch.as_tensor(rewards)
        for k, (line, color) in enumerate((("o-", CHOSEN), ("s--", REJECTED))):
            ax.plot(range(len(rewards)), rewards[:, k], line, color=color, markeredgecolor="black", label=names[k])
        ax.set_title("\n".join(textwrap.wrap(title, 46)), fontsize=10, parse_math=False)
        ax.set(xticks=range(len(rewards)), xlabel="optimizer steps")
    axes[0].set_ylabel("reward (logits)")
    legend_below(axes[len(panels) - 1] if rows > 1 else axes[0], 2, 0.3)
    return axes[0]


def kinds_apart(before, after):
    """Edit and mirror rows apart: accuracies with intervals, and the two margins of each mirror set after training.

    Args: before, after: {"edit": PairReport, "mirror": PairReport}, of the same rows.
    """
    axes = plt.subplots(1, 2, figsize=(8, 3.5))[1]
    lines = [(f"{kind} rows,\n{when}", reports[kind], look) for kind in before for when, reports, look in (
        ("random head", before, {"marker": "o", "mfc": "white"}), ("six steps", after, {"marker": "s", "mfc": REJECTED}),
    )]  # fmt: skip
    for y, (_, report, look) in enumerate(lines):
        axes[0].plot(report.interval, [y, y], color="black", lw=1.5)
        axes[0].plot(report.accuracy, y, color="black", ms=9, ls="none", **look)
    axes[0].axvline(0.5, color="black", ls=":")
    axes[0].set(yticks=range(len(lines)), xlim=(0.2, 1), xlabel="share ranked right, with 95 % interval")
    axes[0].set_yticklabels([label for label, _, _ in lines], fontsize=9)
    axes[0].invert_yaxis()
    x, y = mirror_margins(after["mirror"]).T
    most = 1.1 * max(x.abs().max(), y.abs().max()).item()
    axes[1].axhspan(0, most, 0.5, 1, color=CHOSEN, alpha=0.15, lw=0)
    axes[1].plot([-most, most], [most, -most], color="black", ls="--", lw=1)
    axes[1].plot(x, y, "s", color=REJECTED, mec="black", ms=5)
    axes[1].text(0.97 * most, 0.94 * most, "both rows right", ha="right", va="top", fontsize=9)
    axes[1].text(-0.95 * most, -0.94 * most, "dashed: the prompt\nmakes no difference", va="bottom", fontsize=9)
    axes[1].set(xlim=(-most, most), ylim=(-most, most), title="mirror sets after six steps")
    axes[1].set(xlabel="margin of one row", ylabel="margin of the other")
    return axes[0]


def mirror_margins(report):
    """The margins (G, 2) of the two rows of each mirror set, from a PairReport."""
    sets = {}
    for pair, margin in zip(report.pairs, report.margins.tolist()):
        sets.setdefault(pair.group, []).append(margin)
    return torch.tensor(list(sets.values()))
