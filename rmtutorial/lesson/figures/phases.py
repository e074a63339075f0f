"""Two phases on one axis: the head alone to its optimum, then the top layers with it."""

import math

import matplotlib.pyplot as plt

from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, OKABE_ITO, REJECTED


def two_phases(head, history, recorded, gains):
    """Left: held-out loss over both phases. Right: what training the layers gains, row by row, with 95 % intervals.

    Args: head, the History of `fit_head`; history, that of the live run; recorded, {name: list of Histories} drawn
        thin behind it; gains, {name: Comparison with the head}, from top to bottom.
    """
    axes = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 2))[1]
    _curves(axes[0], head, history, recorded)
    _forest(axes[1], gains)
    return axes[0]


def _curves(ax, head, history, recorded):
    start = len(head.steps)  # the second phase begins where the first one ended
    for (name, runs), color, style in zip(recorded.items(), (OKABE_ITO[2], OKABE_ITO[4]), (":", "-.")):
        for k, run in enumerate(runs):
            x, y = _points(run, start)
            ax.plot(x, y, style, color=color, linewidth=1.5, marker=".", label=name if k == 0 else None)
    steps = history.to_frame()
    mean = steps["loss"].dropna().ewm(span=20).mean()
    ax.plot(start + mean.index, mean, color=CHOSEN, alpha=0.6, label="training batches (running mean)")
    x, y = _points(head, 0)
    ax.plot(x, y, "o-", color="black", markersize=4, label="held-out: the head alone")
    x, y = _points(history, start)
    ax.plot(x, y, "s--", color=REJECTED, markeredgecolor="black", label="held-out: this run")
    ax.axhline(head.evaluations[-1]["loss"], color="black", linewidth=0.8)
    ax.axhline(math.log(2), color="black", linestyle=":")
    ax.axvline(start, color="dimgray", linestyle="--", linewidth=0.8)
    ax.text(start + 2, 0.7, "the top layers join", fontsize=9, va="bottom")
    ax.text(0, 0.7, "ln 2", fontsize=9, va="bottom")
    ax.set(xlabel="iterations of the head, then steps of training", ylabel="loss (nats)", title="Loss over both phases")
    legend_below(ax, columns=2)


def _points(history, start):
    rows = history.evaluations
    return [start + row["step"] for row in rows], [row["loss"] for row in rows]


def _forest(ax, gains):
    rows = range(len(gains))
    for row, found in zip(rows, gains.values()):
        low, high = found.loss_interval
        mark = "s" if row == 0 else "o"
        color = REJECTED if row == 0 else "black"
        ax.plot([low, high], [row, row], color=color, linewidth=2)
        ax.plot(found.loss_gain, row, mark, color=color, markeredgecolor="black", markersize=8)
    ax.axvline(0, color="black", linestyle=":")
    ax.set_yticks(rows, list(gains), fontsize=9)
    ax.set(xlabel="gain in loss over the head (nats)", ylim=(len(gains) - 0.5, -0.5), title="Gain, with 95 % interval")
