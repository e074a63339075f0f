"""What a trained reward model gives on held-out pairs."""

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, REJECTED


def margin_histogram(before, after, ax=None):
    """Margins r_chosen - r_rejected (N,) of the same pairs, before and after training."""
    ax = ax or plt.subplots()[1]
    widest = max(1e-3, before.abs().max().item(), after.abs().max().item())
    bins = [widest * i / 15 for i in range(-15, 16)]  # 0 is an edge, so no bar mixes right and wrong
    ax.hist(after.tolist(), bins=bins, color=CHOSEN, alpha=0.7, label="after")
    if before.unique().numel() > 1:
        ax.hist(before.tolist(), bins=bins, histtype="step", color="black", label="before")
        ax.axvline(0, color="black", linestyle=":", label="0: cannot tell")
    else:
        ax.axvline(before[0].item(), color="black", linestyle=":", label=f"before: all at {before[0]:.0f}")
    ax.set(xlabel="margin: chosen - rejected (logits)", ylabel="pairs", title="Held-out margins")
    ax.legend(frameon=False, fontsize=9, loc="upper left")
    return ax


def reward_histogram(r_chosen, r_rejected, ax=None):
    """Rewards (N,) and (N,) of the chosen and of the rejected answers, whichever pair they belong to."""
    ax = ax or plt.subplots()[1]
    bins = torch.linspace(*torch.cat([r_chosen, r_rejected]).aminmax(), 25).tolist()
    ax.hist(r_chosen.tolist(), bins=bins, color=CHOSEN, alpha=0.6, label="chosen")
    ax.hist(r_rejected.tolist(), bins=bins, histtype="step", color=REJECTED, lw=2, ls="--", label="rejected")
    ax.set(xlabel="reward (logits)", ylabel="answers", title="Held-out rewards")
    ax.legend(frameon=False, loc="upper left")
    return ax


def accuracy_by_axis(report, ax=None):
    """Accuracy with its 95 % interval for every axis, beside "the longer answer wins" and chance."""
    ax = ax or plt.subplots(figsize=(8, 4.5))[1]
    frame = report.to_frame()
    rows = range(len(frame))
    low, high = frame["accuracy"] - frame["low"], frame["high"] - frame["accuracy"]
    ax.errorbar(frame["accuracy"], rows, xerr=[low, high], fmt="o", color=CHOSEN, capsize=3, label="reward model, 95 %")
    ax.plot(frame["longer wins"], rows, "x", color=REJECTED, label="longer answer wins")
    ax.axvline(0.5, color="black", linestyle=":", label="chance")
    ax.set(xlabel="accuracy", xlim=(0, 1.02), yticks=list(rows), title="Held-out accuracy by axis")
    ax.set_yticklabels([f"{axis} ({n})" for axis, n in zip(frame.index, frame["pairs"])])
    ax.invert_yaxis()
    legend_below(ax, columns=3, gap=0.12)
    return ax


def margins_and_offset(before, after, means):
    """What the loss sees, and what it leaves open: margins (N,) before and after; mean reward over training.

    Args: before, after, margins of the same rows; means, {name: History}, whose mean reward of each batch is drawn.
    """
    axes = plt.subplots(1, 2, figsize=(10, 3.6))[1]
    margin_histogram(before, after, axes[0])
    for (name, history), style, color in zip(means.items(), ("-", "--"), (CHOSEN, "black")):
        axes[1].plot(history.to_frame()["reward_mean"].ewm(span=20).mean(), style, color=color, label=name)
    axes[1].axhline(0, color="black", linestyle=":")
    axes[1].set(xlabel="step", ylabel="mean reward, running (logits)", title="The offset, which the loss leaves open")
    axes[1].legend(frameon=False)
    return axes[0]
