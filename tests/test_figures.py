"""A figure shows the numbers that it was given: read back from the drawn objects."""

import math

import matplotlib.pyplot as plt
import pytest
import torch

from rmtutorial.evaluation import PairReport
from rmtutorial.history import History
from rmtutorial.intervals import wilson_interval
from rmtutorial.lesson import figures


@pytest.fixture(autouse=True)
def close_all():
    yield
    plt.close("all")


def bars(ax):
    """(left end, right end, height) of every filled bar."""
    return [
        (bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in ax.patches if hasattr(bar, "get_x")
    ]


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def test_no_bar_of_the_margins_mixes_right_and_wrong_pairs():
    """0 is an edge: the bars on its left add up to the pairs ranked wrong, those on its right to the others."""
    margins = torch.tensor([-2.0, -0.01, 0.0, 0.01, 0.5, 3.0])
    found = bars(figures.results.margin_histogram(torch.zeros(6), margins))
    assert all(right <= 1e-9 or left >= -1e-9 for left, right, _ in found)
    assert sum(height for _, right, height in found if right <= 1e-9) == (margins < 0).sum()
    assert sum(height for left, _, height in found if left >= -1e-9) == (margins >= 0).sum()


def test_a_zero_head_gives_one_line_instead_of_a_histogram_before():
    """All margins are the same then, and a bar would hide what lies behind it."""
    labels = figures.results.margin_histogram(torch.zeros(4), torch.randn(4)).get_legend_handles_labels()[1]
    assert "before: all at 0" in labels and "before" not in labels


@pytest.mark.parametrize("r_chosen", [torch.tensor([-1.0, 0.5, 2.0]), torch.zeros(3)])
def test_every_reward_is_counted_once(r_chosen):
    """The smallest and the largest too, and also where a zero head gives all answers the same."""
    ax = figures.results.reward_histogram(r_chosen, torch.zeros(3))
    assert sum(height for *_, height in bars(ax)) == 3
    outline = next(patch for patch in ax.patches if patch.get_label() == "rejected").get_xy()  # corners of the steps
    assert sum(outline[1:-1:2, 1]) == 3


def test_the_axes_stand_with_their_pairs_and_the_ends_of_their_intervals():
    """Two axes and all: a dot at the accuracy, a bar from the lower to the upper end."""
    part = lambda accuracy, n: PairReport(  # noqa: E731
        n, accuracy, wilson_interval(accuracy, n), 0.5, 0.1, 0.4, torch.zeros(n), torch.zeros(n)
    )
    report = part(0.75, 20)
    report.by_axis = {"honesty": part(0.5, 8), "tone": part(11 / 12, 12)}
    ax = figures.results.accuracy_by_axis(report)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["honesty (8)", "tone (12)", "all (20)"]
    segments = ax.collections[0].get_segments()
    ends = [report.by_axis["honesty"].interval, report.by_axis["tone"].interval, report.interval]
    assert [(low, high) for (low, _), (high, _) in segments] == [pytest.approx(pair) for pair in ends]


def test_the_loss_curve_shows_every_step_and_only_the_evaluations_that_there_were():
    """Squares at steps 0 and 3, dots at 1, 2, 3, and the line of a model that knows nothing at ln 2."""
    steps = [{"step": i, "loss": 0.7 - i / 10, "accuracy": 0.5} for i in (1, 2, 3)]
    evaluations = [{"step": i, "loss": 0.7 - i / 20, "accuracy": 0.5} for i in (0, 3)]
    ax = figures.training.loss_curve(History(steps, evaluations))
    assert line(ax, "held-out").get_xydata().tolist() == [[0, 0.7], [3, pytest.approx(0.55)]]
    dots = line(ax, "training batch").get_xydata()
    assert dots[~torch.tensor(dots).isnan().any(1)].tolist() == [[i, pytest.approx(0.7 - i / 10)] for i in (1, 2, 3)]
    assert set(line(ax, "ln 2: knows nothing").get_ydata()) == {math.log(2)}
    no_evaluation = figures.training.loss_curve(History(steps))
    assert "held-out" not in no_evaluation.get_legend_handles_labels()[1]


def test_the_slope_that_is_written_is_the_gradient():
    """-sigmoid(-margin): at a margin of 1, -0.27, and autograd says the same."""
    margin = torch.tensor(1.0, requires_grad=True)
    torch.nn.functional.softplus(-margin).backward()
    labels = figures.loss.sigmoid_and_loss(1.0).figure.axes[1].get_legend_handles_labels()[1]
    assert f"slope {margin.grad:+.2f}" in labels


def test_the_toy_pairs_stand_on_the_curves_with_their_numbers():
    """-log sigma and sigma(-margin) at 2, 0 and -2, written beside the dots."""
    axes = figures.loss.loss_and_push(torch.tensor([2.0, 0.0, -2.0])).figure.axes
    shown = [[text.get_text() for text in ax.texts] for ax in axes]
    assert shown[0] == ["pair 1: 0.13", "pair 2: 0.69", "pair 3: 2.13"]
    assert shown[1] == ["pair 1: 0.12", "pair 2: 0.50", "pair 3: 0.88"]


def evaluations(*losses, every=10):
    return [{"step": every * i, "epoch": i, "loss": loss, "accuracy": 0.5} for i, loss in enumerate(losses)]


def test_the_second_phase_goes_on_where_the_first_one_ended():
    """Two iterations of the head, evenly left of 0; training begins at 0 with the loss at which the head ended."""
    head = History([{"step": i, "loss": 0.6, "accuracy": 0.5} for i in (1, 2)], evaluations(0.69, 0.6, 0.55, every=1))
    steps = [{"step": i, "loss": 0.5, "accuracy": 0.5} for i in range(1, 21)]
    live, kept = History(steps, evaluations(0.55, 0.5, 0.45)), History(steps, evaluations(0.55, 0.48, 0.44))
    gain = 0.1, (0.02, 0.18)
    ax = figures.phases.two_phases(head, live, {"recorded": [kept]}, {"this run": gain, "recorded": gain})
    assert line(ax, "held-out: this run").get_xydata().tolist() == [[0, 0.55], [10, 0.5], [20, 0.45]]
    assert line(ax, "recorded").get_xydata().tolist() == [[0, 0.55], [10, 0.48], [20, 0.44]]
    assert line(ax, "held-out: the head alone").get_xydata().tolist() == [[-40, 0.69], [-20, 0.6], [0, 0.55]]
    forest = ax.figure.axes[1]
    assert [text.get_text() for text in forest.get_yticklabels()] == ["this run", "recorded"]
    assert sorted(x for bar in forest.lines[:4:2] for x in bar.get_xdata()) == [0.02, 0.02, 0.18, 0.18]


def test_the_table_of_the_clinic_has_the_ends_of_the_logs():
    """Means of the last ten batches, and the last evaluation."""
    names = ("accuracy", "grad_norm", "reward_mean", "reward_std")
    steps = [{"step": i, "loss": 1.0 if i <= 10 else 0.4, **dict.fromkeys(names, float(i))} for i in range(1, 21)]
    table = figures.clinic.table({"A": History(steps, evaluations(0.7, 0.6))})
    assert table.loc["A", ["training loss", "held-out loss", "reward mean"]].tolist() == [0.4, 0.6, 15.5]
