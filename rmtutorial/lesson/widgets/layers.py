"""A head moved up and down the layers."""

import ipywidgets

from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer, slider


def layer_explorer(sweep, layer=16):
    """Move a head up and down the layers: what a probe on each one reaches. `sweep` as `layer_sweep` gives it."""
    controls = {"layer": slider(ipywidgets.IntSlider, "layer", min=1, max=len(sweep), value=min(layer, len(sweep)))}
    alt = "Held-out accuracy of a probe over the layers, this layer marked; the text below has its numbers."
    return explorer(controls, lambda layer: render_layer(sweep, layer), alt)


def render_layer(sweep, layer):
    row = sweep.loc[layer]
    message = (
        f"A head on layer {layer}: held-out accuracy <b>{row['accuracy']:.2f}</b> "
        f"[{row['low']:.2f}, {row['high']:.2f}] of {row['pairs']:.0f} pairs"
    )
    return figures.layers.layer_sweep(sweep, layer), message
