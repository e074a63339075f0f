"""One pool of samples: which of them wins, and how a KL penalty weighs them; what the sliders of best of n show."""

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.figures.best_of_n import COLORS, EDGE, LOOKS, axis_of_n
from rmtutorial.lesson.session import CHOSEN


def pick(proxy, gold, n, ns, curves):
    """Left: the samples of one prompt, those among the first n filled, the proxy's choice a star. Right: all draws of n.

    Args: proxy, gold (N,); n; ns, K numbers, n among them; curves, {"proxy", "gold": (K,) expected score of the choice}.
    """
    axes = plt.subplots(1, 2, figsize=(10, 3.8))[1]
    winner = int(proxy[:n].argmax())
    axes[0].plot(proxy[n:], gold[n:], "o", color="white", markeredgecolor="gray", markersize=5, label="not drawn")
    axes[0].plot(proxy[:n], gold[:n], "o", color=CHOSEN, **EDGE, label=f"the first {n}")
    axes[0].plot(
        proxy[winner], gold[winner], "*", color=COLORS[1], markeredgecolor="black", markersize=17, label="chosen"
    )
    axes[0].set(xlabel="score by the proxy", ylabel="score by gold", title="One draw of n")
    axes[0].legend(frameon=False, fontsize=9)
    for (name, values), look in zip(curves.items(), LOOKS):
        axes[1].plot(ns, values, **look, **EDGE, label=f"by {name}")
        axes[1].plot(n, values[ns.index(n)], "o", color="none", markeredgecolor="black", markersize=15)
    axis_of_n(axes[1], ns)
    axes[1].set(ylabel="score of the choice", title="Expected over all draws of n")
    axes[1].legend(frameon=False, fontsize=9)
    return axes[0]


def tilt(scores, weights, curve, here):
    """Left: scores by the proxy, as sampled and as pi* weighs them. Right: what pi* gains against its KL, this beta marked.

    Args: scores, weights (P, N), the scores taken from their prompt's mean, in within-prompt spreads; curve and here,
        {"kl", "proxy", "gold": (P, K)} of many betas and of one, as `kl_frontier.tilted_frontier` gives them.
    """
    axes = plt.subplots(1, 2, figsize=(10, 3.8))[1]
    bins, P = torch.linspace(scores.min(), scores.max(), 31).tolist(), len(scores)
    scores, weights = scores.flatten().tolist(), weights.flatten() / P
    axes[0].hist(scores, bins, weights=weights.tolist(), color=CHOSEN, alpha=0.7, label=r"$\pi^*_\beta$")
    axes[0].hist(scores, bins, weights=torch.full_like(weights, 1 / len(scores)).tolist(), histtype="step", color="black", label="the reference")  # fmt: skip
    axes[0].set(xlabel="score by the proxy (spreads)", ylabel="probability", title="Where the weight is")
    for judge, look in zip(("proxy", "gold"), LOOKS):
        path = {key: curve[key].mean(dim=0) for key in ("kl", judge)}
        order = path["kl"].argsort()
        axes[1].plot(
            path["kl"][order].clamp(min=0).sqrt(), path[judge][order], color=look["color"], linestyle=look["linestyle"]
        )
        at = here["kl"].mean().clamp(min=0).sqrt().item(), here[judge].mean().item()
        axes[1].plot(
            *at, look["marker"], color=look["color"], markeredgecolor="black", markersize=10, label=f"by {judge}"
        )
    axes[1].axhline(0, color="black", linestyle=":")
    axes[1].set(xlabel=r"$\sqrt{\mathrm{KL}}$ ($\sqrt{\mathrm{nats}}$)", ylabel="gain (spreads)", title="What it buys")
    for ax in axes:
        ax.legend(frameon=False, fontsize=10)
    return axes[0]
