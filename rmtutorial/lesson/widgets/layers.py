"""A head moved up and down the layers."""

import ipywidgets

from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer, slider


def layer_explorer(sweep, layer=16, other=None):
    """Move a head up and down the layers: what a head on each one reaches.

    Args: sweep, other, as `figures.layers.layer_sweep` takes them.
    """
    controls = {"layer": slider(ipywidgets.IntSlider, "layer", min=1, max=len(sweep), value=min(layer, len(sweep)))}
    alt = "Held-out accuracy of a head over the layers, this layer marked; the text below has its numbers."
    return explorer(controls, lambda layer: render_layer(sweep, layer, other), alt)


def render_layer(sweep, layer, other=None):
    message = f"A head on layer {layer}: held-out accuracy {_numbers(sweep.loc[layer])}"
    for name, table in (other or {}).items():
        if layer in table.index:
            message += f"; {name} {_numbers(table.loc[layer])}"
    return figures.layers.layer_sweep(sweep, layer, other), message


def _numbers(row):
    return f"<b>{row['accuracy']:.2f}</b> [{row['low']:.2f}, {row['high']:.2f}]"
