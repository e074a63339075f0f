"""Where a slide begins in a notebook, found from its cells.

A `##` heading starts a slide, a `###` heading one below it. What does not fit goes on below, and a question to predict
ends its slide, so that the answer is not in sight; so does the check of an exercise. Where the words about a figure come
to stand on another slide, the figure is shown there once more, smaller.
"""

import base64
import re
import struct
from dataclasses import dataclass

import nbformat

ROOM = 620  # pixels for content on a slide of 1280 x 720; what is estimated too low is scaled down in the page
LINE, CODE_LINE, TABLE_ROW = 34, 24, 40  # pixels
TEXT_WIDTH, CODE_WIDTH = 100, 108  # characters on a line
SMALL_FIGURE = 320  # pixels, of one that is shown once more
ABOUT_A_FIGURE = r"\*\*(How to read this figure|What to see)|\*(Left|Right)"  # how such a paragraph begins
WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE = "<p><em>A control to move: open the notebook for it.</em></p>"


@dataclass
class Piece:
    """Something that stays on one slide."""

    cell: nbformat.NotebookNode
    height: int  # pixels, estimated
    heading: int = 0  # level of the heading it begins with; 0: none
    asks: bool = False  # a question whose answer must not be in sight

    @property
    def begins(self):
        """The kind of slide that it asks for, "" if it may share one."""
        return "slide" if self.heading in (1, 2) else "subslide" if self.heading else ""


def as_slides(notebook):
    """A copy of the notebook, its cells cut into pieces, each with its slide type in the metadata."""
    cells, used, closed, figure = [], 0, True, None
    for piece in (p for cell in notebook.cells for p in pieces(cell)):
        kind = piece.begins or ("subslide" if closed or used + piece.height > ROOM else "-")
        if kind == "subslide" and figure and re.match(ABOUT_A_FIGURE, piece.cell.source):
            cells.append(once_more(figure))
            kind, used = "-", SMALL_FIGURE
        used = piece.height + (used if kind == "-" else 0)
        closed = piece.asks
        piece.cell.metadata["slideshow"] = {"slide_type": kind}
        cells.append(piece.cell)
        figure = next(filter(is_figure, piece.cell.get("outputs", [])), figure)
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def once_more(figure):
    """The first cell of a slide: a figure from an earlier one, which the page shows smaller."""
    tags = ["output-only", "again"]
    metadata = {"tags": tags, "slideshow": {"slide_type": "subslide"}}
    return nbformat.v4.new_code_cell("", outputs=[figure], metadata=metadata)


def is_figure(output):
    return "image/png" in output.get("data", {})


def pieces(cell):
    return markdown_pieces(cell.source) if cell.cell_type == "markdown" else code_pieces(cell)


def markdown_pieces(source):
    """One for each paragraph, list, table or formula; a heading goes with what follows it."""
    blocks = [block for block in re.split(r"\n\s*\n", source.strip()) if not re.match(r"\[Contents\]", block)]
    found, heading = [], ""
    for i, block in enumerate(blocks):
        if block.startswith("#") and i + 1 < len(blocks):
            heading += block + "\n\n"
            continue
        text, heading = linked(heading + block), ""
        level = len(re.match("#*", text).group())
        found.append(Piece(nbformat.v4.new_markdown_cell(text), text_height(text), level, "**Predict" in text))
    return found


def linked(text):
    """Links to notebooks lead to their slides."""
    return re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.html)", text)


def text_height(text):
    height = 0
    for line in text.splitlines():
        if line.startswith("#"):
            height += 70
        elif line.startswith("|"):
            height += TABLE_ROW * lines_of(line, TEXT_WIDTH)
        else:
            height += LINE * (2 if line.startswith("$$") else lines_of(line, TEXT_WIDTH))
    return height + 16  # the space below a paragraph


def lines_of(text, width):
    """How many lines a text fills that is wrapped at `width` characters."""
    return sum(max(1, -(-len(line) // width)) for line in text.splitlines())


def code_pieces(cell):
    """Code with its output if both fit on a slide, else code, in parts if it must be, and then each output."""
    outputs = [shown(output) for output in cell.outputs]
    heights = [output_height(output) for output in outputs]
    parts = code_parts(cell.source)
    if len(parts) == 1 and code_height(cell.source) + sum(heights) <= ROOM:
        return [code_piece(cell.source, outputs, code_height(cell.source) + sum(heights))]
    typed = [code_piece(part, [], code_height(part)) for part in parts]
    return typed + [code_piece("", [output], height) for output, height in zip(outputs, heights)]


def code_piece(source, outputs, height):
    cell = nbformat.v4.new_code_cell(source, outputs=outputs)
    cell.metadata["tags"] = [] if source else ["output-only"]
    return Piece(cell, height, asks="= check(" in source)


def code_parts(source):
    """Cut where a line is empty, as few times as fit; a longer stretch without an empty line stays whole."""
    parts = []
    for block in re.split(r"\n(?:[ \t]*\n)+", source):
        if parts and code_height(parts[-1] + "\n\n" + block) <= ROOM:
            parts[-1] += "\n\n" + block
        else:
            parts.append(block)
    return parts


def code_height(source):
    return CODE_LINE * lines_of(source, CODE_WIDTH) + 30


def shown(output):
    """The output as slides can show it: a widget has no kernel there."""
    if WIDGET in output.get("data", {}):
        return nbformat.v4.new_output("display_data", {"text/html": LIVE})
    return output


def output_height(output):
    data = output.get("data", {})
    if is_figure(output):
        return min(440, struct.unpack(">I", base64.b64decode(data["image/png"])[20:24])[0]) + 20
    if "text/html" in data:
        return TABLE_ROW * max(1, data["text/html"].count("<tr")) + 20
    return CODE_LINE * lines_of(output.get("text") or data.get("text/plain", ""), CODE_WIDTH) + 10
