"""A few answers to one prompt, a number for each: the optimum under a KL penalty, a tabular reward model, tabular DPO.

Everything is a table here, so every claim of DPO's derivation can be checked in full. Letters: A answers, n comparisons.
"""

import torch

from rmtutorial.losses import bradley_terry_loss, dpo_loss


def best_policy(reference, reward, beta):
    """pi* = pi_ref exp(r / beta) / Z, where E[r] - beta KL(pi, pi_ref) is highest (Rafailov et al. 2023, eq. 4).

    Args: reference (A,), probabilities; reward (A,); beta > 0, in rewards a nat. Returns: probabilities (A,).
    """
    return _tilted(reference, reward, beta).softmax(-1)


def log_partition(reference, reward, beta):
    """log Z = log sum pi_ref exp(r / beta), nats; beta log Z is the maximum itself."""
    return _tilted(reference, reward, beta).logsumexp(-1)


def objective(policy, reference, reward, beta):
    """E[r] - beta KL(pi, pi_ref) of any policy (A,): what reinforcement learning with a KL penalty maximizes (eq. 3)."""
    return (policy * reward).sum(-1) - beta * kl(policy, reference)


def kl(policy, reference):
    """KL(pi, pi_ref) in nats; an answer that the policy never gives costs nothing."""
    return torch.special.xlogy(policy, policy / reference).sum(-1)


def comparisons_of(strengths):
    """Every two answers compared, each winning as often as its strength says: i beats j in s_i of s_i + s_j cases.

    These are the odds of Bradley and Terry (1952) with rewards log s, without any luck.
    Args: strengths (A,), positive int64. Returns: winners and losers (n,), int64.
    """
    won = [(i, j) for i in range(len(strengths)) for j in range(len(strengths)) if i != j for _ in range(strengths[i])]
    return torch.tensor(won).T.unbind()


def sampled_comparisons(reward, n, seed=0):
    """n comparisons of two answers at random, the winner drawn with P(i beats j) = sigmoid(r_i - r_j)."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(reward), (n,), generator=generator)
    second = (first + torch.randint(1, len(reward), (n,), generator=generator)) % len(reward)
    wins = torch.rand(n, generator=generator, dtype=torch.float64) < torch.sigmoid(reward[first] - reward[second])
    return torch.where(wins, first, second), torch.where(wins, second, first)


def fit_reward(winners, losers, A):
    """A reward model that is a table: the rewards (A,) float64, of mean 0, that minimize the Bradley-Terry loss."""
    return _minimum(lambda r: bradley_terry_loss(r[winners], r[losers]), torch.zeros(A), winners, losers)


def fit_policy(winners, losers, reference, beta):
    """A policy that is a table: the probabilities (A,) float64 that minimize DPO's loss, started at the reference."""
    log_ref = reference.double().log()

    def loss(logits):
        log_pi = logits.log_softmax(-1)
        return dpo_loss(log_pi[winners], log_pi[losers], log_ref[winners], log_ref[losers], beta)

    return _minimum(loss, log_ref, winners, losers).softmax(-1)


def _tilted(reference, reward, beta):
    if not beta > 0:
        raise ValueError(
            f"beta={beta}: must be above 0; at 0 drift costs nothing, and all weight goes to the best answer"
        )
    return reference.log() + reward / beta


def _minimum(loss, start, winners, losers):
    """Where a convex loss is lowest, by L-BFGS in float64. ValueError where it falls for ever."""
    A = len(start)
    beaten = torch.eye(A, dtype=torch.float64)
    beaten[winners, losers] = 1
    if not (torch.linalg.matrix_power(beaten, A) > 0).all():
        raise ValueError("some answers have never lost to the others, so no finite rewards are best (Ford 1957)")
    x = start.double().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value

    optimizer.step(closure)
    return x.detach()
