"""How far from the reference, and what it buys: the KL of best of n, and the best policy for each KL, on one pool.

Letters as in best_of_n.py. A pool stands for the reference policy: its N samples of a prompt were drawn from it, so
weights (N,) on them that sum to 1 are another policy. No such policy is further from the reference than log N nats;
where a KL comes near that, the pool is used up and says little about the model.
"""

from math import exp, log

import torch

from rmtutorial.best_of_n import best_of_n_weights, finite, one_score_per_text, within_prompt_spread


def kl_bound(n):
    """log n - (n - 1) / n nats, an upper bound of the KL of best of n from the reference, ties broken at random.

    It is the KL for a score with a density. Over texts, of which each has a probability p, the KL is below it for every
    n > 1, whether scores tie or not; close while n p is small for all of them (Beirami et al. 2024, arXiv:2401.01879).
    """
    return log(n) - (n - 1) / n


def n_of_kl_bound(kl):
    """The n, not rounded, whose `kl_bound` is `kl` nats; infinite where a float cannot hold it."""
    if kl < 0:
        raise ValueError(f"kl={kl}: a KL is not negative")
    x = kl + 1.0  # x = log n solves x - 1 + exp(-x) = kl, a convex function: Newton from the right never overshoots
    for _ in range(100):
        x = max(0.0, x - (x - 1 + exp(-x) - kl) / max(1 - exp(-x), 1e-12))
    return exp(x) if x < 700 else float("inf")


def atoms_kl(p, n):
    """KL, in nats, of best of n from a reference that gives texts the probabilities p (K,), in ascending order of score.

    The best is text k if all n draws are among the k lowest and not all below: F(k)^n - F(k-1)^n, with F the cumulated
    p. Texts of one score count as one atom: which of them is taken changes no KL.
    """
    F = torch.as_tensor(p, dtype=torch.float64).cumsum(0).clamp(max=1)
    p = F.diff(prepend=F.new_zeros(1))
    pick = F**n - (F - p).clamp(min=0) ** n  # (K,)
    return torch.special.xlogy(pick, pick / p).sum().item()  # what is never picked costs nothing: 0 log 0 = 0


def best_of_n_kl(proxy, labels, ns):
    """KL, in nats, of best of n from the reference, equal texts taken as one: exact for the pool as the reference.

    The n draws are with replacement here: the pool is read as a distribution of texts, in which a text that was sampled
    c times has probability c / N, and which may write the same text again, as a language model may. As an estimate for
    the model it is on average somewhat low, the more the nearer n is to N: never above log N, and for N = n = 64 without
    any repeat .04 nats below `kl_bound`, which the truth never exceeds. That a pool without repeats comes near the bound
    is by construction (N atoms of 1 / N): it does not show that the model's texts are all rare.

    Args: proxy (P, N); labels (P, N), the same number for equal texts of a prompt (`text_labels`); ns, K numbers up to N.
    Returns: (P, K) float64, nats.
    Raises: ValueError for n > N, of which the pool says nothing, and as `one_score_per_text`.
    """
    N = proxy.shape[1]
    if not 1 <= min(ns) <= max(ns) <= N:
        raise ValueError(f"ns={list(ns)}: with {N} samples a prompt the pool knows the KL for n from 1 to {N}")
    atoms = [row.unique(return_counts=True)[1] / N for row in one_score_per_text(proxy, labels)]
    return torch.tensor([[atoms_kl(p, n) for n in ns] for p in atoms], dtype=torch.float64)


def tilted_weights(proxy, beta):
    """The best policy under a KL penalty, pi* = pi_ref exp(r / beta) / Z, as weights on the pool: softmax per prompt.

    It is the maximum of E[r] - beta KL(pi, pi_ref), here over all policies on the pool; an offset per prompt cancels.
    Args: proxy (P, N); beta > 0 in the proxy's unit a nat: large stays at the reference, small goes to the best sample.
    Returns: (P, N) float64, each row sums to 1.
    """
    return _exponent(proxy, beta).softmax(dim=1)


def log_partition(proxy, beta):
    """log Z = log of the mean of exp(r / beta) over the pool, nats, (P, N) -> (P,): beta log Z is the maximum itself."""
    return _exponent(proxy, beta).logsumexp(dim=1) - log(proxy.shape[1])


def pool_kl(weights):
    """KL, in nats, of a policy on the pool from the reference, all samples alike: log N - entropy; (..., N) -> (...)."""
    return torch.special.xlogy(weights, weights * weights.shape[-1]).sum(dim=-1)


def effective_sample_size(weights):
    """1 / sum of squares: from how many samples, equally weighted, a mean would be as sure; (..., N) -> (...), 1 to N."""
    return 1 / (weights**2).sum(dim=-1)


def tilted_frontier(proxy, gold, betas):
    """pi* for each beta: KL, effective sample size, gain by proxy and by gold; a dict of (P, K), see `on_pool`."""
    return on_pool(torch.stack([tilted_weights(proxy, beta) for beta in betas], dim=1), proxy, gold)


def best_of_n_frontier(proxy, gold, ns):
    """Best of n for each n as a policy on the pool; a dict of (P, K), see `on_pool`.

    These are the unbiased weights, so `kl` is a little above the KL of best of n itself, since drawing without
    replacement uses the pool up: for n = N / 8 by .06 nats, for n = N by a whole one. In return all points are policies
    on one pool, and no n can lie above the curve of pi*.
    """
    return on_pool(torch.stack([best_of_n_weights(proxy, n) for n in ns], dim=1), proxy, gold)


def on_pool(weights, proxy, gold):
    """What K policies on the pool, weights (P, K, N), cost and buy.

    Returns: {"kl": nats, "ess": samples, "proxy", "gold": gain over the pool's mean, in within-prompt spreads}, each
        (P, K) float64.
    """
    found = {"kl": pool_kl(weights), "ess": effective_sample_size(weights)}
    for name, scores in (("proxy", proxy.double()), ("gold", gold.double())):
        centred = (scores - scores.mean(dim=1, keepdim=True)) / within_prompt_spread(scores)
        found[name] = torch.einsum("pkn,pn->pk", weights, centred)
    return found


def _exponent(proxy, beta):
    if not beta > 0:
        raise ValueError(f"beta={beta}: must be above 0; it divides the score")
    return finite(proxy) / beta
