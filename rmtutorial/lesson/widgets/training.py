"""A whole training of a head on fixed features, again at every move of a slider."""

import ipywidgets

from rmtutorial.intervals import accuracy_interval
from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer, slider
from rmtutorial.probe import train_head
from rmtutorial.recipe import TrainConfig


def training_explorer(features, held_out, units, epochs=5, head_lr=3e-3):
    """Learning rate, epochs, number of pairs: the whole training of a head on fixed features, again at every move.

    Args: features (B, 2, H) to train on and (N, 2, H) held out, as `pooled_features` gives them; units, N labels of
        the held-out pairs, for the interval.
    """
    sizes = sorted({max(8, len(features) // 16), len(features) // 4, len(features) // 2, len(features)})
    rates = [3e-5, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0]
    controls = {
        "head_lr": slider(ipywidgets.SelectionSlider, "learning rate", options=[(f"{r:g}", r) for r in rates], value=head_lr),
        "epochs": slider(ipywidgets.IntSlider, "epochs", min=1, max=20, value=epochs),
        "n": slider(ipywidgets.SelectionSlider, "pairs", options=sizes, value=sizes[-1]),
    }  # fmt: skip
    alt = "Loss and accuracy over the steps of this training; the text below has the held-out numbers."
    return explorer(controls, lambda **values: render_training(features, held_out, units, **values), alt)


def render_training(features, held_out, units, head_lr, epochs, n):
    w, history = train_head(features[:n], TrainConfig(head_lr=head_lr, epochs=epochs), held_out)
    first, last = history.evaluations[0], history.evaluations[-1]
    margins = (held_out[:, 0] - held_out[:, 1]) @ w
    low, high = accuracy_interval((margins > 0).double(), units)
    message = (
        f"{n} pairs, {epochs} epochs: held-out loss {first['loss']:.3f} &rarr; <b>{last['loss']:.3f}</b>, accuracy "
        f"<b>{last['accuracy']:.2f}</b> [{low:.2f}, {high:.2f}] of {len(held_out)}"
    )
    return figures.training.curves(history), message
