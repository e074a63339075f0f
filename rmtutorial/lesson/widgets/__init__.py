"""Widgets: controls, a pure function from their values to (Axes, HTML), and a picture and a text that show its result.

Only what ipywidgets 7.7 and 8 share. Every builder returns a VBox of [controls, picture, text]. One file a topic:
`widgets.training.training_explorer(...)`.
"""

import base64
import html
import io

import ipywidgets
import matplotlib.pyplot as plt

from rmtutorial.lesson import topic_of

__getattr__ = topic_of(__name__)

WIDE = ipywidgets.Layout(width="480px")
STYLE = {"description_width": "150px"}


def explorer(controls, render, alt):
    """Observe `controls` (name -> widget) and show what `render(**values)` gives: Axes and HTML.

    `alt` says what the figure shows, for those who cannot see it: the reason for HTML, since the Image widget has none.
    """
    image, text = ipywidgets.HTML(), ipywidgets.HTML()

    def update(_=None):
        ax, message = render(**{name: control.value for name, control in controls.items()})
        image.value, text.value = img(png(ax), alt), message

    for control in controls.values():
        control.observe(update, "value")
    update()
    return ipywidgets.VBox([ipywidgets.VBox(list(controls.values())), image, text])


def png(ax):
    """The figure of `ax` as PNG bytes; the figure is closed."""
    buffer, figure = io.BytesIO(), ax.get_figure()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def img(data, alt):
    """PNG bytes as an HTML element that is never wider than its cell."""
    source = base64.b64encode(data).decode()
    return f'<img style="max-width:100%" alt="{html.escape(alt)}" src="data:image/png;base64,{source}">'


def slider(kind, description, **settings):
    return kind(description=description, style=STYLE, layout=WIDE, continuous_update=False, **settings)
