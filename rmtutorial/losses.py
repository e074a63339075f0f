"""The losses of the course, as functions of tensors. B is the number of pairs, T of tokens, V the vocabulary."""

import torch.nn.functional as F


def bradley_terry_loss(r_chosen, r_rejected, margin=None, centering=0.0):
    """Negative log-likelihood that every chosen answer beats its rejected one, in nats.

    Bradley & Terry (1952): P(chosen beats rejected) = sigmoid(r_chosen - r_rejected), so
    L = -mean log sigmoid(r_chosen - r_rejected)   (Ouyang et al. 2022, eq. 1, with one pair a prompt).

    Args:
        r_chosen, r_rejected: rewards (logits), shape (B,), floating point.
        margin: optional (B,) >= 0, subtracted from the difference (Touvron et al. 2023, eq. 2).
        centering: weight of mean (r_chosen + r_rejected)^2, which fixes the offset that the loss leaves
            open (Eisenstein et al. 2023, eq. 2; 0.01 is usual).
    Returns: a scalar tensor.
    Raises: ValueError unless all shapes are (B,), B at least 1: broadcasting would give a plausible wrong number.
    """
    _same_shape(r_chosen, r_rejected, *([] if margin is None else [margin]))
    difference = r_chosen - r_rejected  # (B,)
    if margin is not None:
        difference = difference - margin
    loss = -F.logsigmoid(difference).mean()  # logsigmoid: log(sigmoid(-100)) would be log(0) = -inf in float32
    if centering:
        loss = loss + centering * (r_chosen + r_rejected).pow(2).mean()
    return loss


def dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta=0.1):
    """Direct Preference Optimization (Rafailov et al. 2023, eq. 7): the Bradley-Terry loss on implicit rewards.

    Args: log-probabilities of whole answers in nats, summed over answer tokens, each of shape (B,), under the
        policy (with gradient) and the frozen reference (without); beta > 0, how hard preferences pull.
    Returns: a scalar tensor.
    TRL: DPOTrainer, loss_type="sigmoid", its default.
    """
    _same_shape(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    _above_0("beta", beta)
    reward_chosen = beta * (policy_chosen - ref_chosen)  # (B,), the implicit reward
    reward_rejected = beta * (policy_rejected - ref_rejected)  # (B,)
    return bradley_terry_loss(reward_chosen, reward_rejected)


def ipo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, tau=0.1):
    """Identity Preference Optimization (Azar et al. 2023, eq. 17): the difference d of the log-ratios shall be 1 / (2 tau).

    L = mean (d - 1 / (2 tau))^2, d = log pi/pi_ref (chosen) - log pi/pi_ref (rejected): beyond its goal it pulls back.

    Args: as `dpo_loss`; tau > 0, in place of beta.
    TRL: DPOTrainer, loss_type="ipo", beta=tau, and there each log-ratio is divided by the tokens of its answer: the same
        function of log-probabilities per token.
    """
    _above_0("tau", tau)
    d = _log_ratio_difference(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return (d - 1 / (2 * tau)).pow(2).mean()


def cdpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta=0.1, flipped=0.1):
    """Conservative DPO (Mitchell 2023): DPO's loss l(m), if a share `flipped` of the labels is wrong.

    L = (1 - e) l(m) + e l(-m) = l(m) + e m, m the margin of the implicit rewards: m is held at log((1 - e) / e).

    Args: as `dpo_loss`; flipped, e in [0, 0.5).
    TRL: loss_type="sigmoid", label_smoothing=e in older versions. In 1.16 "sigmoid" ignores label_smoothing, and of
        DPOTrainer's losses only "aot" and "aot_unpaired" are this one, for batches of one pair.
    """
    right, wrong = _both_ways(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta, flipped)
    return (1 - flipped) * right + flipped * wrong


def rdpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta=0.1, flipped=0.1):
    """Robust DPO (Chowdhury et al. 2024): with a share `flipped` of wrong labels, on average DPO's loss of the right ones.

    L = ((1 - e) l(m) - e l(-m)) / (1 - 2 e) = l(m) - e / (1 - 2 e) m: no bias, and no lower bound.

    Args: as `dpo_loss`; flipped, e in [0, 0.5).
    TRL: loss_type="robust", label_smoothing=e.
    """
    right, wrong = _both_ways(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta, flipped)
    return ((1 - flipped) * right - flipped * wrong) / (1 - 2 * flipped)


def simpo_loss(policy_chosen, policy_rejected, tokens_chosen, tokens_rejected, beta=2.0, gamma=1.0):
    """Simple Preference Optimization (Meng et al. 2024, eq. 6): the reward is log pi per token; there is no reference.

    L = -mean log sigmoid(beta (log pi(y+) / |y+| - log pi(y-) / |y-|) - gamma).

    Args: log-probabilities (B,) as `dpo_loss`; tokens (B,), how many each answer has; beta > 0; gamma, the margin asked for.
    TRL: experimental CPOTrainer, loss_type="simpo", cpo_alpha=0, simpo_gamma=gamma.
    """
    _above_0("beta", beta)
    _same_shape(policy_chosen, policy_rejected, tokens_chosen, tokens_rejected)
    return bradley_terry_loss(beta * policy_chosen / tokens_chosen - gamma, beta * policy_rejected / tokens_rejected)


def dpo_sft_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, tokens_chosen, beta=0.1, weight=1.0):
    """DPO with an SFT term (Pang et al. 2024, arXiv:2404.19733v3, eq. 1): DPO + weight * mean(-log pi(y+) / |y+|), which holds the chosen answer up.

    Args: as `dpo_loss`; tokens_chosen (B,), how many tokens each chosen answer has; weight >= 0.
    TRL: loss_type=["sigmoid", "sft"], loss_weights=[1, weight], with a mean over the tokens of the batch, equal to ours
        if all chosen answers are equally long; rpo_alpha=weight in versions before 0.29.
    """
    _same_shape(policy_chosen, tokens_chosen)
    dpo = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta)
    return dpo - weight * (policy_chosen / tokens_chosen).mean()


def sequence_logprobs(logits, labels, mask):
    """Log-probability of the masked tokens of each sequence, summed, in nats.

    The logits at position t predict the token at t + 1, hence the shift by one.

    Args: logits (B, T, V); labels (B, T), int64 token ids; mask (B, T), bool, True on answer tokens.
    Returns: (B,), float32 (summed in float32 whatever the dtype of the logits).
    """
    logits, labels, mask = logits[:, :-1], labels[:, 1:], mask[:, 1:]  # (B, T-1, V), (B, T-1), (B, T-1)
    token_logprobs = -F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")  # (B, T-1)
    return token_logprobs.where(mask, 0.0).sum(dim=1)  # (B,); where, because -inf * 0 is nan


def _log_ratio_difference(policy_chosen, policy_rejected, ref_chosen, ref_rejected):
    """d (B,) in nats; beta d is the margin of the implicit rewards."""
    _same_shape(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)


def _both_ways(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta, flipped):
    """DPO's loss of the labels as they are, and of all of them exchanged."""
    if not 0 <= flipped < 0.5:
        raise ValueError(f"flipped={flipped}: a share of wrong labels, from 0 up to but not 0.5")
    right = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta)
    return right, dpo_loss(policy_rejected, policy_chosen, ref_rejected, ref_chosen, beta)


def _above_0(name, value):
    if not value > 0:
        raise ValueError(f"{name}={value}: must be above 0; below it the loss would prefer the rejected answers")


def _same_shape(*tensors):
    shapes = [tuple(t.shape) for t in tensors]
    if len(shapes[0]) != 1 or shapes[0][0] == 0 or len(set(shapes)) > 1:
        raise ValueError(f"all tensors must have one shape (B,), B at least 1; got {' and '.join(map(str, shapes))}")
