"""The slider of notebook 04's derivation: beta on the optimum under a KL penalty."""

import ipywidgets

from rmtutorial.lesson import figures
from rmtutorial.lesson.tabular import best_policy, kl, log_partition
from rmtutorial.lesson.widgets import explorer, slider

BETAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)


def optimum_explorer(names, reference, reward, beta=0.5):
    """Move beta: where the best policy puts its probability, what it earns, what it pays, and that the rest is beta log Z."""
    controls = {"beta": slider(ipywidgets.SelectionSlider, "β", options=BETAS, value=beta)}
    alt = "Probabilities of the answers under the reference and the optimum, and its reward and KL over beta; numbers stand below."
    return explorer(controls, lambda beta: render_optimum(names, reference, reward, beta), alt)


def render_optimum(names, reference, reward, beta):
    policy = best_policy(reference, reward, beta)
    earned, drift = (policy * reward).sum().item(), kl(policy, reference).item()
    message = (
        f"β = {beta:g}: E[r] = {earned:.4f}, less β · KL = {beta:g} · {drift:.4f}, is <b>{earned - beta * drift:.4f}</b>; "
        f"β log Z = <b>{beta * log_partition(reference, reward, beta).item():.4f}</b>; on the likeliest answer "
        f"{policy.max().item():.0%}"
    )
    return figures.tabular.optimum(names, reference, reward, beta), message
