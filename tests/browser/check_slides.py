"""Every slide of every deck in Chromium. Run by `make slides` after it has written them; plain pytest collects none."""

import re

import lab
import pytest

SLIDES = lab.ROOT / "out" / "slides"
PICTURES = lab.ROOT / "out" / "browser" / "slides"
DECKS = sorted(SLIDES.glob("[0-9]*.html"))
SMALLEST = 0.7  # of the full size; 21 px text is 15 px then

# In pixels of the screen, whatever scales: how far the lowest and the right-most thing stand outside the slide.
MEASURE = """() => {
    const slide = Reveal.getCurrentSlide(), scale = Reveal.getScale();
    const frame = document.querySelector('.reveal .slides').getBoundingClientRect();
    const boxes = [...slide.querySelectorAll('*')].filter(node => !node.closest('.katex-mathml, .katex svg'))
        .map(node => node.getBoundingClientRect()).filter(box => box.width && box.height);
    return {
        below: (Math.max(...boxes.map(box => box.bottom)) - frame.bottom) / scale,
        right: (Math.max(...boxes.map(box => box.right)) - frame.right) / scale,
        zoom: Number(slide.dataset.zoom), words: slide.textContent.trim().slice(0, 50),
        raw: slide.textContent.includes('$$') || !!slide.querySelector('.katex-error'),
    };
}"""


@pytest.fixture(scope="module")
def chromium():
    with lab.browser() as running:
        yield running


@pytest.fixture(scope="module", params=DECKS, ids=lambda path: path.stem)
def deck(request, chromium):
    """(measurements of every slide that the right arrow reaches, addresses asked for in the network, number of slides)."""
    page = chromium.new_page(viewport={"width": 1280, "height": 720})
    asked = []
    page.route(re.compile("^https?:"), lambda route: (asked.append(route.request.url), route.abort()))
    page.goto(request.param.as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    folder = PICTURES / request.param.stem
    folder.mkdir(parents=True, exist_ok=True)
    measured = []
    while True:
        measured.append(page.evaluate(MEASURE))
        page.screenshot(path=folder / f"{len(measured):03}.png")
        if page.evaluate("Reveal.isLastSlide()"):
            break
        page.keyboard.press("ArrowRight")
    yield measured, asked, page.evaluate("Reveal.getTotalSlides()")
    page.close()


def test_there_is_a_deck():
    """An empty list would pass every test below."""
    assert DECKS


def test_the_right_arrow_leaves_no_slide_out(deck):
    """reveal.js would go to the next section otherwise, past the slides that stand below."""
    assert len(deck[0]) == deck[2] > 10


def test_no_slide_overflows(deck):
    """Not at the bottom and not on the right, at 1280 x 720."""
    bad = [(i, slide) for i, slide in enumerate(deck[0], 1) if slide["below"] > 1 or slide["right"] > 1]
    assert not bad, "\n".join(map(str, bad))


def test_no_slide_is_shrunk_beyond_reading(deck):
    """The splitting rule does the work; scaling down is for the rest."""
    bad = [(i, slide) for i, slide in enumerate(deck[0], 1) if not slide["zoom"] >= SMALLEST]
    assert not bad, "\n".join(map(str, bad))


def test_formulas_are_set(deck):
    """None in red, and none as it was typed."""
    assert not [slide for slide in deck[0] if slide["raw"]]


def test_nothing_is_asked_from_the_network(deck):
    """A classroom may have none."""
    assert deck[1] == []
