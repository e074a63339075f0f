"""The widgets of notebook 05, by trait; each picture has a static twin, drawn by the same function."""

import matplotlib.pyplot as plt
import pytest
import torch

from rmtutorial.best_of_n import best_of_n, within_prompt_spread
from rmtutorial.kl_frontier import effective_sample_size, pool_kl, tilted_weights
from rmtutorial.lesson import widgets

PNG = 'src="data:image/png;base64,iVBORw0KGgo'


@pytest.fixture
def pool():
    """proxy and gold (3, 20), and the texts."""
    gold = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    proxy = gold + torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    return proxy, gold, [[f"answer {p}-{i}" for i in range(20)] for p in range(3)]


def controls(box):
    return {control.description: control for control in box.children[0].children}


def test_pool_explorer_shows_the_text_that_wins_among_the_first_n(pool):
    """n doubles up to 16 of 20; the text, its proxy and gold, and both expected over all draws."""
    proxy, gold, texts = pool
    box = widgets.best_of_n.pool_explorer(["first?", "second?", "third?"], texts, proxy, gold)
    assert [n for n in controls(box)["n"].options] == [1, 2, 4, 8, 16]
    assert "answer 0-0<" in box.children[2].value and PNG in box.children[1].value
    before = box.children[1].value
    controls(box)["prompt"].value, controls(box)["n"].value = 2, 16
    best = int(proxy[2, :16].argmax())
    expected = [best_of_n(proxy[2:], judge[2:], [16]).item() for judge in (proxy, gold)]
    text = box.children[2].value
    assert f"answer 2-{best}<" in text and "third?" in text and box.children[1].value != before
    for number in (proxy[2, best], gold[2, best], *expected):
        assert f"{number:+.2f}" in text


def test_a_text_of_the_pool_is_shown_and_not_run(pool):
    """A sample may hold HTML; it is data."""
    proxy, gold, _ = pool
    evil = [["<script>alert(1)</script>\nnew line"] * 20] * 3
    text = widgets.best_of_n.pool_explorer(["<b>?"] * 3, evil, proxy, gold).children[2].value
    assert "<script" not in text and "<b>?" not in text and "<br>new line" in text


def test_tilt_explorer_shows_kl_effective_sample_size_and_what_is_gained(pool):
    """The numbers of softmax(score / beta), scores in within-prompt spreads: another scale of the proxy changes nothing."""
    proxy, gold, _ = pool
    box = widgets.best_of_n.tilt_explorer(proxy, gold)
    before = box.children[1].value
    small = controls(box)["β (spreads)"].options[-1]
    controls(box)["β (spreads)"].value = small
    w = tilted_weights(proxy, small * within_prompt_spread(proxy))
    text = box.children[2].value
    assert f"KL <b>{pool_kl(w).mean():.2f}</b> nats" in text
    assert f"as sure as <b>{effective_sample_size(w).mean():.0f}</b> of 20" in text
    gain = ((w * gold).sum(1) - gold.mean(1)).mean() / within_prompt_spread(gold)
    assert f"by gold <b>{gain:+.2f}</b>" in text and box.children[1].value != before
    assert widgets.best_of_n.render_tilt(7 * proxy + 3, gold, small)[1] == text


def test_tail_explorer_names_the_peak(monkeypatch):
    """Normal: the highest n. t with 2 degrees of freedom: 16, as the numerical integral says (.688), and .12 at 1,024."""
    box = widgets.best_of_n.tail_explorer()
    assert "normal error: gold of the pick is highest at n = <b>1024</b>" in box.children[2].value
    controls(box)["tail of the error"].value = "t, 2"
    assert "t, 2 degrees of freedom: gold of the pick is highest at n = <b>16</b>, 0.69" in box.children[2].value


@pytest.mark.parametrize("render", ["render_pool", "render_tilt", "render_tail"])
def test_the_figure_of_a_slider_can_stand_alone(render, pool):
    """What the notebook shows where no slider is alive: the same function gives Axes for its default."""
    proxy, gold, texts = pool
    arguments = {
        "render_pool": (["?"] * 3, texts, proxy, gold, 0, 4),
        "render_tilt": (proxy, gold, 1.0),
        "render_tail": ("t, 2",),
    }
    ax, message = getattr(widgets.best_of_n, render)(*arguments[render])
    assert ax.figure.axes and "<b>" in message
    plt.close(ax.figure)
