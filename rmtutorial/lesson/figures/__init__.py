"""Figures: data in, Axes out. Blue is chosen or training, orange is rejected or held-out, and never color alone.

One file a topic: `figures.training.curves(history)` draws the curves of a training run.
"""

import matplotlib.pyplot as plt

from rmtutorial.lesson import topic_of

__getattr__ = topic_of(__name__)


def show(ax, alt):
    """Display the figure of `ax` once, with a text for readers who cannot see it."""
    from IPython.display import display

    figure = ax.get_figure()
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)  # or the notebook would draw it a second time at the end of the cell


def legend_below(ax, columns, gap=0.2):
    ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -gap), ncols=columns)
