"""What a policy-gradient training did: its curves beside recorded runs, held-out prompts before and after, and collapse."""

import matplotlib.pyplot as plt
import torch

from rmtutorial.intervals import grouped_interval
from rmtutorial.lesson.figures.best_of_n import EDGE, LOOKS
from rmtutorial.lesson.session import CHOSEN, OKABE_ITO, REJECTED

MEASURES = {  # of a row, what stands in which panel
    "reward_mean": "reward",
    "kl": "KL to the reference (nats)",
    "length": "length (tokens)",
    "finished": "share finished",
    "spread": "spread within groups",
}
BEHIND = ((OKABE_ITO[2], ":"), (OKABE_ITO[4], "-."), (OKABE_ITO[3], "--"))  # of recorded runs


def training_panel(history, recorded=None):
    """The curves of a GRPO training, recorded runs thin behind it, and each held-out prompt before and after.

    Args: history, with held-out evaluations; recorded {name: list of Histories}, cut where the live run ends.
    """
    axes = plt.subplots(2, 3, figsize=(10, 6))[1].flatten()
    before_and_after(history, axes[0])
    for ax, (key, label) in zip(axes[1:], MEASURES.items()):
        _over_steps(ax, key, history, recorded or {})
        ax.set(xlabel="step", ylabel=label, xlim=(0, len(history.steps)))
    handles, names = axes[1].get_legend_handles_labels()
    axes[0].get_figure().legend(handles, names, frameon=False, loc="outside lower center", ncols=2, fontsize=10)
    return axes[0]


def _over_steps(ax, key, history, recorded):
    for (name, runs), (color, style) in zip(recorded.items(), BEHIND):
        for k, run in enumerate(runs):
            ax.plot(
                *_smooth(run, key, len(history.steps)),
                style,
                color=color,
                linewidth=1.2,
                label=name if k == 0 else None,
            )
    steps, values = [row["step"] for row in history.steps], [row[key] for row in history.steps]
    ax.plot(steps, values, ".", color=CHOSEN, alpha=0.5)
    smooth = _smooth(history, key, len(history.steps))
    ax.plot(*smooth, color=CHOSEN, linewidth=2, label="training rollouts, this run (running mean)")
    held_out = [row["step"] for row in history.evaluations], [row[key] for row in history.evaluations]
    ax.plot(*held_out, "s--", color=REJECTED, **EDGE, label="held-out prompts, this run")


def _smooth(history, key, steps):
    values = history.to_frame()[key].dropna().ewm(span=8).mean()[:steps]
    return values.index, values


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


def collapse(steps, openers, judged):
    """Left: share of held-out answers with the same first words, over the steps. Right: what each judge says of them.

    Args: steps, K numbers; openers {name of a kind of run: (S, K)} of S seeds, 0 to 1; judged {judge: (S, K)} gains of one
        kind of run, in within-prompt spreads. Seeds are thin, their mean is marked.
    """
    axes = plt.subplots(1, 2, figsize=(10, 4.6))[1]
    for ax, found in zip(axes, (openers, judged)):
        for (name, seeds), look in zip(found.items(), LOOKS):
            ax.plot(steps, seeds.T, **look, markersize=2, linewidth=0.8, alpha=0.6)
            ax.plot(steps, seeds.mean(dim=0), **look, **EDGE, linewidth=2, label=name)
        ax.set_xlabel("step")
        ax.legend(frameon=False, fontsize=10, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    axes[0].set(ylim=(0, 1), ylabel="share of answers", title="with the same first three words")
    axes[1].axhline(0, color="black", linestyle=":")
    axes[1].set(ylabel="gain (within-prompt spreads)", title="what each judge says of them")
    return axes[0]
