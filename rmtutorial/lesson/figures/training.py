"""Curves of a training run."""

import math

import matplotlib.pyplot as plt

from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, REJECTED


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
    legend_below(ax, columns=2)  # dots may lie anywhere in the axes
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
    legend_below(ax, columns=2)
    return ax


def curves(history):
    """Loss and accuracy side by side."""
    axes = plt.subplots(1, 2, figsize=(10, 3.6))[1]
    loss_curve(history, axes[0])
    accuracy_curve(history, axes[1])
    return axes[0]
