"""Policy gradient, from REINFORCE to GRPO, as functions of tensors.

Letters: P prompts, G answers to each (a group), L tokens of the longest answer. Log-probabilities are in nats; a mask
(P, G, L) is True on the tokens that were written, the end mark included, so that stopping is learned as well.
"""

import torch


def group_advantages(rewards, scale=True, eps=1e-4):
    """How much better each answer is than the others to its prompt: A = (r - mean) / (std + eps) over its group.

    Shao et al. (2024, arXiv 2402.03300), section 4.1.2, with std over G - 1 and eps as in TRL. The prompt's own level
    cancels, and so does the scale of the rewards: |A| stays below (G - 1) / sqrt(G), however small the differences.

    Args:
        rewards: (P, G), any unit.
        scale: divide by the std; False is Dr. GRPO (Liu et al. 2025, arXiv 2503.20783), A = r - mean.
        eps: above 0, in the unit of the rewards: groups that differ by less have hardly a signal.
    Returns: (P, G) without gradient; exactly 0 in a group of equal rewards.
    Raises: ValueError, with the value, unless the rewards are finite, (P, G), and G at least 2.
    """
    above = _above_first(rewards)
    advantages = above - above.mean(dim=1, keepdim=True)
    return advantages / (above.std(dim=1, keepdim=True) + eps) if scale else advantages


def leave_one_out_advantages(rewards):
    """A = r - mean reward of the G - 1 other answers (RLOO; Ahmadian et al. 2024, arXiv 2402.14740): (P, G) -> (P, G).

    It is G / (G - 1) times r - mean. An answer is no part of its own baseline, so the gradient has no bias.
    Raises: as `group_advantages`.
    """
    above = _above_first(rewards)
    G = above.shape[1]
    return above - (above.sum(dim=1, keepdim=True) - above) / (G - 1)


def policy_gradient_loss(logprobs, advantages):
    """-mean A log pi(y|x): its gradient is REINFORCE's (Williams 1992). The value says nothing: it is no distance.

    Args: logprobs (P, G), of whole answers that pi itself has written; advantages (P, G), taken as constants.
    Returns: a scalar tensor.
    """
    _same_shape(logprobs=logprobs, advantages=advantages)
    return -(advantages.detach() * logprobs).mean()


def grpo_loss(logprobs, old_logprobs, advantages, mask, ref_logprobs=None, beta=0.0, clip=0.2, per_answer=False):
    """The loss of GRPO (Shao et al. 2024, eq. 3): PPO's clipped surrogate (Schulman et al. 2017, eq. 7) and a KL term.

    As long as pi is what has sampled, every ratio is 1 and the gradient is that of REINFORCE, token by token.

    Args:
        logprobs: (P, G, L), of the answer tokens under pi, with gradient.
        old_logprobs: (P, G, L), under the policy that wrote the answers: a constant.
        advantages: (P, G), one for all tokens of an answer: constants.
        mask: (P, G, L), bool.
        ref_logprobs: (P, G, L), under the reference, for the KL term: a constant.
        beta: weight of the KL term, k3 of every token (Shao et al., eq. 4; TRL multiplies it by the ratio unless
            use_bias_correction_kl is False).
        clip: how far the ratio pi / pi_old may leave 1 before a token pushes no further.
        per_answer: average over the tokens of each answer first, as in eq. 3, where a token of a long answer counts
            less; else over all tokens alike (DAPO; Yu et al. 2025, arXiv 2503.14476, section 3.3).
    Returns: a scalar tensor.
    Raises: ValueError when shapes do not fit, beta or clip is negative, or beta has no ref_logprobs.
    """
    _check_loss(logprobs, old_logprobs, advantages, mask, ref_logprobs, beta, clip)
    log_ratio = (logprobs - old_logprobs.detach()).where(mask, 0.0)  # before exp: behind the end may stand anything
    ratio, A = log_ratio.exp(), advantages.detach()[..., None]  # (P, G, L), (P, G, 1)
    gain = torch.minimum(ratio * A, ratio.clamp(1 - clip, 1 + clip) * A)  # the worse one: no reward for going further
    if beta:
        gain = gain - beta * k3((logprobs - ref_logprobs.detach()).where(mask, 0.0))
    if per_answer:
        return -((gain * mask).sum(-1) / mask.sum(-1).clamp(min=1)).mean()
    return -(gain * mask).sum() / mask.sum()


def clipped_tokens(logprobs, old_logprobs, advantages, mask, clip=0.2):
    """Tokens that the clip keeps from pushing further: A > 0 and ratio > 1 + clip, or A < 0 and ratio < 1 - clip.

    Args: as `grpo_loss`. Returns: (P, G, L) bool.
    """
    ratio, A = (logprobs - old_logprobs).where(mask, 0.0).exp(), advantages[..., None]
    return mask & (((A > 0) & (ratio > 1 + clip)) | ((A < 0) & (ratio < 1 - clip)))


# Estimators of KL(pi || ref) from what pi has sampled (Schulman 2020, "Approximating KL divergence"), as functions of
# log_ratio = log pi - log ref, of tokens or of whole answers. The other way round k3 estimates chi^2 - KL.


def k1(log_ratio):
    """log pi - log ref: without bias, but often negative. As a loss it has no gradient on average: it belongs in the reward."""
    return log_ratio


def k2(log_ratio):
    """Half of its square: with bias, small near the reference. As a loss its gradient is that of KL(pi || ref)."""
    return 0.5 * log_ratio.square()


def k3(log_ratio):
    """ref/pi - 1 - log(ref/pi): without bias and never negative. As a loss its gradient is that of KL(ref || pi)."""
    return torch.expm1(-log_ratio) + log_ratio  # expm1: near the reference e^x - 1 would lose its digits


def rewards_less_kl(rewards, logprobs, ref_logprobs, mask, beta):
    """r - beta (log pi(y|x) - log ref(y|x)): the KL penalty as a part of the reward (Ziegler et al. 2019, eq. 2).

    Args: rewards (P, G); logprobs and ref_logprobs (P, G, L), of the sampler and of the reference; mask (P, G, L);
        beta, in rewards a nat.
    Returns: (P, G) without gradient. The log-ratio is added up over an answer's tokens, not averaged: the KL is that
        of answers, and a long one is no cheaper.
    """
    log_ratio = (logprobs - ref_logprobs).where(mask, 0.0).sum(-1)  # (P, G)
    return (rewards - beta * k1(log_ratio)).detach()


def _above_first(rewards):
    """Rewards less the first of their group. Of equal rewards that is 0 whatever their size; of r - mean a rest may stay,
    which a std of the same size would blow up."""
    if rewards.dim() != 2 or rewards.shape[1] < 2 or rewards.shape[0] == 0:
        raise ValueError(
            f"rewards of shape {tuple(rewards.shape)}: must be (P, G), G at least 2 answers to each prompt; one alone "
            "has nothing to be compared with"
        )
    if not rewards.isfinite().all():
        row, column = (~rewards.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"the reward of prompt {row}, answer {column} is {rewards[row, column].item()}: must be finite"
        )
    rewards = rewards.detach().to(torch.promote_types(rewards.dtype, torch.float32))
    return rewards - rewards[:, :1]


def _check_loss(logprobs, old_logprobs, advantages, mask, ref_logprobs, beta, clip):
    known = {"logprobs": logprobs, "old_logprobs": old_logprobs, "mask": mask, "ref_logprobs": ref_logprobs}
    _same_shape(**{name: tensor for name, tensor in known.items() if tensor is not None})
    if advantages.shape != logprobs.shape[:-1]:
        raise ValueError(
            f"advantages of shape {tuple(advantages.shape)} for logprobs of {tuple(logprobs.shape)}: one each answer"
        )
    if mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype}: must be torch.bool (mask.bool())")
    if not mask.any():
        raise ValueError("mask is False everywhere: there is no answer token to learn from")
    if beta < 0 or clip < 0:
        raise ValueError(f"beta={beta}, clip={clip}: must not be negative")
    if beta and ref_logprobs is None:
        raise ValueError(f"beta={beta} asks for a KL term, and that for ref_logprobs")


def _same_shape(**tensors):
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"all of one shape are wanted, got {shapes}: broadcasting would give a plausible wrong number")
