"""The widgets of notebook 06, by trait; each picture has a static twin, drawn by the same function."""

import math

import matplotlib.pyplot as plt
import pytest

from rmtutorial.lesson import widgets

PNG = 'src="data:image/png;base64,iVBORw0KGgo'


def controls(box):
    return {control.description: control for control in box.children[0].children}


def test_clip_explorer_names_the_corner_that_does_not_push():
    """At 1.4 the better answer, at 0.6 the worse one; in between both push by A ratio."""
    box = widgets.policy_gradient.clip_explorer()
    assert "clipped" not in box.children[2].value
    before = box.children[1].value
    controls(box)["ratio"].value = 1.4
    good, bad = box.children[2].value.split("; worse")
    assert "surrogate +1.20, clipped: no gradient" in good and "<b>-1.40</b>" in bad and box.children[1].value != before
    controls(box)["ratio"].value = 0.6
    good, bad = box.children[2].value.split("; worse")
    assert "<b>+0.60</b>" in good and "surrogate -0.80, clipped: no gradient" in bad
    controls(box)["clip"].value = 0.5
    assert "clipped" not in box.children[2].value


def test_kl_explorer_shows_means_and_spreads_beside_the_exact_kl():
    """Shift 1: KL 1/2; k1 has std 1, k2 mean (s^2 + s^4/4)/2 = .625, k3 mean 1/2 and std sqrt(e - 2) = .848."""
    box = widgets.policy_gradient.kl_explorer()
    assert "exact KL <b>0.125</b>" in box.children[2].value
    controls(box)["shift"].value = 1.0
    text = box.children[2].value
    found = {name: float(text.split(f"{name} ")[1].split(" ")[0]) for name in ("k1", "k2", "k3")}
    stds = {name: float(text.split(f"{name} ")[1].split("std ")[1].split(",")[0]) for name in found}
    assert found == pytest.approx({"k1": 0.5, "k2": 0.625, "k3": 0.5}, abs=0.03)
    assert stds == pytest.approx({"k1": 1.0, "k2": 0.866, "k3": math.sqrt(math.e - 2)}, abs=0.1)
    assert "31% below 0" in text  # P(N(0.5, 1) < 0) = .309


@pytest.mark.parametrize("render, state", [
    ("render_clip", {"ratio": 1.0, "clip": 0.2}),
    ("render_kl", {"shift": 0.5}),
    ("render_kl", {"shift": 0.0}),
])  # fmt: skip
def test_the_figure_of_a_slider_can_stand_alone(render, state):
    """What the notebook shows where no slider is alive: the same function gives Axes for its default."""
    ax, message = getattr(widgets.policy_gradient, render)(**state)
    assert ax.figure.axes and "<b>" in message
    plt.close(ax.figure)
