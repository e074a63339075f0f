"""A distribution that moves away from a reference: what k1, k2 and k3 say of it, beside the exact KL divergences.

Everything is a sum over all outcomes, so nothing here is estimated. Letters: V outcomes, K shifts.
"""

import torch

from rmtutorial.policy_gradient import k1, k2, k3

ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


def gaussian(points=4001, reach=10.0):
    """(logits, direction), each (V,): with these pi at shift s is the normal distribution N(s, 1) on a fine grid."""
    x = torch.linspace(-reach, reach, points, dtype=torch.float64)
    return -(x**2) / 2, x


def estimators(logits, direction, shifts):
    """Mean, standard deviation and gradient of k1, k2, k3 for pi = softmax(logits + s direction), for K shifts s.

    The gradient is that of the estimator as a loss: outcomes are sampled from pi and then fixed, log pi is
    differentiated, in s.

    Args: logits, direction (V,); shifts (K,). The reference is softmax(logits).
    Returns: dict: shift (K,); "KL(pi, ref)", "KL(ref, pi)", k1, k2, k3, each a dict of mean (K,), std (K,; 0 for the two
        divergences) and gradient (K,), in nats.
    """
    s = torch.as_tensor(shifts, dtype=torch.float64).requires_grad_()
    log_ref = torch.log_softmax(logits.double(), dim=0)  # (V,)
    log_pi = torch.log_softmax(logits.double() + s[:, None] * direction.double(), dim=1)  # (K, V)
    u, pi = log_pi - log_ref, log_pi.exp()
    exact = {"KL(pi, ref)": (pi * u).sum(1), "KL(ref, pi)": -(log_ref.exp() * u).sum(1)}
    found = {"shift": s.detach(), **{name: _row(kl, torch.zeros_like(kl), s) for name, kl in exact.items()}}
    sampled = pi.detach()
    for name, k in ESTIMATORS.items():
        mean = (sampled * k(u)).sum(1)
        found[name] = _row(mean, (sampled * (k(u) - mean[:, None]) ** 2).sum(1).sqrt(), s)
    return found


def _row(mean, std, s):
    gradient = torch.autograd.grad(mean.sum(), s, retain_graph=True)[0]  # each mean depends on its own shift alone
    return {"mean": mean.detach(), "std": std.detach(), "gradient": gradient}
