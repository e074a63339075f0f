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
    """
    _same_shape(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    if not beta > 0:
        raise ValueError(f"beta={beta}: must be above 0; below it the loss would prefer the rejected answers")
    reward_chosen = beta * (policy_chosen - ref_chosen)  # (B,), the implicit reward
    reward_rejected = beta * (policy_rejected - ref_rejected)  # (B,)
    return bradley_terry_loss(reward_chosen, reward_rejected)


def sequence_logprobs(logits, labels, mask):
    """Log-probability of the masked tokens of each sequence, summed, in nats.

    The logits at position t predict the token at t + 1, hence the shift by one.

    Args: logits (B, T, V); labels (B, T), int64 token ids; mask (B, T), bool, True on answer tokens.
    Returns: (B,), float32 (summed in float32 whatever the dtype of the logits).
    """
    logits, labels, mask = logits[:, :-1], labels[:, 1:], mask[:, 1:]  # (B, T-1, V), (B, T-1), (B, T-1)
    token_logprobs = -F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")  # (B, T-1)
    return token_logprobs.where(mask, 0.0).sum(dim=1)  # (B,); where, because -inf * 0 is nan


def _same_shape(*tensors):
    shapes = [tuple(t.shape) for t in tensors]
    if len(shapes[0]) != 1 or shapes[0][0] == 0 or len(set(shapes)) > 1:
        raise ValueError(f"all tensors must have one shape (B,), B at least 1; got {' and '.join(map(str, shapes))}")
