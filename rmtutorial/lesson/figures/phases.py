"""Two phases on one axis: the head alone to its optimum, then the top layers with it."""

import math

import matplotlib.pyplot as plt

from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, OKABE_ITO, REJECTED

WIDTH = 40  # of the first phase, in steps of the second


def two_phases(head, history, recorded, gains):
    """Left: held-out loss over both phases. Right: what training the layers gains, row by row, with 95 % intervals.

    Args: head, the History of `fit_head`; history, that of the live run; recorded, {name: list of Histories} drawn
        thin behind it; gains, {name: (gain in loss, its 95 % interval)}, from top to bottom.
    """
    axes = plt.subplots(1, 2, figsize=(9, 4.2), width_ratios=(3, 2))[1]
    _curves(axes[0], head, history, recorded)
    _forest(axes[1], gains)
    return axes[0]


def _curves(ax, head, history, recorded):
    for (name, runs), color, style in zip(recorded.items(), (OKABE_ITO[2], OKABE_ITO[4]), (":", "-.")):
        for k, run in enumerate(runs):
            ax.plot(*_points(run), style, color=color, linewidth=1.5, marker=".", label=name if k == 0 else None)
    mean = history.to_frame()["loss"].dropna().ewm(span=20).mean()
    ax.plot(mean.index, mean, color=CHOSEN, alpha=0.6, label="training batches (running mean)")
    iterations, losses = _points(head)
    before = [WIDTH * (i / iterations[-1] - 1) for i in iterations]  # the head's few iterations, left of step 0
    ax.plot(before, losses, "o-", color="black", markersize=5, label="held-out: the head alone")
    ax.plot(*_points(history), "s--", color=REJECTED, markeredgecolor="black", label="held-out: this run")
    ax.axhline(losses[-1], color="black", linewidth=0.8)
    ax.axhline(math.log(2), color="black", linestyle=":")
    ax.axvline(0, color="dimgray", linestyle="--", linewidth=0.8)
    ax.text(2, 0.02, "the top layers join", fontsize=9, transform=ax.get_xaxis_transform())
    ax.text(len(history.steps), 0.685, "ln 2", fontsize=9, va="top", ha="right")
    steps = [step for step in range(0, len(history.steps) + 1, 25)]
    ax.set_xticks([-WIDTH / 1.6, *steps], [f"{len(head.steps)} of Newton", *map(str, steps)])
    ax.set(xlabel="the head alone, then steps of training", ylabel="loss (nats)", title="Loss over both phases")
    legend_below(ax, columns=2)


def _points(history):
    return [row["step"] for row in history.evaluations], [row["loss"] for row in history.evaluations]


def _forest(ax, gains):
    rows = range(len(gains))
    for row, (gain, (low, high)) in zip(rows, gains.values()):
        mark = "s" if row == 0 else "o"
        color = REJECTED if row == 0 else "black"
        ax.plot([low, high], [row, row], color=color, linewidth=2)
        ax.plot(gain, row, mark, color=color, markeredgecolor="black", markersize=8)
    ax.axvline(0, color="black", linestyle=":")
    ax.set_yticks(rows, list(gains), fontsize=9)
    ax.set(xlabel="gain in loss over the head (nats)", ylim=(len(gains) - 0.5, -0.5), title="Gain, with 95 % interval")
