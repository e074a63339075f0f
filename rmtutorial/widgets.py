"""Widgets: controls, a pure function from their values to (Axes, HTML), and a picture and a text that show its result.

Only what ipywidgets 7.7 and 8 share. Every builder returns a VBox of [controls, picture, text].
"""

import base64
import html
import io

import ipywidgets
import matplotlib.pyplot as plt
import torch

from rmtutorial import figures
from rmtutorial.encoding import common_prefix
from rmtutorial.evaluation import wilson_interval
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.probe import train_head
from rmtutorial.recipe import TrainConfig

WIDE = ipywidgets.Layout(width="480px")
STYLE = {"description_width": "150px"}
COLORS = {"prompt": "#eeeeee", "chosen": "#cfe4f3", "rejected": "#fbe5bd"}  # light enough for black text


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


def sigmoid_and_loss(r_chosen=1.0, r_rejected=0.0):
    """Move two rewards, see the margin, the probability that the chosen answer wins, the loss and its gradient."""
    controls = {
        name: slider(ipywidgets.FloatSlider, f"reward of {answer}", min=-5, max=5, step=0.1, value=value)
        for name, answer, value in (("r_chosen", "chosen", r_chosen), ("r_rejected", "rejected", r_rejected))
    }
    alt = "The sigmoid and the loss over the margin, with this margin marked; the text below has its numbers."
    return explorer(controls, render_sigmoid_and_loss, alt)


def render_sigmoid_and_loss(r_chosen, r_rejected):
    rewards = torch.tensor([r_chosen, r_rejected], requires_grad=True)
    loss = bradley_terry_loss(rewards[:1], rewards[1:])
    loss.backward()
    p = torch.sigmoid(torch.tensor(r_chosen - r_rejected)).item()
    message = (
        f"margin {r_chosen - r_rejected:+.1f}: the chosen answer wins with probability <b>{p:.3f}</b>; "
        f"loss <b>{loss.item():.3f}</b> nats; gradient {rewards.grad[0].item():+.3f} on the chosen reward, "
        f"{rewards.grad[1].item():+.3f} on the rejected one"
    )
    return figures.sigmoid_and_loss(r_chosen - r_rejected), message


def pair_explorer(rm, pairs):
    """Step through pairs: the tokens as the model reads them, which tokens see which, and which one is scored."""
    controls = {"i": slider(ipywidgets.IntSlider, "pair", min=0, max=len(pairs) - 1, value=0)}
    alt = "The tree mask: which tokens of prompt, chosen and rejected may look at which."
    return explorer(controls, lambda i: render_pair(rm, pairs[i]), alt)


def render_pair(rm, pair):
    example = rm.encode_pairs([pair])[0]
    batch = rm.batch([example])
    shared = common_prefix([answer.ids for answer in example])
    parts = {"prompt": example[0].ids[:shared], "chosen": example[0].ids[shared:], "rejected": example[1].ids[shared:]}
    scored = batch.pool[0].max(0).values > 0  # (N,)
    message, at = [], 0
    for name, ids in parts.items():
        marks = scored[at : at + len(ids)].tolist()
        message.append(f"<p><b>{name}</b> ({len(ids)} tokens)<br>{_tokens(rm.tokenizer, ids, marks, COLORS[name])}</p>")
        at += len(ids)
    note = "<p>Framed: the tokens whose states are scored. New lines are shown as ⏎.</p>"
    return figures.tree_mask(batch.masks[0][0, 0], {name: len(ids) for name, ids in parts.items()}), "".join(
        message
    ) + note


def _tokens(tokenizer, ids, marks, color):
    shown = [html.escape(tokenizer.decode([i])).replace("\n", "⏎").replace(" ", "&nbsp;") for i in ids]
    frame = lambda marked: "border:2px solid black" if marked else "border:1px solid white"  # noqa: E731
    return "".join(f'<span style="background:{color};color:black;{frame(m)}">{t}</span>' for t, m in zip(shown, marks))


def training_explorer(features, held_out, epochs=5, head_lr=3e-3):
    """Learning rate, epochs, number of pairs: the whole training of a head on fixed features, again at every move.

    Args: features (B, 2, H) to train on and (N, 2, H) held out, as `pooled_features` gives them.
    """
    sizes = sorted({max(8, len(features) // 16), len(features) // 4, len(features) // 2, len(features)})
    rates = [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    controls = {
        "head_lr": slider(ipywidgets.SelectionSlider, "learning rate", options=[(f"{r:g}", r) for r in rates], value=head_lr),
        "epochs": slider(ipywidgets.IntSlider, "epochs", min=1, max=20, value=epochs),
        "n": slider(ipywidgets.SelectionSlider, "pairs", options=sizes, value=sizes[-1]),
    }  # fmt: skip
    alt = "Loss and accuracy over the steps of this training; the text below has the held-out numbers."
    return explorer(controls, lambda **values: render_training(features, held_out, **values), alt)


def render_training(features, held_out, head_lr, epochs, n):
    _, history = train_head(features[:n], TrainConfig(head_lr=head_lr, epochs=epochs), held_out)
    first, last = history.evaluations[0], history.evaluations[-1]
    low, high = wilson_interval(last["accuracy"], len(held_out))
    message = (
        f"{n} pairs, {epochs} epochs: held-out loss {first['loss']:.3f} &rarr; <b>{last['loss']:.3f}</b>, accuracy "
        f"<b>{last['accuracy']:.2f}</b> [{low:.2f}, {high:.2f}] of {len(held_out)}"
    )
    return figures.curves(history), message


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
    return figures.layer_sweep(sweep, layer), message
