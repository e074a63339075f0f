"""The Bradley-Terry loss over the margin."""

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.session import CHOSEN, REJECTED


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
