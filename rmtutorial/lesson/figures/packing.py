"""How two answers share the prompt in one packed sequence."""

import matplotlib.pyplot as plt


def tree_mask(mask, parts):
    """Which token (row) may look at which (column): mask (T, T) bool, parts {name: tokens} in their order."""
    ax = plt.subplots(figsize=(4.6, 4.2))[1]
    ax.imshow(mask.numpy(), cmap="Blues", vmin=0, vmax=1.6)
    at, middles = 0, []
    for length in parts.values():
        middles.append(at + (length - 1) / 2)
        at += length
        for line in (ax.axhline, ax.axvline):
            line(at - 0.5, color="black", linewidth=0.8)
    ax.set(xticks=middles, yticks=middles, title="may look at", ylabel="token")
    ax.set_xticklabels(parts)
    ax.set_yticklabels(parts, rotation=90, va="center")
    ax.grid(False)
    return ax
