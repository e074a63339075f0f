"""Two rewards, their margin and the loss."""

import ipywidgets
import torch

from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer, slider
from rmtutorial.losses import bradley_terry_loss


def sigmoid_and_loss(r_chosen=1.0, r_rejected=0.0):
    """Move two rewards, see the margin, the probability that the chosen answer wins, the loss and its gradient."""
    controls = {
        name: slider(ipywidgets.FloatSlider, f"reward of {answer}", min=-5, max=5, step=0.1, value=value)
        for name, answer, value in (("r_chosen", "chosen", r_chosen), ("r_rejected", "rejected", r_rejected))
    }
    alt = "The sigmoid and the loss over the margin, with this margin marked; the text below has its numbers."
    return explorer(controls, render_sigmoid_and_loss, alt)


def render_sigmoid_and_loss(r_chosen, r_rejected):
    rewards = torch.tensor([r_chosen, r_rejected], requires_grad=True)
    loss = bradley_terry_loss(rewards[:1], rewards[1:])
    loss.backward()
    p = torch.sigmoid(torch.tensor(r_chosen - r_rejected)).item()
    message = (
        f"margin {r_chosen - r_rejected:+.1f}: the chosen answer wins with probability <b>{p:.3f}</b>; "
        f"loss <b>{loss.item():.3f}</b> nats; gradient {rewards.grad[0].item():+.3f} on the chosen reward, "
        f"{rewards.grad[1].item():+.3f} on the rejected one"
    )
    return figures.loss.sigmoid_and_loss(r_chosen - r_rejected), message
