"""Where on the backbone the head sits."""

import matplotlib.pyplot as plt

from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, OKABE_ITO

CURVES = (OKABE_ITO[3], "o", "-", 0), (CHOSEN, "s", "--", 0.25)  # the last: to the right, so that bars do not meet


def layer_sweep(sweep, layer=None, other=None):
    """Held-out accuracy of a head on each layer, with its 95 % interval; one layer marked.

    Args: sweep, a table with layers as index and accuracy, low and high; other, {name: table} of a second set of pairs.
    """
    ax = plt.subplots(figsize=(9, 3.8))[1]
    sets = {"this course's pairs": sweep} | (other or {})
    for (name, table), (color, marker, line, aside) in zip(sets.items(), CURVES):
        reach = [table["accuracy"] - table["low"], table["high"] - table["accuracy"]]
        ax.errorbar(table.index + aside, table["accuracy"], reach, fmt=marker, linestyle=line, color=color, markersize=5,
                    elinewidth=1, capsize=2, label=f"{name}, 95 %")  # fmt: skip
    if layer is not None:
        ax.axvline(layer, color="black", linewidth=0.8, label=f"layer {layer}")
    ax.axhline(0.5, color="black", linestyle=":", label="chance")
    ax.set(xlabel="layer that the head reads", ylabel="held-out accuracy", ylim=(0.4, 0.92))
    ax.set_title("A head on each layer of the frozen backbone")
    legend_below(ax, columns=4, gap=0.18)
    return ax
