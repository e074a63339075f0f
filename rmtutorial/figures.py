"""Figures: data in, Axes out. Blue is chosen or training, orange is rejected or held-out, and never color alone."""

import math

import matplotlib.pyplot as plt

from rmtutorial.session import CHOSEN, REJECTED


def loss_curve(history, ax=None):
    """Training loss of every step, its running mean, and the held-out loss, against ln 2 (knowing nothing)."""
    ax = ax or plt.subplots()[1]
    steps = history.to_frame()
    ax.plot(steps.index, steps["loss"], ".", color=CHOSEN, alpha=0.4, label="training batch")
    ax.plot(steps.index, steps["loss"].ewm(span=10).mean(), color=CHOSEN, label="training, running mean")
    held_out = steps["held_out_loss"].dropna() if "held_out_loss" in steps else []
    if len(held_out):
        ax.plot(held_out.index, held_out, "s--", color=REJECTED, label="held-out")
    ax.axhline(math.log(2), color="black", linestyle=":", label="ln 2: knows nothing")
    ax.set(xlabel="optimizer step", ylabel="loss (nats)", title="Bradley-Terry loss")
    ax.legend(frameon=False, fontsize=9, loc="lower left")
    return ax


def accuracy_curve(history, ax=None):
    """Share of pairs ranked right, on training batches (running mean) and on held-out pairs."""
    ax = ax or plt.subplots()[1]
    steps = history.to_frame()
    ax.plot(steps.index, steps["accuracy"].ewm(span=10).mean(), color=CHOSEN, label="training, running mean")
    held_out = steps["held_out_accuracy"].dropna() if "held_out_accuracy" in steps else []
    if len(held_out):
        ax.plot(held_out.index, held_out, "s--", color=REJECTED, label="held-out")
    ax.axhline(0.5, color="black", linestyle=":", label="chance")
    ax.set(xlabel="optimizer step", ylabel="accuracy", ylim=(0, 1.02), title="Pairs ranked right")
    ax.legend(frameon=False, loc="lower right")
    return ax


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
        where = f"{before[0]:.0f}"
        ax.axvline(before[0].item(), color="black", linestyle=":", label=f"before: all {len(before)} at {where}")
    ax.set(xlabel="margin: reward of chosen - reward of rejected (logits)", ylabel="pairs", title="Held-out margins")
    ax.legend(frameon=False)
    return ax


def accuracy_by_axis(report, ax=None):
    """Accuracy with its 95 % interval for every axis, beside "the longer answer wins" and chance."""
    ax = ax or plt.subplots(figsize=(8, 4.5))[1]
    frame = report.to_frame()
    rows = range(len(frame))
    low, high = frame["accuracy"] - frame["low"], frame["high"] - frame["accuracy"]
    ax.errorbar(frame["accuracy"], rows, xerr=[low, high], fmt="o", color=CHOSEN, capsize=3, label="reward model, 95 %")
    ax.plot(frame["longer wins"], rows, "x", color=REJECTED, label="the longer answer wins")
    ax.axvline(0.5, color="black", linestyle=":", label="chance")
    ax.set(xlabel="accuracy", xlim=(0, 1.02), yticks=list(rows), title="Held-out accuracy by axis")
    ax.set_yticklabels([f"{axis} ({n})" for axis, n in zip(frame.index, frame["pairs"])])
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def show(ax, alt):
    """Display the figure of `ax` once, with a text for readers who cannot see it."""
    from IPython.display import display

    figure = ax.get_figure()
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)  # or the notebook would draw it a second time at the end of the cell
