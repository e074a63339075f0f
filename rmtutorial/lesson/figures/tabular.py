"""The optimum under a KL penalty for a few answers with known rewards, and what beta does to it."""

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.session import CHOSEN, REJECTED
from rmtutorial.lesson.tabular import best_policy, kl

BETAS = torch.logspace(-1.5, 1.5, 61)


def optimum(names, reference, reward, beta):
    """Left: each answer's probability under the reference and under pi*. Right: reward and KL of pi* over beta, this one marked.

    Args: names, A texts; reference (A,), probabilities; reward (A,); beta > 0.
    """
    axes = plt.subplots(1, 2, figsize=(10, 3.8))[1]
    _bars(axes[0], names, reward, {"reference": reference, r"$\pi^*$": best_policy(reference, reward, beta)})
    axes[0].set_title(rf"{len(names)} answers, $\beta$ = {beta:g}")
    policies = torch.stack([best_policy(reference, reward, b) for b in BETAS])  # (K, A)
    here = best_policy(reference, reward, beta)
    for values, now, color, style, label in (
        ((policies * reward).sum(-1), (here * reward).sum(), CHOSEN, "-", "mean reward E[r]"),
        (kl(policies, reference), kl(here, reference), REJECTED, "--", "KL from the reference (nats)"),
    ):
        axes[1].plot(BETAS, values, style, color=color, label=label)
        axes[1].plot(beta, now, "o", color=color, markeredgecolor="black", markersize=9)
    axes[1].set(xscale="log", xlabel=r"$\beta$ (rewards a nat)", title=r"what $\pi^*$ gets, and how far it goes")
    axes[1].legend(frameon=False, fontsize=10)
    return axes[0]


def _bars(ax, names, reward, policies):
    places, width = range(len(names)), 0.8 / len(policies)
    looks = (("white", "//"), (CHOSEN, ""))
    for k, ((label, policy), (color, hatch)) in enumerate(zip(policies.items(), looks)):
        at = [place + (k - (len(policies) - 1) / 2) * width for place in places]
        ax.bar(at, policy.tolist(), width, color=color, edgecolor="black", hatch=hatch, label=label)
        for x, p in zip(at, policy.tolist()):
            ax.text(x, p, f"{p:.2f}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(places, [f"{name}\nr = {r:.2f}" for name, r in zip(names, reward.tolist())], fontsize=9)
    ax.set(ylabel="probability", ylim=(0, 1.12))
    ax.legend(frameon=False, fontsize=10, loc="upper center", ncols=2)
