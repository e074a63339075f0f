"""Where a slide begins, on small notebooks. How slides look is checked in a browser: tests/browser/check_slides.py."""

import base64
import io
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import slide_pieces

WORDS = "one two three four five " * 25  # 600 characters, six lines of a slide


def slides(*cells):
    """(slide type, first words) of every piece."""
    made = slide_pieces.as_slides(new_notebook(cells=list(cells)))
    return [(cell.metadata.slideshow.slide_type, cell.source.split("\n")[0][:12]) for cell in made.cells]


def test_a_heading_starts_a_slide_also_inside_a_cell():
    """Two levels: `##` goes right, `###` goes down; a heading stays with the paragraph below it."""
    cell = new_markdown_cell("before\n\n## Step\n\nfirst\n\nsecond\n\n### Exercise\n\nthird")
    assert slides(cell) == [("subslide", "before"), ("slide", "## Step"), ("-", "second"), ("subslide", "### Exercise")]


def test_what_does_not_fit_goes_on_below():
    """A heading and two paragraphs of six lines fill a slide of 620 pixels; the third is the first of the next."""
    cells = [new_markdown_cell(text) for text in ("## Long\n\n" + WORDS, WORDS, WORDS)]
    assert [kind for kind, _ in slides(*cells)] == ["slide", "-", "subslide"]


def test_the_answer_is_not_in_sight_of_the_question():
    """A class is asked to predict before it sees the result."""
    question, answer = new_markdown_cell("## Q\n\n**Predict** the loss."), new_code_cell("print(1)")
    assert [kind for kind, _ in slides(question, answer)] == ["slide", "subslide"]


def test_the_closed_form_is_not_in_sight_of_the_exercise():
    """Notebooks often give the solution's idea right below the check."""
    stub, check = new_code_cell("def f(): ..."), new_code_cell('f = check("9.9", f)')
    kinds = [kind for kind, _ in slides(new_markdown_cell("## Q"), stub, check, new_markdown_cell("It is so."))]
    assert kinds == ["slide", "-", "-", "subslide"]


def test_a_figure_is_shown_once_more_beside_the_words_about_it():
    """If they do not fit below it; words that are not about it do without."""
    buffer = io.BytesIO()
    Image.new("RGB", (800, 440)).save(buffer, format="png")
    png = base64.b64encode(buffer.getvalue()).decode()
    figure = new_code_cell("plot()", outputs=[new_output("display_data", {"image/png": png})])
    for words, again in (("**What to see.** " + WORDS, 1), ("Then: " + WORDS, 0)):
        made = slide_pieces.as_slides(new_notebook(cells=[figure, new_markdown_cell(words)])).cells
        assert [c.metadata.slideshow.slide_type for c in made] == ["subslide", "subslide", "-"][: 2 + again]
        assert figures(new_notebook(cells=made)) == 1 + again


def test_code_that_leaves_no_room_for_its_figure_shows_it_on_the_next_slide():
    """The output comes without the code, which was on the slide before."""
    figure = new_output("stream", text="line\n" * 20)
    made = slide_pieces.as_slides(new_notebook(cells=[new_code_cell("x = 1\n" * 14, outputs=[figure])])).cells
    assert [bool(cell.source) for cell in made] == [True, False]
    assert [len(cell.outputs) for cell in made] == [0, 1] and made[1].metadata.tags == ["output-only"]


def test_long_code_is_cut_where_a_line_is_empty():
    """Nothing is lost and nothing is cut in the middle of a block."""
    blocks = ["\n".join(f"line_{i}_{j}" for j in range(12)) for i in range(4)]
    parts = slide_pieces.code_parts("\n\n".join(blocks))
    assert len(parts) > 1 and "\n\n".join(parts) == "\n\n".join(blocks)


def test_a_widget_becomes_a_sentence():
    """Without a kernel it would show as VBox(children=...)."""
    output = new_output("execute_result", {slide_pieces.WIDGET: {}, "text/plain": "VBox(children=())"})
    (cell,) = slide_pieces.as_slides(new_notebook(cells=[new_code_cell("w()", outputs=[output])])).cells
    assert "VBox" not in str(cell.outputs) and "open the notebook" in str(cell.outputs)


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_nothing_of_a_notebook_is_lost(path):
    """All words but the links to other notebooks, all code, all figures; and the notebook is left as it was."""
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    made = slide_pieces.as_slides(notebook)
    assert nbformat.writes(notebook) == before
    for kind in ("markdown", "code"):
        assert words(notebook, kind) == words(made, kind)
    again = sum("again" in cell.metadata.get("tags", []) for cell in made.cells)
    assert figures(made) == figures(notebook) + again


def words(notebook, kind):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == kind)
    return re.sub(r"^\[Contents\].*", "", slide_pieces.linked(text), flags=re.MULTILINE).split()


def figures(notebook):
    return sum("image/png" in o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", []))
