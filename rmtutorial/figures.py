"""Figures: data in, Axes out. Blue is chosen or training, orange is rejected or held-out, and never color alone."""

import math

import matplotlib.pyplot as plt
import torch

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
    _legend_below(ax, columns=2)  # dots may lie anywhere in the axes
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
    _legend_below(ax, columns=2)
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
    _legend_below(ax, columns=3, gap=0.12)
    return ax


def _legend_below(ax, columns, gap=0.2):
    ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -gap), ncols=columns)


def curves(history):
    """Loss and accuracy side by side."""
    axes = plt.subplots(1, 2, figsize=(10, 3.6))[1]
    loss_curve(history, axes[0])
    accuracy_curve(history, axes[1])
    return axes[0]


def sigmoid_and_loss(margin):
    """P(chosen wins) and the loss over the margin, with one margin marked and the loss's slope there."""
    axes = plt.subplots(1, 2, figsize=(9, 3.2))[1]
    x = torch.linspace(-10, 10, 201)
    here = torch.tensor(float(margin))
    p, loss = torch.sigmoid(here).item(), torch.nn.functional.softplus(-here).item()
    axes[0].plot(x, torch.sigmoid(x), color=CHOSEN)
    axes[0].plot(margin, p, "o", color=REJECTED, markersize=9)
    axes[0].set(ylabel="P(chosen wins)", xlabel="margin (logits)", title="sigmoid")
    axes[1].plot(x, torch.nn.functional.softplus(-x), color=CHOSEN, label="loss")
    near = torch.tensor([margin - 3.0, margin + 3.0])
    axes[1].plot(near, loss + (p - 1) * (near - margin), "--", color="black", label=f"slope {p - 1:+.2f}")
    axes[1].plot(margin, loss, "o", color=REJECTED, markersize=9)
    axes[1].set(ylabel="loss (nats)", xlabel="margin (logits)", title="-log sigmoid", ylim=(-0.5, 10.5))
    axes[1].legend(frameon=False)
    return axes[0]


def tree_mask(mask, parts):
    """Which token (row) may look at which (column): mask (T, T) bool, parts {name: tokens} in their order."""
    ax = plt.subplots(figsize=(4.6, 4.2))[1]
    ax.imshow(mask.numpy(), cmap="Blues", vmin=0, vmax=1.6)
    at, middles = 0, []
    for length in parts.values():
        middles.append(at + (length - 1) / 2)
        at += length
        for line in (ax.axhline, ax.axvline):
            line(at - 0.5, color="black", linewidth=0.8)
    ax.set(xticks=middles, yticks=middles, title="may look at", ylabel="token")
    ax.set_xticklabels(parts)
    ax.set_yticklabels(parts, rotation=90, va="center")
    ax.grid(False)
    return ax


def layer_sweep(sweep, layer=None):
    """Held-out accuracy of a probe on each layer, with its 95 % interval; one layer marked."""
    ax = plt.subplots(figsize=(8, 3.4))[1]
    ax.fill_between(sweep.index, sweep["low"], sweep["high"], color=CHOSEN, alpha=0.2, label="95 % interval")
    ax.plot(sweep.index, sweep["accuracy"], "o-", color=CHOSEN, label="probe on this layer")
    if layer is not None:
        ax.plot(layer, sweep["accuracy"][layer], "s", color=REJECTED, markersize=11, label=f"layer {layer}")
    ax.axhline(0.5, color="black", linestyle=":", label="chance")
    ax.set(xlabel="layer", ylabel="held-out accuracy", ylim=(0.4, 1.0), title="Where the head sits")
    ax.legend(frameon=False, loc="upper left", ncols=2)
    return ax


def show(ax, alt):
    """Display the figure of `ax` once, with a text for readers who cannot see it."""
    from IPython.display import display

    figure = ax.get_figure()
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)  # or the notebook would draw it a second time at the end of the cell
