"""When the proxy is followed too far: Gao's form of the gold curve, whether gold falls, and how a heavy tail of the error makes it."""

from dataclasses import dataclass
from math import inf, isfinite, log, pi

import torch

from rmtutorial.best_of_n import best_of_n, mean_with_interval
from rmtutorial.kl_frontier import n_of_kl_bound


@dataclass(frozen=True)
class GaoFit:
    """Gold gain of best of n as d (alpha - beta d), with d the root of the KL in nats (Gao et al. 2022, arXiv:2210.10760)."""

    alpha: float  # gain per d, at the start
    beta: float  # how soon it bends
    largest: float  # the largest d that was observed

    def __call__(self, d):
        return d * (self.alpha - self.beta * d)

    @property
    def peak(self):
        """The d at which gold is highest: alpha / (2 beta); 0 where it falls at once, infinite where it never bends down."""
        return max(0.0, self.alpha / (2 * self.beta)) if self.beta > 0 else inf

    @property
    def peak_n(self):
        """The n of best of n there, by `kl_bound`; not rounded, perhaps infinite."""
        return n_of_kl_bound(self.peak**2)

    @property
    def extrapolated(self):
        """Whether the peak lies beyond all that was observed: then no fall was seen, only foretold by the formula."""
        return self.peak > self.largest

    def __str__(self):
        curve = f"alpha {self.alpha:.2f}, beta_G {self.beta:.2f}"  # beta is the price of KL elsewhere
        if self.peak_n > 1e12:
            return f"{curve}: no peak below n = 10^12"
        n = f"{self.peak_n:.0f}" if self.peak_n < 1e5 else f"10^{log(self.peak_n, 10):.0f}"
        seen = f" (extrapolated: nothing was observed beyond d = {self.largest:.2f})" if self.extrapolated else ""
        return f"{curve}: peak at d = {self.peak:.2f}, n = {n}{seen}"


def fit_gao(kl, gain):
    """Least squares of `gain` (K,) over d = sqrt(kl) (K,), kl in nats: a GaoFit. The gain is over n = 1, where d = 0.

    Raises: ValueError for fewer than two points with d > 0, or a negative KL.
    """
    kl, gain = (torch.as_tensor(x, dtype=torch.float64) for x in (kl, gain))
    if kl.min() < 0 or (kl > 0).sum() < 2:
        raise ValueError(f"kl={kl.tolist()}: two points above 0 are needed, and none below")
    d = kl.sqrt()
    alpha, beta = torch.linalg.lstsq(torch.stack([d, -d * d], dim=1), gain[:, None]).solution.flatten().tolist()
    return GaoFit(alpha, beta, d.max().item())


def change_after_peak(gains):
    """(change of gold from its peak to the largest n, its 95 % interval over prompts); gains (P, K), n ascending.

    The peak of one mean curve lies above its end whatever the truth is, so it is not chosen on what is then reported:
    for each prompt the peak is that of the mean of all others. A change whose interval is below 0 is a fall.
    With several seeds of a proxy, pass their mean (P, K).
    """
    others = gains.sum(dim=0) - gains  # (P, K)
    peak = others.argmax(dim=1, keepdim=True)  # (P, 1)
    mean, low, high = mean_with_interval(gains[:, -1:] - gains.gather(1, peak))
    return mean.item(), (low.item(), high.item())


def student_t(shape, df, generator):
    """Draws from Student's t with df degrees of freedom, infinite for the normal: a float64 tensor of `shape`.

    By Bailey's polar formula (1994, Mathematics of Computation 62), so that one seed gives nearby df nearly the same
    draws and a slider over df moves smoothly.
    """
    u, v = 1 - torch.rand(2, *shape, generator=generator, dtype=torch.float64)  # never 0
    square = df * torch.expm1(-2 / df * u.log()) if isfinite(df) else -2 * u.log()
    return square.sqrt() * torch.cos(2 * pi * v)


def tail_curves(ns, df=inf, seeds=8, prompts=128):
    """Gold of the best of n where proxy = gold + error, gold N(0, 1), the error independent of it: does its tail make gold fall?

    The error is Student's t with df degrees of freedom, not rescaled; normal for an infinite df. The normal error costs
    a constant share, gold = E[max of n] / sqrt(2), and never makes gold fall; with Student's t, whatever df, the largest
    proxies are in the end large errors, and gold of the pick goes back to 0: for a large df at an n beyond all pools.
    Both need the independence: an error that depends on gold can make gold fall without any heavy tail (Kwa et al.
    2024, arXiv:2407.14503, on policies with a KL penalty).

    Args: ns, K numbers; seeds, S; prompts, how many pools of max(ns) samples each seed has.
    Returns: (S, K) float64, the mean over the prompts of a seed, in standard deviations of gold.
    """
    curves = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        gold = torch.randn(prompts, max(ns), generator=generator, dtype=torch.float64)
        proxy = gold + student_t(gold.shape, df, generator)
        curves.append(best_of_n(proxy, gold, ns).mean(dim=0))
    return torch.stack(curves)
