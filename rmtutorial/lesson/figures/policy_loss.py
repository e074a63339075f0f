"""Parts of the policy-gradient loss: the clip, and estimators of the KL divergence."""

import math

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.figures.best_of_n import EDGE, LOOKS
from rmtutorial.lesson.session import CHOSEN, REJECTED
from rmtutorial.lesson.shift import ESTIMATORS
from rmtutorial.policy_gradient import grpo_loss

RATIOS = torch.linspace(0.4, 1.8, 281)
EXACT = {"KL(pi, ref)": (r"KL($\pi\,\|\,$ref)", "-"), "KL(ref, pi)": (r"KL(ref$\,\|\,\pi$)", "--")}


def kl_estimators(found):
    """k1, k2, k3 under a shift: mean, spread and gradient beside the exact KL; found as `shift.estimators` gives it."""
    axes = plt.subplots(1, 3, figsize=(10, 4))[1]
    shift, kl = found["shift"], found["KL(pi, ref)"]["mean"]
    for ax, part in ((axes[0], "mean"), (axes[2], "gradient")):
        for name, (label, style) in EXACT.items():
            if part == "gradient" or name == "KL(pi, ref)":
                ax.plot(shift, found[name][part], style, color="black", linewidth=3, alpha=0.5, label=label)
    every = max(1, len(shift) // 8)
    for start, (name, look) in enumerate(zip(ESTIMATORS, LOOKS)):
        marks = {**look, **EDGE, "markevery": (start * every // 3, every), "label": name}  # not one behind the other
        axes[0].plot(shift, found[name]["mean"], **marks)
        axes[1].plot(shift[kl > 0], (found[name]["std"] / kl)[kl > 0], **marks)
        axes[2].plot(shift, found[name]["gradient"], **marks)
    axes[0].set(ylabel="nats", title="mean")
    axes[1].set(yscale="log", ylabel="standard deviation / KL", title="spread of one sample")
    axes[2].set(ylabel="nats per unit of shift", title="gradient, as a loss")
    for ax in axes:
        ax.set_xlabel("shift away from the reference")
    handles, names = axes[2].get_legend_handles_labels()
    axes[0].get_figure().legend(handles, names, frameon=False, loc="outside lower center", ncols=5, fontsize=10)
    return axes[0]


def kl_histograms(log_ratio, kl):
    """Histograms of k1, k2, k3 of samples, log_ratio (n,) = log pi - log ref, with their mean and the exact KL, a number."""
    axes = plt.subplots(3, 1, figsize=(9, 5.4), sharex=True)[1]
    values = {name: k(log_ratio) for name, k in ESTIMATORS.items()}
    reach = max(log_ratio.abs().quantile(0.995).item(), 1.5 * kl, 0.05)
    bins = torch.linspace(-reach, reach, 81).tolist()
    for ax, (name, found) in zip(axes, values.items()):
        share = torch.full_like(found, 1 / len(found)).tolist()
        ax.hist(
            found.clamp(-reach, reach).tolist(), bins, weights=share, color=CHOSEN
        )  # what is beyond: in the last bar
        ax.axvline(kl, color="black", label=f"exact KL {kl:.3f}")
        mean = found.mean()
        ax.axvline(mean, 0, 0.93, color=REJECTED, ls="--", marker="v", markevery=[1], **EDGE, label=f"mean {mean:.3f}")
        ax.set(ylabel=f"{name}\nshare")
        ax.legend(frameon=False, fontsize=10, loc="upper left", title=f"std {found.std():.3f}")
    axes[-1].set_xlabel("value for one sample (nats); what is beyond stands in the last bar")
    return axes[0]


def surrogate(ratio, advantage, clip):
    """(value, gradient in log pi) of what GRPO raises for one token, for each ratio (n,); by `grpo_loss` itself."""
    logprobs = ratio.log().view(1, -1, 1).requires_grad_()
    constant, mask = torch.zeros_like(logprobs), torch.ones_like(logprobs, dtype=torch.bool)
    gains = [
        -grpo_loss(one, constant[:, :1], torch.full((1, 1), advantage), mask[:, :1], clip=clip)
        for one in logprobs.split(1, dim=1)
    ]
    gradient = torch.autograd.grad(sum(gains), logprobs)[0]
    return torch.stack(gains).detach(), gradient.flatten()


def clip_corners(clip=0.2, ratio=None):
    """The clipped surrogate of one token, and its gradient, against the ratio, for a good and a bad answer; one ratio marked."""
    axes = plt.subplots(2, 2, figsize=(9, 5.4), sharex=True, sharey="row")[1]
    for column, (advantage, title) in enumerate(((1.0, "A = +1: a better answer"), (-1.0, "A = -1: a worse answer"))):
        value, pull = surrogate(RATIOS, advantage, clip)
        for ax, values in zip(axes[:, column], (value, pull.where(pull != 0, math.nan))):
            ax.plot(RATIOS, values, color=CHOSEN, linewidth=2)
            for edge in (1 - clip, 1 + clip):
                ax.axvline(edge, color="dimgray", linestyle=":")
        still = pull.where(pull == 0, math.nan)
        axes[1, column].plot(RATIOS, still, "--", color="black", linewidth=3, label="exactly 0: pushed no further")
        if ratio is not None:
            for ax, at in zip(axes[:, column], surrogate(torch.tensor([float(ratio)]), advantage, clip)):
                ax.plot(ratio, at.item(), "o", color=REJECTED, markeredgecolor="black", markersize=10)
        axes[0, column].set_title(title)
        axes[1, column].set_xlabel(r"ratio $\pi\,/\,\pi_\mathrm{old}$")
        axes[1, column].legend(frameon=False, fontsize=10, loc="best")
    axes[0, 0].set_ylabel("surrogate")
    axes[1, 0].set_ylabel(r"gradient in $\log\pi$")
    return axes[0, 0]
