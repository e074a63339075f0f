"""The figures of notebook 05 show the numbers that they were given, and no line is told by its color alone."""

import matplotlib.pyplot as plt
import pytest
import torch

from rmtutorial.best_of_n import gains, mean_with_interval
from rmtutorial.kl_frontier import best_of_n_frontier, kl_bound, tilted_frontier, tilted_weights
from rmtutorial.lesson import figures
from rmtutorial.overoptimization import fit_gao, tail_curves

NS = [1, 4, 16, 64]


@pytest.fixture(autouse=True)
def close_all():
    yield
    plt.close("all")


@pytest.fixture
def pool():
    gold = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    return gold + torch.randn(8, 64, generator=torch.Generator().manual_seed(1)), gold


def drawn(ax):
    """The lines of data: two points or more; (x, y) lists."""
    return [line for line in ax.lines if len(line.get_xdata()) > 2]


def looks(lines):
    return {(line.get_marker(), line.get_linestyle()) for line in lines}


def test_every_judge_has_its_mean_at_each_n_and_its_interval_at_the_last(pool):
    """Curves, and rows in the same order: a mark at the mean, a bar from end to end, the name at the left."""
    proxy, gold = pool
    judged = {"proxy": gains(proxy, proxy, NS), "gold": gains(proxy, gold, NS), "other": gains(proxy, -gold, NS)}
    curves, forest = figures.best_of_n.gain_curves(NS, judged).figure.axes
    for line, (row, found) in zip(drawn(curves), enumerate(judged.values()), strict=True):
        mean, low, high = mean_with_interval(found)
        assert line.get_xdata().tolist() == NS and line.get_ydata().tolist() == pytest.approx(mean.tolist())
        bar, mark = forest.lines[2 * row : 2 * row + 2]
        assert list(bar.get_xdata()) == pytest.approx([low[-1].item(), high[-1].item()])
        assert mark.get_xdata()[0] == pytest.approx(mean[-1].item()) and mark.get_marker() == line.get_marker()
    assert len(looks(drawn(curves))) == 3
    assert [text.get_text() for text in forest.get_yticklabels()] == list(judged)
    assert curves.get_legend_handles_labels() == (drawn(curves), list(judged))


def test_the_axis_can_be_the_root_of_the_kl(pool):
    """Places at sqrt(KL), the numbers n as labels, the last one always."""
    kl = torch.tensor([kl_bound(n) for n in NS])
    ax = figures.best_of_n.gain_curves(NS, {"proxy": gains(*pool, NS)}, kl=kl)
    assert drawn(ax)[0].get_xdata().tolist() == pytest.approx(kl.sqrt().tolist())
    assert ax.get_xticks()[-1] == pytest.approx(kl[-1].sqrt().item()) and ax.get_xticklabels()[-1].get_text() == "64"


def test_more_judges_than_looks_are_refused(pool):
    """Two of them would look alike."""
    with pytest.raises(ValueError, match="8 judges: 7 can be told apart"):
        figures.best_of_n.gain_curves(NS, {str(i): gains(*pool, NS) for i in range(8)})


def test_the_frontier_is_a_curve_and_the_other_policies_are_points(pool):
    """Against sqrt of the mean KL, sorted: pi* with a band, best of n with its n beside it and an interval for each."""
    curve, points = tilted_frontier(*pool, [4, 0.5, 2, 1]), best_of_n_frontier(*pool, NS)
    policies = {"pi*": curve, "best of n": points}
    axes = figures.best_of_n.frontier(policies, {"best of n": [str(n) for n in NS]}).figure.axes
    for ax, judge in zip(axes, ("proxy", "gold")):
        line = next(line for line in ax.lines if line.get_label() == "pi*")
        expected = sorted(zip(curve["kl"].mean(0).sqrt().tolist(), curve[judge].mean(0).tolist()))
        assert line.get_xydata().tolist() == [pytest.approx(pair) for pair in expected]
        dots = ax.containers[0].lines[0]
        assert (
            dots.get_ydata().tolist() == pytest.approx(points[judge].mean(0).tolist()) and dots.get_marker() != "None"
        )
    assert [text.get_text() for text in axes[0].texts] == [str(n) for n in NS]
    assert [text.get_text() for text in axes[0].figure.legends[0].texts] == ["pi*", "best of n"]


def test_the_betas_can_stand_beside_the_curve(pool):
    """A text and a point for each, at its KL and gain, in the first panel only."""
    curve = tilted_frontier(*pool, [4, 0.5])
    axes = figures.best_of_n.frontier({"pi*": curve}, {"pi*": ["4", "0.5"]}).figure.axes
    places = [pytest.approx(pair) for pair in zip(curve["kl"].mean(0).sqrt().tolist(), curve["proxy"].mean(0).tolist())]
    assert [text.xy for text in axes[0].texts] == places and [text.get_text() for text in axes[0].texts] == ["4", "0.5"]
    assert [(x, y) for line in axes[0].lines if line.get_marker() == "." for x, y in line.get_xydata()] == places
    assert not axes[1].texts


def test_the_frontier_has_a_panel_for_every_judge_that_is_named(pool):
    """Three judges: two rows, the fourth panel hidden; each title above the gains of its judge."""
    proxy, gold = pool
    found = best_of_n_frontier(proxy, gold, NS)
    policies = {"pi*": found | {"other": -found["gold"]}}
    titles = {"proxy": "by the proxy", "gold": "by gold", "other": "by another"}
    axes = figures.best_of_n.frontier(policies, judges=titles).figure.axes
    assert [ax.get_title() for ax in axes if ax.get_visible()] == list(titles.values())
    for ax, judge in zip(axes, titles):
        assert ax.lines[0].get_ydata().tolist() == pytest.approx(policies["pi*"][judge].mean(0).tolist())


def test_a_fit_is_dashed_where_it_was_seen_and_dotted_beyond():
    """One with a peak gets a star there and its n; one without says so; seeds are thin lines."""
    kl = torch.tensor([kl_bound(n) for n in NS])
    means = {"25 pairs": kl.sqrt() - 0.4 * kl, "800 pairs": kl.sqrt() - 0.1 * kl}
    curves = {size: mean + torch.tensor([[0.1], [-0.1]]) for size, mean in means.items()}
    fits = {size: fit_gao(kl, mean) for size, mean in means.items()}
    axes = figures.best_of_n.proxy_sizes(NS, kl, curves, fits).figure.axes
    for ax, size in zip(axes, curves):
        dashed, dotted = (next(line for line in ax.lines if line.get_linestyle() == s and len(line.get_xdata()) > 9) for s in ("--", ":"))  # fmt: skip
        assert max(dashed.get_xdata()) == pytest.approx(fits[size].largest) == min(dotted.get_xdata())
        thin = [line for line in ax.lines if line.get_alpha() == 0.35]
        assert [line.get_ydata().tolist() for line in thin] == [pytest.approx(seed.tolist()) for seed in curves[size]]
        assert ax.get_title() == size
    assert [text.get_text() for text in axes[0].get_xticklabels()] == ["1", "4", "64"]
    assert "one seed" in [text.get_text() for text in axes[0].figure.legends[0].texts]
    stars = [[line.get_xdata()[0] for line in ax.lines if line.get_marker() == "*"] for ax in axes[:2]]
    assert stars == [[pytest.approx(1.25)], []]
    assert [ax.texts[0].get_text() for ax in axes[:2]] == ["peak at n = 12", "no peak in what was seen"]


def test_a_tail_says_where_gold_is_highest():
    """Two errors: the legend has the n of the peak, or that there is none; the ring is where the peak is."""
    ns = [1, 4, 16, 64, 256, 1024]
    curves = {"normal": tail_curves(ns, seeds=2), "t(2)": tail_curves(ns, 2, seeds=2)}
    ax = figures.best_of_n.tails(ns, curves)
    assert ax.get_legend_handles_labels()[1] == ["normal: still rising", "t(2): highest at n = 16"]
    rings = [line for line in ax.lines if line.get_markersize() == 15]
    assert [line.get_xdata()[0] for line in rings] == [16]


def test_the_chosen_sample_is_the_best_by_proxy_of_those_drawn():
    """n = 3 of 4: the third; the fourth, which would win, is not drawn and stays hollow."""
    proxy, gold = torch.tensor([0.0, 1.0, 2.0, 9.0]), torch.tensor([5.0, 4.0, 3.0, 2.0])
    curves = {"proxy": torch.tensor([0.0, 1.0, 2.0]), "gold": torch.tensor([4.0, 3.0, 2.0])}
    ax = figures.pool.pick(proxy, gold, 2, [1, 2, 4], curves)
    points = {label: line.get_xydata().tolist() for line, label in zip(*ax.get_legend_handles_labels())}
    assert points == {"not drawn": [[2, 3], [9, 2]], "the first 2": [[0, 5], [1, 4]], "chosen": [[1, 4]]}


def test_both_histograms_of_the_tilted_policy_sum_to_one(pool):
    """Probabilities, so that they can be compared; a small beta moves the mean to the right."""
    scores, gold = pool
    weights, here = tilted_weights(scores, 0.3), tilted_frontier(scores, gold, [0.3])
    ax, path = figures.pool.tilt(scores, weights, tilted_frontier(scores, gold, [3, 1, 0.3, 0.1]), here).figure.axes
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in ax.patches if hasattr(bar, "get_x")]
    assert sum(height for _, height in bars) == pytest.approx(1)
    assert sum(x * height for x, height in bars) == pytest.approx((weights * scores).sum().item() / 8, abs=0.1)
    mark = next(line for line in path.lines if line.get_label() == "by gold")
    assert mark.get_ydata()[0] == pytest.approx(here["gold"].mean().item())
