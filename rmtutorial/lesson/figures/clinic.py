"""Training logs to be diagnosed."""

import math

import matplotlib.pyplot as plt

from rmtutorial.lesson.session import CHOSEN, REJECTED

TOP = 1.5  # of the panels, in nats


def panels(runs):
    """Loss of every run, {letter: History}: training batches (running mean) and held-out rows, on one scale."""
    axes = plt.subplots(2, math.ceil(len(runs) / 2), figsize=(10, 4.6), sharey=True)[1]
    for ax, (letter, run) in zip(axes.flat, runs.items()):
        _loss(ax, run)
        ax.set(title=f"run {letter}", ylim=(0, TOP))
        if (end := run.evaluations[-1]["loss"]) > TOP:
            ax.text(run.evaluations[-1]["step"], TOP, f"to {end:.2f}", ha="right", va="top", fontsize=9)
    axes[0, 0].set_ylabel("loss (nats)")
    axes[1, 0].set_ylabel("loss (nats)")
    for ax in axes[1]:
        ax.set_xlabel("step")
    axes[0, 0].legend(frameon=False, fontsize=9, loc="upper right")
    return axes[0, 0]


def _loss(ax, run):
    table = run.to_frame()
    ax.plot(table["loss"].ewm(span=10).mean(), color=CHOSEN, label="training")
    held_out = table["held_out_loss"].dropna()
    ax.plot(held_out, "s--", color=REJECTED, markeredgecolor="black", markersize=5, label="held-out")
    ax.axhline(math.log(2), color="black", linestyle=":")


def one_run(letter, run):
    """All that a log of one run has: loss, accuracy, gradient norm, rewards."""
    table = run.to_frame()
    axes = plt.subplots(1, 4, figsize=(11, 2.8))[1]
    _loss(axes[0], run)
    axes[0].set_title(f"run {letter}: loss (nats)")
    axes[1].plot(table["accuracy"].ewm(span=10).mean(), color=CHOSEN)
    axes[1].plot(table["held_out_accuracy"].dropna(), "s--", color=REJECTED, markeredgecolor="black")
    axes[1].axhline(0.5, color="black", linestyle=":")
    axes[1].set(title="accuracy", ylim=(0, 1.02))
    axes[2].plot(table["grad_norm"], color=CHOSEN)
    axes[2].set(title="gradient norm", ylim=(0, None))
    axes[3].plot(table["reward_mean"], color=CHOSEN, label="mean")
    axes[3].plot(table["reward_std"], "--", color="black", label="spread")
    axes[3].set_title("rewards (logits)")
    axes[3].legend(frameon=False, fontsize=9)
    for ax in axes:
        ax.set_xlabel("step")
    return axes[0]


def table(runs, last=10):
    """The ends of the logs as a pandas table: means of the last batches, and the last evaluation."""
    import pandas

    rows = {}
    for letter, run in runs.items():
        steps, end = run.to_frame().dropna(subset="loss"), run.evaluations[-1]
        mean = steps.tail(last).mean()
        rows[letter] = {"training loss": mean["loss"], "held-out loss": end["loss"], "training accuracy": mean["accuracy"],
                        "held-out accuracy": end["accuracy"], "gradient norm": mean["grad_norm"],
                        "reward mean": mean["reward_mean"], "reward spread": mean["reward_std"]}  # fmt: skip
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("run").round(2)
