"""The Bradley-Terry loss over the margin."""

import math

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.session import CHOSEN, REJECTED

LN_2 = math.log(2)


def sigmoid_and_loss(margin):
    """P(chosen wins) and the loss over the margin, with one margin marked and the loss's slope there."""
    axes = plt.subplots(1, 2, figsize=(9, 3.2))[1]
    x = torch.linspace(-10, 10, 201)
    here = torch.tensor(float(margin))
    p, loss = torch.sigmoid(here).item(), torch.nn.functional.softplus(-here).item()
    axes[0].plot(x, torch.sigmoid(x), color=CHOSEN)
    axes[0].plot(margin, p, "o", color=REJECTED, markersize=9)
    axes[0].set(ylabel="P(chosen wins)", xlabel="margin (logits)", title="P = sigmoid of the margin")
    axes[1].plot(x, torch.nn.functional.softplus(-x), color=CHOSEN, label="loss")
    near = torch.tensor([margin - 3.0, margin + 3.0])
    axes[1].plot(near, loss + (p - 1) * (near - margin), "--", color="black", label=f"slope {p - 1:+.2f}")
    axes[1].plot([-10, 0, 0], [LN_2, LN_2, -0.5], ":", color="black", linewidth=1)
    axes[1].annotate("ln 2 at margin 0", (-10, LN_2), (2, 4), textcoords="offset points", fontsize=9)
    axes[1].plot(margin, loss, "o", color=REJECTED, markersize=9)
    axes[1].set(ylabel="loss (nats)", xlabel="margin (logits)", title="loss = -log P", ylim=(-0.5, 10.5))
    axes[1].legend(frameon=False)
    return axes[0]


def loss_and_push(margins):
    """The loss and how hard it pushes over the margin, with the pairs of these margins marked and numbered."""
    axes = plt.subplots(1, 2, figsize=(9, 3.2))[1]
    x = torch.linspace(-4, 4, 161)
    here = torch.as_tensor(margins)
    for ax, f, label in (
        (axes[0], lambda d: torch.nn.functional.softplus(-d), "loss $-\\log\\sigma(\\Delta)$ (nats)"),
        (axes[1], lambda d: torch.sigmoid(-d), "push $\\sigma(-\\Delta)$ on each reward"),
    ):
        ax.plot(x, f(x), color=CHOSEN)
        ax.plot(here, f(here), "o", color=REJECTED, markersize=9, markeredgecolor="black")
        for number, (d, value) in enumerate(zip(here.tolist(), f(here).tolist()), 1):
            ax.annotate(f"pair {number}: {value:.2f}", (d, value), (12, 6), textcoords="offset points", fontsize=10)
        ax.axvline(0, color="black", linestyle=":")
        ax.set(xlabel="margin $\\Delta$: chosen - rejected (logits)", ylabel=label, xlim=(-4, 5.2))
    axes[0].set_title("ranked wrong: it costs")
    axes[1].set_title("ranked wrong: it is pushed")
    return axes[0]
