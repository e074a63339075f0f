"""DPO's family: six losses over the same log-probabilities of a policy, and one loop that trains a policy with any of them.

Letters: B pairs of a batch, n pairs in all.
"""

import torch
from torch import nn

from rmtutorial.features import FeatureCache
from rmtutorial.grouping import micro_batches
from rmtutorial.losses import cdpo_loss, dpo_loss, dpo_sft_loss, ipo_loss, rdpo_loss, simpo_loss
from rmtutorial.recipe import adamw, autocast, batch_order, lr_schedule
from rmtutorial.training_run import stop_unless_finite

BETA, FLIPPED = 0.1, 0.1
# Each: log pi, log pi_ref and numbers of tokens, (B, 2) each, the chosen answer's first -> a scalar.
FAMILY = {
    "DPO": lambda pi, ref, n: dpo_loss(*pi.T, *ref.T, beta=BETA),
    "IPO": lambda pi, ref, n: ipo_loss(*pi.T, *ref.T, tau=BETA),
    "cDPO": lambda pi, ref, n: cdpo_loss(*pi.T, *ref.T, beta=BETA, flipped=FLIPPED),
    "rDPO": lambda pi, ref, n: rdpo_loss(*pi.T, *ref.T, beta=BETA, flipped=FLIPPED),
    "SimPO": lambda pi, ref, n: simpo_loss(*pi.T, *n.T, beta=2.0, gamma=1.0),
    "DPO + SFT": lambda pi, ref, n: dpo_sft_loss(*pi.T, *ref.T, n[:, 0], beta=BETA, weight=1.0),
}


def pulls(loss, pi, ref, tokens):
    """What a loss pulls at log pi of each answer, (B, 2): minus its gradient, for every pair alone."""
    pi = pi.clone().requires_grad_()
    each = torch.stack([loss(pi[i : i + 1], ref[i : i + 1], tokens[i : i + 1]) for i in range(len(pi))])
    return -torch.autograd.grad(each.sum(), pi)[0]


def answer_lengths(encoded):
    """Tokens of each answer, the end mark included: (n, K) float32 of n encoded examples."""
    return torch.tensor([[float(len(a.ids) - a.start) for a in answers] for answers in encoded])


def train_policy(policy, encoded, config, loss, groups=None, cache=None):
    """Train a Policy in place by one loss of FAMILY: the loop of `train_dpo`, with the log-probabilities in the open.

    Args: policy, for which `freeze` has settled what learns, and `fix_reference` what it is compared with; encoded, n
        pairs [chosen, rejected] of Encoded answers; config, TrainConfig; loss, as in FAMILY; groups, n labels
        (`intervals.units`): rows of one stay in one batch; cache, a FeatureCache to share between runs.
    Returns: a list of {"step", "loss", "grad_norm"}.
    Raises: ValueError for no pairs; FloatingPointError for a loss or gradient that is not finite.
    """
    if not encoded:
        raise ValueError("no pairs to train on: the list is empty")
    cache = (FeatureCache() if cache is None else cache).belongs_to(policy)
    batches, optimizer = batch_order(len(encoded), config, groups), adamw(policy, config)
    schedule, steps = lr_schedule(optimizer, config, len(batches)), []
    for step, batch in enumerate(batches, 1):
        value = _backward(policy, [encoded[i] for i in batch], config, loss, cache)
        grad_norm = nn.utils.clip_grad_norm_(policy.parameters(), config.clip or torch.inf)
        stop_unless_finite(
            torch.full((len(batch), 1), value), grad_norm, ("the pairs", [str(i) for i in batch]), step, "Lower lr."
        )
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        steps.append({"step": step, "loss": value, "grad_norm": float(grad_norm)})
    return steps


def _backward(policy, examples, config, loss, cache):
    """Add the gradient of the batch's mean loss, a few pairs at a time; returns the loss."""
    total = 0.0
    for part in micro_batches(examples, config.micro_batch_tokens):
        some = [examples[i] for i in part]
        with autocast(policy.device, config.precision):
            packed = cache.batch(policy, some)
            ref, pi = policy.reference(packed), policy.logprobs(packed)  # (b, 2) each; the reference without gradient
        value = loss(pi, ref, answer_lengths(some).to(pi.device)) * (len(part) / len(examples))
        value.backward()
        total += value.item()
    return total
