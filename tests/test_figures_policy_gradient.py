"""The figures of notebook 06 show the numbers that they were given, and no line is told by its color alone."""

import matplotlib.pyplot as plt
import pytest
import torch

from rmtutorial.history import History
from rmtutorial.lesson import figures, shift


@pytest.fixture(autouse=True)
def close_all():
    yield
    plt.close("all")


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def looks(lines):
    return {(line.get_marker(), line.get_linestyle()) for line in lines}


def grpo_history(steps, slope):
    """A run whose measures all rise by `slope` a step, and whose three held-out prompts gain 1, 2 and 3."""
    measures = ("reward_mean", "kl", "length", "finished", "spread")
    rows = [{"step": i, **dict.fromkeys(measures, slope * i)} for i in range(steps + 1)]
    before, after = [[0.0, 2.0], [4.0, 4.0], [-1.0, 0.0]], [[2.0, 2.0], [6.0, 6.0], [2.0, 3.0]]
    ends = [{**rows[0], "rewards": before}, {**rows[-1], "rewards": after}]
    return History(rows[1:], ends)


def test_every_measure_has_a_panel_with_training_and_held_out_prompts():
    """Dots at each step, squares at the evaluations."""
    axes = figures.policy_gradient.training_panel(grpo_history(4, 1.0)).figure.axes
    for ax in axes[1:]:
        dots = next(line for line in ax.lines if line.get_marker() == ".")
        assert dots.get_xydata().tolist() == [[i, i] for i in (1, 2, 3, 4)]
        assert line(ax, "held-out prompts").get_xydata().tolist() == [[0, 0], [4, 4]]
    labels = {ax.get_ylabel() for ax in axes[1:]}
    assert labels == set(figures.policy_gradient.MEASURES.values())
    assert len(axes[0].figure.legends[0].texts) == 2


def test_each_held_out_prompt_stands_before_and_after_with_the_mean_gain():
    """Sorted by what they were: means -0.5, 1, 4 before and 2.5, 2, 6 after, a gain of 2 on average."""
    ax = figures.policy_gradient.before_and_after(grpo_history(4, 1.0))
    before, after = (next(line for line in ax.lines if line.get_marker() == mark) for mark in "os")
    assert before.get_xydata().tolist() == [[-0.5, 0], [1, 1], [4, 2]]
    assert after.get_xydata().tolist() == [[2.5, 0], [2, 1], [6, 2]]
    assert ax.get_title().startswith("gain 2.00 [") and ax.get_ylabel() == "3 held-out prompts"


def test_the_estimators_stand_with_the_exact_divergences():
    """Means beside KL(pi, ref), gradients beside both; the spread is a share of the KL, left out where that is 0."""
    shifts = torch.linspace(0, 1, 9)
    found = shift.estimators(torch.randn(20), torch.randn(20), shifts)
    mean, spread, gradient = figures.policy_loss.kl_estimators(found).figure.axes
    for name in shift.ESTIMATORS:
        assert line(mean, name).get_ydata().tolist() == found[name]["mean"].tolist()
        assert line(gradient, name).get_ydata().tolist() == found[name]["gradient"].tolist()
        ratio = (found[name]["std"] / found["KL(pi, ref)"]["mean"])[1:]
        assert line(spread, name).get_ydata().tolist() == pytest.approx(ratio.tolist())
    assert len(looks(mean.lines)) == 4 and len(looks(gradient.lines)) == 5
    assert len(mean.figure.legends[0].texts) == 5


def test_every_sample_is_in_a_bar_of_its_histogram():
    """Those far out in the last one; the lines are at the mean and at the exact KL."""
    log_ratio = torch.tensor([0.1, -0.2, 0.3, 9.0] + [0.0] * 400)
    axes = figures.policy_loss.kl_histograms(log_ratio, 0.5).figure.axes
    for ax, k in zip(axes, shift.ESTIMATORS.values(), strict=True):
        assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(1)
        exact, mean = (line.get_xdata()[0] for line in ax.lines)
        assert exact == 0.5 and float(mean) == pytest.approx(k(log_ratio).mean().item())


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_the_gradient_of_the_surrogate_is_zero_in_one_corner_alone(advantage):
    """Schulman et al. (2017): 0 iff A > 0 and ratio > 1.2, or A < 0 and ratio < 0.8; elsewhere A ratio, in log pi."""
    ratio = torch.tensor([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 1.7])
    value, pull = figures.policy_loss.surrogate(ratio, advantage, 0.2)
    stopped = ratio > 1.2 if advantage > 0 else ratio < 0.8
    torch.testing.assert_close(pull, (advantage * ratio).where(~stopped, 0.0))
    edge = 1.2 if advantage > 0 else 0.8
    torch.testing.assert_close(value, (advantage * ratio).where(~stopped, advantage * edge))


def test_the_corner_is_drawn_apart_and_the_ratio_is_marked():
    """A black dashed line at 0 where nothing pushes, and a dot at the ratio in each of the four panels."""
    axes = figures.policy_loss.clip_corners(0.2, 1.4).figure.axes
    for ax, edge in ((axes[2], (1.2, 1.8)), (axes[3], (0.4, 0.8))):
        still = line(ax, "exactly 0: pushed no further")
        at = still.get_xdata()[~torch.tensor(still.get_ydata()).isnan()]
        assert (at.min(), at.max()) == pytest.approx(edge, abs=0.006) and still.get_linestyle() == "--"
    dots = [next(line for line in ax.lines if line.get_marker() == "o").get_xydata()[0].tolist() for ax in axes]
    assert dots == [pytest.approx(pair) for pair in ([1.4, 1.2], [1.4, -1.4], [1.4, 0.0], [1.4, -1.4])]
