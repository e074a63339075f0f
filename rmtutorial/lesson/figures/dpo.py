"""Figures of the comparison of reward model and DPO: data in, Axes out. No part is told by color alone."""

import math

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.session import CHOSEN, OKABE_ITO, REJECTED


def token_gradients(rows, tokens, starts, last=15):
    """Heat map of the last tokens: how hard each loss pulls at each, as a share of the row's largest, the value within.

    Args: rows {label: (T,) norms}; tokens, T texts; starts {name: place of the first token of that part}, marked by a
        line; last, how many tokens are shown. An empty field is exactly 0.
    """
    shown = slice(max(0, len(tokens) - last), len(tokens))
    ax = plt.subplots(figsize=(8, 0.6 * len(rows) + 1.7))[1]
    values = torch.stack([norms / norms.max() for norms in rows.values()])[:, shown]
    ax.imshow(values.numpy(), cmap="Blues", aspect="auto", vmin=0, vmax=1)
    ax.set_yticks(range(len(rows)), list(rows), fontsize=10)
    ax.set_xticks(range(values.shape[1]), tokens[shown], rotation=60, ha="right", fontsize=10)
    ax.grid(False)
    for name, at in starts.items():
        if at >= shown.start:
            ax.axvline(at - shown.start - 0.5, color="black", linewidth=1)
            ax.text(at - shown.start - 0.4, -0.55, name, fontsize=10, va="bottom")
    for row, column in (values > 0).nonzero().tolist():
        value = values[row, column].item()
        ax.text(
            column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color="white" if value > 0.6 else "black"
        )
    return ax


def displacement(change, groups):
    """Change of log pi of the chosen answer over that of the rejected one, one dot a pair.

    Args: change (n, 2) nats, the chosen answer's first; groups, {name: indices of pairs}, at most three.
    """
    ax = plt.subplots(figsize=(5.4, 4.6))[1]
    ends = change.min().item() - 1, change.max().item() + 1
    ax.plot(ends, ends, "--", color="dimgray", linewidth=1, label="both alike: margin 0")
    for zero in (ax.axhline, ax.axvline):
        zero(0, color="black", linestyle=":", linewidth=1)
    for (name, some), marker, color in zip(groups.items(), "ox^", ("black", OKABE_ITO[2], OKABE_ITO[3])):
        ax.plot(change[some, 1], change[some, 0], marker, color=color, markersize=4, alpha=0.7, label=name)
    ax.set(
        xlim=ends,
        ylim=ends,
        xlabel=r"change of $\log\pi$(rejected) (nats)",
        ylabel=r"change of $\log\pi$(chosen) (nats)",
    )
    ax.legend(frameon=False, fontsize=10, loc="upper left")
    return ax


def pass_rates(rates):
    """Share of answers that pass a machine's check, {label: (rate, low, high)}: a marker with its 95 % interval a row."""
    ax = plt.subplots(figsize=(8, 0.42 * len(rates) + 1.1))[1]
    for row, (rate, low, high) in enumerate(rates.values()):
        ax.errorbar(rate, row, xerr=[[rate - low], [high - rate]], fmt="o", color=CHOSEN, capsize=4)
        ax.text(min(high, 1) + 0.015, row, f"{rate:.2f}", va="center", fontsize=10)
    ax.set_yticks(range(len(rates)), list(rates))
    ax.set(
        xlim=(0, 1.08), ylim=(len(rates) - 0.4, -0.6), xlabel="share of answers that pass, with 95 % interval by prompt"
    )
    return ax


def dpo_loss_curve(beta, log_ratio):
    """DPO's loss and its gradient weight over the difference of the two log-ratios, for one beta, one point marked."""
    axes = plt.subplots(1, 2, figsize=(9, 3.2))[1]
    x = torch.linspace(-60, 60, 241)
    here = torch.tensor(float(log_ratio))
    for ax, f, color, label in (
        (axes[0], lambda d: torch.nn.functional.softplus(-beta * d), CHOSEN, "loss (nats)"),
        (axes[1], lambda d: beta * torch.sigmoid(-beta * d), CHOSEN, r"gradient weight $\beta\,\sigma(-\beta d)$"),
    ):
        ax.plot(x, f(x), color=color)
        ax.plot(here, f(here), "o", color=REJECTED, markersize=9)
        ax.set(xlabel="log-ratio of chosen - log-ratio of rejected, d (nats)", ylabel=label)
    axes[0].axhline(math.log(2), color="black", linestyle=":", label="ln 2")
    axes[0].legend(frameon=False)
    axes[0].set_title(rf"DPO loss, $\beta$ = {beta:g}")
    axes[1].set_title("how hard this pair pulls")
    return axes[0]
