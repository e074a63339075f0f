"""Widgets of the comparison of reward model and DPO; built like those of `widgets`."""

import ipywidgets
import torch

from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer, slider
from rmtutorial.losses import dpo_loss


def dpo_explorer(beta=0.1, chosen=5.0, rejected=-5.0):
    """Move beta and the two log-ratios (nats): see the implicit rewards, the loss and how hard the pair pulls."""
    controls = {
        "beta": slider(ipywidgets.SelectionSlider, "β", options=[0.01, 0.03, 0.1, 0.3, 1.0], value=beta),
        "chosen": slider(ipywidgets.FloatSlider, "log-ratio, chosen", min=-30, max=30, step=0.5, value=chosen),
        "rejected": slider(ipywidgets.FloatSlider, "log-ratio, rejected", min=-30, max=30, step=0.5, value=rejected),
    }
    alt = "DPO's loss and its pull over the difference of the log-ratios, this pair marked; its numbers stand below."
    return explorer(controls, render_dpo, alt)


def render_dpo(beta, chosen, rejected):
    logprobs = torch.tensor([chosen, rejected], requires_grad=True)  # with a reference of 0 these are the log-ratios
    zero = torch.zeros(1)
    loss = dpo_loss(logprobs[:1], logprobs[1:], zero, zero, beta=beta)
    loss.backward()
    message = (
        f"implicit rewards {beta * chosen:+.2f} and {beta * rejected:+.2f}, margin {beta * (chosen - rejected):+.2f}; "
        f"loss <b>{loss.item():.3f}</b> nats; gradient {logprobs.grad[0].item():+.4f} on the chosen log-probability, "
        f"{logprobs.grad[1].item():+.4f} on the rejected one"
    )
    return figures.dpo.dpo_loss_curve(beta, chosen - rejected), message
