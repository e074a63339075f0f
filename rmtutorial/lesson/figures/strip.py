"""The drawn pipeline (`figures.pipeline`) as one line of a table, for notebooks that are about a part of it."""

import html
import textwrap

from rmtutorial.backbones import decoder_layers
from rmtutorial.lesson.figures.pipeline import PARTS


def pipeline(parts, lit):
    """A table of one line: the parts from left to right, below each what is known of the chosen and the rejected answer.

    Args:
        parts: a dict with any of the keys that `figures.pipeline.pipeline` lists; what is not known is `…`.
        lit: names of the parts that are the notebook's own, in bold brackets.
    Returns: what IPython displays as HTML.
    Raises: ValueError for a part that does not exist.
    """
    from IPython.display import HTML

    if unknown := [name for name in (*parts, *lit) if name not in PARTS]:
        raise ValueError(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    names, known = [], []
    for name in PARTS:
        title = {"text": "prompt and answers"}.get(name, name)
        names.append(f"<b>[{title}]</b>" if name in lit else title)
        found = SAY[name](parts[name]) if name in parts else ["…"]
        known.append("<br>".join(html.escape(text).replace(" ", "&nbsp;") for text in found))
    rows = "<td>→</td>".join(f"<td>{name}</td>" for name in names), "<td></td>".join(f"<td>{k}</td>" for k in known)
    return HTML("<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>")


def _text(pair):
    return [textwrap.shorten(str(text), 20, placeholder=" …") for text in (pair.prompt, pair.chosen, pair.rejected)]


SAY = {  # part -> its lines: one for both answers, or one each
    "text": _text,
    "tokens": lambda both: [f"{len(ids)}, answer {n}" for ids, n in both],
    "backbone": lambda backbone: [f"{len(decoder_layers(backbone))} layers"],
    "states": lambda states: [" × ".join(map(str, h.shape)) for h in states],  # T × H
    "pooled": lambda pooled: [f"{len(p)}" for p in pooled],  # H
    "reward": lambda rewards: [f"{r:.2f}" for r in rewards],
    "margin": lambda margin: [f"{margin:+.2f}"],
    "loss": lambda loss: [f"{loss:.2f}"],
    "gradient": lambda gradient: [f"{push:+.2f}" for push in gradient["reward"]],
}
