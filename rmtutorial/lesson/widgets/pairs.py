"""Pairs as the model reads them."""

import html

import ipywidgets

from rmtutorial.grouping import common_prefix
from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer, slider

COLORS = {"prompt": "#eeeeee", "chosen": "#cfe4f3", "rejected": "#fbe5bd"}  # light enough for black text


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
    return figures.packing.tree_mask(batch.masks[0][0, 0], {name: len(ids) for name, ids in parts.items()}), "".join(
        message
    ) + note


def _tokens(tokenizer, ids, marks, color):
    shown = [html.escape(tokenizer.decode([i])).replace("\n", "⏎").replace(" ", "&nbsp;") for i in ids]
    frame = lambda marked: "border:2px solid black" if marked else "border:1px solid white"  # noqa: E731
    return "".join(f'<span style="background:{color};color:black;{frame(m)}">{t}</span>' for t, m in zip(shown, marks))
