"""Notebooks in JupyterLab in Chromium. Run by `make browser-test`; a plain pytest does not collect this file.

Each notebook is executed once by the menu, and the tests look at the page that it leaves.
"""

from itertools import pairwise

import accessibility
import lab
import notebook_page
import pytest

NOTEBOOKS = sorted(lab.ROOT.glob("notebooks/[0-9]*.ipynb"))
PICTURES = lab.ROOT / "out" / "browser"
WIDTHS = (1280, 1024)  # a laptop, a projector


@pytest.fixture(scope="module")
def chromium():
    with lab.browser() as running:
        yield running


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with lab.server(tmp_path_factory.mktemp("lab")) as of:
        yield of


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def page(request, chromium, url):
    """A page with one notebook, executed from a fresh kernel; its kernel is shut down afterwards."""
    page = chromium.new_page(viewport={"width": WIDTHS[0], "height": 800})
    page.set_default_timeout(120_000)  # milliseconds, for a machine that is busy with other things too
    page.name = request.param.stem
    notebook_page.open_notebook(page, url(request.param.stem))
    notebook_page.run_all(page, minutes=10)
    yield page
    notebook_page.menu(page, "Kernel", "Shut Down Kernel")  # each holds a language model in memory
    page.close()


def test_no_cell_shows_an_error(page):
    """Neither a traceback nor a warning on stderr, and progress bars are as a learner has them."""
    assert notebook_page.errors(page) == []


def test_every_cell_was_run_in_order(page):
    """[1], [2], ..., [n]: an error anywhere leaves the cells after it without a number."""
    shown = notebook_page.prompts(page)
    assert shown == [f"[{i + 1}]:" for i in range(len(shown))] and len(shown) > 10


def test_a_slider_moved_by_keyboard_changes_the_picture(page):
    """Arrow keys on its handle; there and back gives the first picture again."""
    slider = page.locator(notebook_page.SLIDERS).first
    at_start = slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemin")
    there, back = ("ArrowRight", "ArrowLeft") if at_start else ("ArrowLeft", "ArrowRight")
    before, after = notebook_page.press(page, slider, there)
    assert None not in (before, after) and before != after
    assert notebook_page.press(page, slider, back) == (after, before)


def test_every_slider_has_a_label_in_sight_and_is_reached_by_tab(page):
    """Who cannot use a mouse reads what a control is and gets to it."""
    rows = page.locator(".jp-Notebook .widget-slider")
    assert rows.count() and all(label.strip() for label in rows.locator(".widget-label").all_text_contents())
    for row in rows.all():
        handles = row.locator("xpath=..").locator(".noUi-handle").all()
        assert all(notebook_page.reached_by_tab(page, a, b) for a, b in pairwise(handles))


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_on_the_right(page, width):
    """On a laptop and on a projector, the file browser open as Lab opens it; the pictures are kept in out/browser."""
    notebook_page.photograph(page, PICTURES, page.name, width)
    assert page.evaluate(notebook_page.TOO_WIDE) == []


def test_code_is_read_without_scrolling_sideways(page):
    """On a laptop as Lab opens it; on a projector with the file browser closed (Ctrl+B)."""
    notebook_page.resize(page, WIDTHS[0])
    assert page.locator(notebook_page.CODE).count() == len(notebook_page.prompts(page))  # all of it is looked at
    assert page.evaluate(notebook_page.CUT_CODE) == []
    notebook_page.file_browser(page)
    notebook_page.resize(page, WIDTHS[1])
    cut = page.evaluate(notebook_page.CUT_CODE)
    notebook_page.scroll(page, 0)
    page.screenshot(path=PICTURES / f"{page.name}_{WIDTHS[1]}_without_file_browser.png")
    notebook_page.file_browser(page)
    assert cut == []


def test_axe_finds_nothing_in_what_we_wrote(page, capsys):
    """Contrast, names, structure; what JupyterLab and ipywidgets do themselves is listed and does not fail."""
    ours, others = accessibility.violations(page)
    with capsys.disabled():
        print(f"\n{page.name}: not ours, {len(others)}:", *accessibility.summary(others), sep="\n  ")
    assert not ours, "\n".join(map(str, ours))
