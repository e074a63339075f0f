"""What a policy-gradient training did: its curves, and held-out prompts before and after."""

import matplotlib.pyplot as plt
import torch

from rmtutorial.intervals import grouped_interval
from rmtutorial.lesson.figures.best_of_n import EDGE
from rmtutorial.lesson.session import CHOSEN, REJECTED

MEASURES = {  # of a row, what stands in which panel
    "reward_mean": "reward",
    "kl": "KL to the reference (nats)",
    "length": "length (tokens)",
    "finished": "share finished",
    "spread": "spread within groups",
}


def training_panel(history):
    """The curves of a GRPO training with held-out evaluations, and each held-out prompt before and after."""
    axes = plt.subplots(2, 3, figsize=(10, 6))[1].flatten()
    before_and_after(history, axes[0])
    rows = history.to_frame()
    for ax, (key, label) in zip(axes[1:], MEASURES.items()):
        values = rows[key].dropna()
        ax.plot(values, ".", color=CHOSEN, alpha=0.5)
        ax.plot(values.ewm(span=8).mean(), color=CHOSEN, linewidth=2, label="training rollouts (running mean)")
        held_out = [row["step"] for row in history.evaluations], [row[key] for row in history.evaluations]
        ax.plot(*held_out, "s--", color=REJECTED, **EDGE, label="held-out prompts")
        ax.set(xlabel="step", ylabel=label)
    handles, names = axes[1].get_legend_handles_labels()
    axes[0].get_figure().legend(handles, names, frameon=False, loc="outside lower center", ncols=2, fontsize=10)
    return axes[0]


def before_and_after(history, ax=None):
    """Mean reward of each held-out prompt in the first and the last evaluation; the mean gain with its 95 % interval."""
    ax = ax or plt.subplots()[1]
    first, last = (torch.tensor(history.evaluations[i]["rewards"]).mean(dim=1) for i in (0, -1))  # (P,)
    order = first.argsort()
    first, last, rows = first[order].tolist(), last[order].tolist(), range(len(order))
    for row, x, y in zip(rows, first, last):
        ax.plot([x, y], [row, row], color="black", linewidth=1)
    ax.plot(first, rows, "o", color="white", **EDGE, label="before")
    ax.plot(last, rows, "s", color=CHOSEN, **EDGE, label="after")
    gain = torch.tensor(last) - torch.tensor(first)
    low, high = grouped_interval(gain, rows)
    ax.set(xlabel="mean reward, ○ before, ■ after", ylabel=f"{len(gain)} held-out prompts", yticks=[])
    ax.set_title(f"gain {gain.mean():.2f} [{low:.2f}, {high:.2f}]", fontsize=11)
    return ax
