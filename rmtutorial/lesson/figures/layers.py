"""Where on the backbone the head sits."""

import matplotlib.pyplot as plt

from rmtutorial.lesson.session import CHOSEN, REJECTED


def layer_sweep(sweep, layer=None):
    """Held-out accuracy of a probe on each layer, with its 95 % interval; one layer marked."""
    ax = plt.subplots(figsize=(8, 3.4))[1]
    ax.fill_between(sweep.index, sweep["low"], sweep["high"], color=CHOSEN, alpha=0.2, label="95 % interval")
    ax.plot(sweep.index, sweep["accuracy"], "o-", color=CHOSEN, label="probe on this layer")
    if layer is not None:
        ax.plot(layer, sweep["accuracy"][layer], "s", color=REJECTED, markersize=11, label=f"layer {layer}")
    ax.axhline(0.5, color="black", linestyle=":", label="chance")
    ax.set(xlabel="layer", ylabel="held-out accuracy", ylim=(0.4, 1.0), title="Where the head sits")
    ax.legend(frameon=False, loc="upper left", ncols=2)
    return ax
