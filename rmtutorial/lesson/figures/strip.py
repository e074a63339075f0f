"""The drawn pipeline (`figures.pipeline`) as one line of a table, for notebooks that are about a part of it."""

import html
import textwrap

from rmtutorial.backbones import decoder_layers
from rmtutorial.lesson.figures.pipeline import PARTS


def pipeline(parts, lit):
    """A table with the parts from left to right, and below them what is known of the chosen and the rejected answer.

    Args:
        parts: a dict with any of the keys that `figures.pipeline.pipeline` lists; what is not known is a dot.
        lit: names of the parts that are the notebook's own, in bold brackets.
    Returns: what IPython displays as HTML.
    Raises: ValueError for a part that does not exist.
    """
    from IPython.display import HTML

    if unknown := [name for name in (*parts, *lit) if name not in PARTS]:
        raise ValueError(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    rows = ["", "", ""]  # names, the chosen answer, the rejected one
    for name in PARTS:
        title = {"text": "prompt and answers"}.get(name, name)
        rows[0] += f"<td><b>[{title}]</b></td>" if name in lit else f"<td>{title}</td>"
        found = SAY[name](parts[name]) if name in parts else ["·"]
        for k, text in enumerate(found):
            rows[1 + k] += f"<td{' rowspan=2' if len(found) == 1 else ''}>{html.escape(text)}</td>"
        rows = [row + ("" if name == PARTS[-1] else f"<td>{arrow}</td>") for row, arrow in zip(rows, "→  ")]
    return HTML("<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>")


def _text(pair):
    prompt, *answers = (
        textwrap.shorten(str(t), 26, placeholder=" …") for t in (pair.prompt, pair.chosen, pair.rejected)
    )
    return [f"{prompt} {name}: {answer}" for name, answer in zip(("chosen", "rejected"), answers)]


SAY = {  # part -> one text for both answers, or one each
    "text": _text,
    "tokens": lambda both: [f"{len(ids)}, {n} of the answer" for ids, n in both],
    "backbone": lambda backbone: [f"{len(decoder_layers(backbone))} layers"],
    "states": lambda states: [" × ".join(map(str, h.shape)) for h in states],  # T × H
    "pooled": lambda pooled: [f"{len(p)}" for p in pooled],  # H
    "reward": lambda rewards: [f"{r:.2f}" for r in rewards],
    "margin": lambda margin: [f"{margin:+.2f}"],
    "loss": lambda loss: [f"{loss:.2f}"],
    "gradient": lambda gradient: [f"{push:+.2f}" for push in gradient["reward"]],
}
