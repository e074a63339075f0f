"""Gao's form, the fall after the peak, and the tail that makes it: against closed forms and numerical integrals."""

from math import inf, sqrt

import numpy as np
import pytest
import torch

from rmtutorial.kl_frontier import kl_bound
from rmtutorial.overoptimization import GaoFit, change_after_peak, fit_gao, student_t, tail_curves

NS = [1, 4, 16, 64, 256, 1024]


@pytest.mark.parametrize("alpha, beta, n", [
    (0.386, 0.136, 19), (0.461, 0.123, 90), (0.616, 0.121, 1_770), (0.741, 0.118, 52_000), (0.913, 0.122, 3.3e6),
])  # fmt: skip
def test_the_peak_is_where_the_curve_is_highest(alpha, beta, n):
    """d = alpha / (2 beta), height alpha^2 / (4 beta); its n by inverting the bound. Coefficients of a published run."""
    fit = GaoFit(alpha, beta, largest=2.0)
    d = torch.linspace(0, 2 * fit.peak, 100_001, dtype=torch.float64)
    assert d[fit(d).argmax()].item() == pytest.approx(fit.peak, abs=1e-3)
    assert fit(fit.peak) == pytest.approx(alpha**2 / (4 * beta))
    assert fit.peak_n == pytest.approx(n, rel=0.03)


def test_the_fit_finds_the_curve_that_made_the_points_and_least_squares_otherwise():
    """Exact points give alpha and beta back; with noise, no nearby pair has a smaller sum of squares."""
    kl = torch.tensor([kl_bound(n) for n in NS])
    exact = fit_gao(kl, 0.5 * kl.sqrt() - 0.1 * kl)
    assert (exact.alpha, exact.beta, exact.largest) == pytest.approx((0.5, 0.1, sqrt(kl_bound(1024))), abs=1e-6)
    gain = 0.5 * kl.sqrt() - 0.1 * kl + 0.1 * torch.randn(6, generator=torch.Generator().manual_seed(0))
    fit = fit_gao(kl, gain)
    squares = lambda a, b: ((gain - a * kl.sqrt() + b * kl) ** 2).sum().item()  # noqa: E731
    for step in (1e-3, -1e-3):
        assert squares(fit.alpha, fit.beta) < min(
            squares(fit.alpha + step, fit.beta), squares(fit.alpha, fit.beta + step)
        )


def test_a_peak_beyond_the_last_point_is_called_extrapolated():
    """alpha .6, beta .12: d = 2.5. Seen up to 2.6 it is a peak; seen up to 2 nothing has fallen yet."""
    seen, foretold = GaoFit(0.6, 0.12, largest=2.6), GaoFit(0.6, 0.12, largest=2.0)
    assert not seen.extrapolated and foretold.extrapolated
    assert str(seen) == "alpha 0.60, beta_G 0.12: peak at d = 2.50, n = 1407"
    assert str(foretold).endswith("n = 1407 (extrapolated: nothing was observed beyond d = 2.00)")
    assert "n = 10^" in str(GaoFit(0.9, 0.11, largest=2.0))


@pytest.mark.parametrize("alpha, beta, peak, n, text", [
    (0.5, 0.0, inf, inf, "no peak below n"), (0.5, -0.1, inf, inf, "no peak below n"), (-0.2, 0.1, 0.0, 1.0, "n = 1"),
    (0.95, 0.01, 47.5, inf, "no peak below n"),
])  # fmt: skip
def test_a_curve_without_a_peak_says_so(alpha, beta, peak, n, text):
    """One that never bends down has none; one that falls from the start has it at n = 1."""
    fit = GaoFit(alpha, beta, largest=2.0)
    assert fit.peak == pytest.approx(peak) and fit.peak_n == pytest.approx(n, abs=1e-6) and text in str(fit)


@pytest.mark.parametrize("kl", [[0.0, 0.0, 1.0], [-0.1, 1.0, 2.0]])
def test_points_that_give_no_curve_are_refused(kl):
    """Two unknowns need two points; a negative KL is an estimate that went wrong."""
    with pytest.raises(ValueError, match="two points above 0 are needed, and none below"):
        fit_gao(kl, [0.0, 0.1, 0.2])


def curves(*means, prompts=30, noise=1.0):
    """gains (P, K) around these means; noise that is large against their differences."""
    generator = torch.Generator().manual_seed(0)
    return torch.tensor(means).double() + noise * torch.randn(prompts, len(means), generator=generator).double()


def test_a_flat_curve_is_not_said_to_fall():
    """500 times ten equal means: the peak of the mean curve is far above its end, the change found is 0 on average."""
    found, naive = [], []
    for _, one in zip(range(500), curves(*[0.0] * 10, prompts=500 * 12).split(12)):
        found.append(change_after_peak(one)[0])
        naive.append((one.mean(0)[-1] - one.mean(0).max()).item())
    assert np.mean(naive) < -0.3 and abs(np.mean(found)) < 0.06


def test_a_true_fall_is_found_with_an_interval_below_zero():
    """From 1.5 to 0.3 with a noise of 0.5 over 30 prompts."""
    change, (low, high) = change_after_peak(curves(0.0, 1.0, 1.5, 0.9, 0.3, noise=0.5))
    assert low < change < high < 0 and change == pytest.approx(-1.2, abs=0.3)


def test_a_rising_curve_has_no_fall():
    """The peak is the end: a change of exactly 0."""
    assert change_after_peak(curves(0.0, 1.0, 2.0, noise=0.1)) == (0.0, (0.0, 0.0))


def test_the_polar_formula_gives_student_t():
    """Quantiles: of the normal 1.282 and 2.326, of t(2) t = (2p - 1) / sqrt(2 p (1 - p)), of Cauchy tan(pi (p - 1/2))."""
    p = torch.tensor([0.5, 0.75, 0.9, 0.99], dtype=torch.float64)
    exact = {inf: torch.special.ndtri(p), 2: (2 * p - 1) / (2 * p * (1 - p)).sqrt(), 1: torch.tan(torch.pi * (p - 0.5))}
    for df, quantiles in exact.items():
        draws = student_t((1_000_000,), df, torch.Generator().manual_seed(0)).sort().values
        torch.testing.assert_close(draws[(p * 1_000_000).long()], quantiles, atol=0.01, rtol=0.03)


def test_one_seed_moves_smoothly_with_df():
    """What a slider needs: at 5 and 5.1 degrees of freedom nearly the same draws."""
    near, far = (student_t((1000,), df, torch.Generator().manual_seed(0)) for df in (5.0, 5.1))
    assert (near - far).abs().median() < 0.01


def test_a_normal_error_never_makes_gold_fall():
    """E[gold] = E[max of n] / sqrt(2), with E[max] = 1.0294, 1.7660, 2.3437, 2.8269, 3.2482: gold given proxy is half of it."""
    expected = torch.tensor([0, 1.0294, 1.7660, 2.3437, 2.8269, 3.2482], dtype=torch.float64) / sqrt(2)
    found = tail_curves(NS).mean(dim=0)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0)
    assert found.diff().min() > 0.2


def exact_gold(density, ns):
    """n times the integral of F(x)^(n-1) E[gold; proxy = x], the errors' density given, on a grid that reaches far out."""
    s = np.linspace(-11, 11, 20_001)
    x, dx = np.sinh(s), np.cosh(s) * (s[1] - s[0])
    f, m = np.zeros_like(x), np.zeros_like(x)
    for g in np.linspace(-7, 7, 281):
        share = np.exp(-g * g / 2) / np.sqrt(2 * np.pi) * 0.05 * density(x - g)
        f, m = f + share, m + g * share
    F = np.cumsum(f * dx) - f * dx / 2
    return [float(np.sum(n * F ** (n - 1) * m * dx)) for n in ns]


def test_a_heavy_tail_makes_gold_rise_and_fall_again():
    """t with 2 degrees of freedom, by numerical integration: 0, .556, .688, .467, .238, .118, the peak near n = 12."""
    expected = exact_gold(lambda error: (1 + error**2 / 2) ** -1.5 / (2 * sqrt(2)), NS)
    assert expected == pytest.approx([0, 0.556, 0.688, 0.467, 0.238, 0.118], abs=2e-3)
    seeds = tail_curves(NS, df=2)
    assert seeds.shape == (8, 6)
    assert seeds.mean(dim=0).tolist() == pytest.approx(expected, abs=0.06)
    assert (seeds[:, 2] > seeds[:, 1]).all() and (seeds[:, 2] > seeds[:, 4] + 0.2).all()  # in every seed
