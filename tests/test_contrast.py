"""Contrast, by the formula of WCAG 2: text needs 4.5 to 1, lines and marks that carry meaning need 3 to 1."""

import matplotlib.pyplot as plt
import pandas
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from rmtutorial.best_of_n import gains
from rmtutorial.history import History
from rmtutorial.kl_frontier import best_of_n_frontier, kl_bound
from rmtutorial.lesson import figures, session, shift, widgets
from rmtutorial.overoptimization import fit_gao

WEAK = {"#E69F00", "#56B4E9", "#F0E442"}  # of OKABE_ITO, below 3 to 1 on white


def contrast(one, other):
    """From 1 (the same color) to 21 (black on white)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))


def made():
    """Figures of every kind that can be drawn without a training."""
    sweep = pandas.DataFrame({"accuracy": [0.5, 0.7], "low": [0.4, 0.6], "high": [0.6, 0.8]}, index=[1, 2])
    return {
        "sigmoid_and_loss": figures.loss.sigmoid_and_loss(1.0),
        "margin_histogram": figures.results.margin_histogram(torch.randn(9), torch.randn(9)),
        "tree_mask": figures.packing.tree_mask(torch.ones(6, 6).tril(), {"prompt": 2, "chosen": 2, "rejected": 2}),
        "layer_sweep": figures.layers.layer_sweep(sweep, 2),
        "cut": figures.pairs.cut({"prompt": 30, "answer": 60, "end mark": 2}, 50),
        "annotators": figures.pairs.annotators({"x": {name: (0.5, (0.4, 0.6)) for name in "abcde"}}),
        "ties": figures.pairs.ties(torch.tensor([0.0, 3.0]), torch.tensor([2, 0]), ["a", "b"], 1.6, 2.0),
        **of_best_of_n(),
        **of_policy_gradient(),
    }


def of_best_of_n():
    gold, ns = torch.randn(5, 16), [1, 2, 4]
    judges = {f"judge {i}": gains(gold, gold + torch.randn(5, 16), ns) for i in range(7)}
    policies = {name: best_of_n_frontier(gold, gold, ns) for name in "abcdefg"}
    kl = torch.tensor([kl_bound(n) for n in ns])
    curves = {"25 pairs": torch.rand(3, 3), "50 pairs": torch.rand(3, 3)}
    fits = {"25 pairs": fit_gao(kl, kl.sqrt() - 0.6 * kl), "50 pairs": fit_gao(kl, kl.sqrt())}
    return {
        "gain_curves": figures.best_of_n.gain_curves(ns, judges),
        "frontier": figures.best_of_n.frontier(policies),
        "proxy_sizes": figures.best_of_n.proxy_sizes(ns, kl, curves, fits),
        "tails": figures.best_of_n.tails(ns, curves),
        "pick": widgets.best_of_n.render_pool(["a"], [["b"] * 16], gold, gold, 0, 2)[0],
        "tilt": widgets.best_of_n.render_tilt(gold, gold, 1.0)[0],
    }


def of_policy_gradient():
    measures = dict.fromkeys(figures.policy_gradient.MEASURES, 1.0)
    rows = [{"step": i, **measures, "rewards": [[0.0, 1.0], [2.0, i]]} for i in range(3)]
    history = History(rows[1:], rows)
    slider = widgets.policy_gradient
    return {
        "training_panel": figures.policy_gradient.training_panel(history),
        "kl_estimators": figures.policy_loss.kl_estimators(
            shift.estimators(torch.randn(9), torch.randn(9), [0.0, 1.0])
        ),
        "clip_corners": slider.render_clip(1.4, 0.2)[0],
        "kl_histograms": slider.render_kl(0.5)[0],
    }


def test_the_formula_gives_what_wcag_gives():
    """Black on white 21, and the gray that is known as the lightest for text on white, #767676, 4.54."""
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("name", widgets.pairs.COLORS)
def test_black_text_is_read_on_the_colors_of_prompt_and_answers(name):
    """Far above 4.5: the tokens are small."""
    assert contrast(widgets.pairs.COLORS[name], "black") > 7


def test_which_colors_are_too_weak_to_stand_alone():
    """Orange, sky blue and yellow: lines and marks in them need a marker, a line style or an edge."""
    assert {color for color in session.OKABE_ITO if contrast(color, "white") < 3} == WEAK


def test_text_in_figures_is_dark():
    """No label, tick or legend is written in a line's color."""
    for name, ax in made().items():
        texts = [text for text in ax.figure.findobj(Text) if text.get_text()]
        assert texts and all(contrast(text.get_color(), "white") >= 4.5 for text in texts), name
        plt.close(ax.figure)


def test_a_line_in_a_weak_color_has_a_marker():
    """So that it is found by those who hardly see the color."""
    found = 0
    for name, ax in made().items():
        for line in (line for axes in ax.figure.axes for line in axes.lines if line.get_color() in WEAK):
            found += 1
            assert line.get_marker() not in ("", "None", None), name
        plt.close(ax.figure)
    assert found >= 3
