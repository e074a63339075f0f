"""Figures of the comparison of reward model and DPO: data in, Axes out. No part is told by color alone."""

import math

import matplotlib.pyplot as plt
import torch

from rmtutorial.lesson.session import CHOSEN, REJECTED


def gradient_ledger(ledgers):
    """Gradient norm of every part, for several losses side by side: {title: table of `gradients.gradient_ledger`}.

    A bar is a gradient; a cross a part that learns nothing (frozen); a circle one whose gradient is exactly 0.
    """
    parts = list(dict.fromkeys(part for table in ledgers.values() for part in table.index))
    figure, axes = plt.subplots(1, len(ledgers), figsize=(4 * len(ledgers), 0.27 * len(parts) + 1.2), sharey=True)
    largest = max(table["gradient"].max() for table in ledgers.values())
    for ax, (title, table) in zip(axes if len(ledgers) > 1 else [axes], ledgers.items()):
        for row, part in enumerate(parts):
            _ledger_row(ax, row, table.loc[part] if part in table.index else None, largest)
        ax.set(xscale="log", xlim=(largest * 1e-5, largest * 3), title=title, xlabel="gradient norm")
        ax.set_yticks(range(len(parts)), parts, fontsize=9)
        ax.set_ylim(len(parts) - 0.5, -0.5)
    return figure.axes[0]


def _ledger_row(ax, row, found, largest):
    left = largest * 1.3e-5
    if found is None:
        ax.text(left, row, "not there", va="center", fontsize=8, color="dimgray")
    elif math.isnan(found["gradient"]):
        ax.text(left, row, "× no gradient", va="center", fontsize=8)
    elif found["gradient"] == 0:
        ax.text(left, row, "○ exactly 0", va="center", fontsize=8)
    else:
        tied = found["parameters"] == 0  # the LM head that is the embedding matrix: the same gradient, shown hollow
        ax.barh(row, found["gradient"], color="white" if tied else CHOSEN, edgecolor=CHOSEN)
        if tied:
            ax.text(left, row, " = embeddings", va="center", fontsize=8)


def token_gradients(rows, tokens, starts):
    """Heat map: how hard each loss pulls at each token.

    Args: rows {label: (T,) norms}, each drawn as a share of its own largest; tokens, T texts; starts {name: place of
        the first token of that part}, marked by a line.
    """
    ax = plt.subplots(figsize=(max(8, 0.24 * len(tokens)), 0.45 * len(rows) + 1.3))[1]
    values = torch.stack([norms / norms.max() for norms in rows.values()])
    image = ax.imshow(values.numpy(), cmap="Blues", aspect="auto", vmin=0, vmax=1)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8)
    ax.grid(False)
    for name, at in starts.items():
        ax.axvline(at - 0.5, color="black", linewidth=1)
        ax.text(at - 0.4, -0.55, name, fontsize=9, va="bottom")
    for row, column in (values == 0).nonzero().tolist():
        ax.text(column, row, "·", ha="center", va="center", fontsize=7, color="dimgray")
    ax.get_figure().colorbar(image, ax=ax, fraction=0.03, pad=0.01).set_label("share of row maximum", fontsize=8)
    return ax


def two_trainings(rm_history, dpo_history, beta):
    """Held-out loss of both, and what DPO does to the log-probabilities of chosen and rejected answers."""
    axes = plt.subplots(1, 2, figsize=(10, 3.6))[1]
    for name, history, color, style in (
        ("reward model", rm_history, CHOSEN, "o-"),
        ("DPO", dpo_history, REJECTED, "s--"),
    ):
        steps = history.to_frame()
        mean = steps["loss"].ewm(span=10).mean()
        axes[0].plot(steps.index, mean, style[1:], color=color, alpha=0.5, label=f"{name}, training (running mean)")
        held_out = steps["held_out_loss"].dropna()
        axes[0].plot(held_out.index, held_out, style, color=color, label=f"{name}, held-out")
    axes[0].axhline(math.log(2), color="black", linestyle=":", label="ln 2")
    axes[0].set(xlabel="optimizer step", ylabel="loss (nats)", title="One loss, two models")
    axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    log_ratios(dpo_history, beta, axes[1])
    return axes[0]


def log_ratios(history, beta, ax=None):
    """Mean change of log pi(y|x) of held-out answers against the reference, in nats, over a DPO training."""
    ax = ax or plt.subplots()[1]
    steps = [row["step"] for row in history.evaluations]
    for name, color, style in (("chosen", CHOSEN, "o-"), ("rejected", REJECTED, "s--")):
        values = [row[f"reward_{name}"] / beta for row in history.evaluations]
        ax.plot(steps, values, style, color=color, label=f"{name} answers")
    ax.axhline(0, color="black", linestyle=":", label="the reference")
    ax.set(xlabel="optimizer step", ylabel="change of log-probability (nats)", title="DPO, held-out answers")
    ax.legend(frameon=False, fontsize=9)
    return ax


def accuracies_and_drift(table, sweep):
    """Left: held-out accuracy of several judges with 95 % interval. Right: drift from the reference over beta.

    Args: table, pandas with accuracy, low, high; sweep, pandas with beta as index and `kl` in nats.
    """
    axes = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=(3, 2))[1]
    rows = range(len(table))
    low, high = table["accuracy"] - table["low"], table["high"] - table["accuracy"]
    axes[0].errorbar(table["accuracy"], rows, xerr=[low, high], fmt="o", color=CHOSEN, capsize=3)
    axes[0].axvline(0.5, color="black", linestyle=":")
    axes[0].text(0.49, len(table) - 0.6, "chance", ha="right", va="center", fontsize=9)
    axes[0].set(xlabel="held-out accuracy, with 95 % interval", xlim=(0.2, 1), ylim=(len(table) - 0.3, -0.7))
    axes[0].set_yticks(rows, table.index)
    axes[1].plot(range(len(sweep)), sweep["kl"], "s--", color=REJECTED)
    axes[1].set_xticks(range(len(sweep)), [f"{beta:g}" for beta in sweep.index])
    axes[1].set(xlabel=r"$\beta$", ylabel="KL(policy, reference) (nats)", ylim=(0, 1.15 * sweep["kl"].max()))
    axes[1].set_title("drift from the reference")
    return axes[0]


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
