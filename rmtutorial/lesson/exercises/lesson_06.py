"""Exercises of notebook 06: the KL divergence of answers, in a loss and in a reward; groups.py and clipping.py have the others."""

from math import inf

import torch

from rmtutorial.lesson.exercises import clipping, groups
from rmtutorial.lesson.exercises.exercise import Exercise, as_tensor, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import constant_mistake, dtype_mistake, gradient_mistake

EXERCISES = {}

LOGPROBS = torch.tensor([[[-1.0, -0.5, -2.0], [-0.25, -3.0, 0.0]]])  # (P, G, L): one prompt, two answers, three tokens
REFERENCE = torch.tensor([[[-1.5, -0.75, -1.0], [-2.25, -2.0, -4.0]]])
MASK = torch.tensor([[[True, True, True], [True, True, False]]])  # the second answer has two tokens
OTHER = torch.tensor([[[-0.5, -1.0]], [[-2.0, -0.125]]]), torch.tensor([[[-1.0, -1.0]], [[-0.5, -3.0]]])
OTHER_MASK = torch.tensor([[[True, False]], [[True, True]]])


def kl_of_answers(logprobs, ref_logprobs, mask):
    """k3 of every token, added up over each answer: (P, G, L) three times -> (P, G) nats."""
    log_ratio = (logprobs - ref_logprobs.detach()).where(mask, 0.0)  # before exp
    return (torch.expm1(-log_ratio) + log_ratio).sum(dim=-1)


def kl_of_answers_mistake(function):
    got = tried(function, LOGPROBS, REFERENCE, MASK)
    if mistake := named(got, _wrong_kls(LOGPROBS, REFERENCE, MASK)):
        return mistake
    if not same(got, right := kl_of_answers(LOGPROBS, REFERENCE, MASK)):
        return f"for two answers of three and two tokens it gave {shown(got)}, not {shown(right)}"
    if not same(got := tried(function, *OTHER, OTHER_MASK), right := kl_of_answers(*OTHER, OTHER_MASK)):
        return f"right for two answers of one prompt; for one answer to each of two it gave {shown(got)}, not {shown(right)}"
    return (
        _behind_the_end(function, (LOGPROBS, REFERENCE, MASK), kl_of_answers(LOGPROBS, REFERENCE, MASK))
        or _near_mistake(function)
        or _far_mistake(function)
        or _kl_gradient_mistake(function)
        or dtype_mistake(function, (LOGPROBS, REFERENCE, MASK), "log-probabilities")
    )


def _wrong_kls(logprobs, ref, mask):
    u = logprobs - ref
    k3, upside_down, all_tokens = torch.expm1(-u) + u, torch.expm1(u) - u, torch.expm1(-u) + u
    k3, upside_down, written = k3 * mask, upside_down * mask, mask.sum(-1)
    over = "it is upside down: r is ref / pi; with pi / ref it estimates chi^2 - KL, which a rare token of the reference blows up"
    mean = "the tokens are averaged; the KL of an answer is their sum, and a long answer is no cheaper"
    behind = "the tokens behind the end are counted too"
    return [
        (upside_down.sum(-1), over),
        (upside_down.sum(-1) / written, f"two things: {over}; and {mean}"),
        (k3.sum(-1) / written, mean),
        (k3.mean(-1), f"{mean}; and the mean is over the padding as well"),
        (all_tokens.sum(-1), behind),
        (all_tokens.mean(-1), f"two things: {mean}; and {behind}"),
        ((u * mask).sum(-1), "that is k1, the log-ratio; k3 = r - 1 - log r with r = ref / pi, which is never negative"),
        ((-u * mask).sum(-1), "that is the log-ratio with the sign reversed; k3 = r - 1 - log r with r = ref / pi"),
        ((u * mask).square().sum(-1) / 2, "that is k2, half of the squared log-ratio; k3 = r - 1 - log r with r = ref / pi"),
        (torch.expm1(-(u * mask).sum(-1)) + (u * mask).sum(-1), "that is k3 of the whole answer; asked is k3 of every token, added up"),
        ((torch.exp(-u) * mask).sum(-1), "- 1 - log r is missing: that is the ratio itself"),
        ((torch.expm1(-u) * mask).sum(-1), "the logarithm is missing: k3 = r - 1 - log r"),
        ((torch.expm1(-u) - u).where(mask, 0).sum(-1), "the sign of log r: k3 = r - 1 - log r, and log r is log ref - log pi"),
        (-k3.sum(-1), "the sign: k3 is never negative"),
        (k3, "one number for each token came back; add them up over each answer"),
        (k3.sum(), "one number came back; each answer has a KL, (P, G)"),
        (k3.sum(-1).mean(), "one number came back; each answer has a KL, (P, G)"),
    ]  # fmt: skip


def _behind_the_end(function, arguments, right):
    """What is wrong if the places where the mask is False hold what is not finite: zero times that is not zero."""
    logprobs, ref, mask = arguments
    for junk in (-inf, 0.0):  # their difference to -inf is nan, or infinite
        if not same(got := tried(function, logprobs.where(mask, -inf), ref.where(mask, junk), mask), right):
            return (
                f"right; but with -inf behind the end of an answer it gave {shown(got)}: 0 * inf is nan. Take these places "
                "out before exp: (...).where(mask, 0.0)"
            )
    return None


def _near_mistake(function):
    step = 2.0**-12  # a log-ratio that float32 holds exactly
    got = tried(function, torch.tensor([[[-step, step]]]), torch.zeros(1, 1, 2), torch.ones(1, 1, 2, dtype=torch.bool))
    if abs(float(as_tensor(got)) / step**2 - 1) < 0.01:
        return None
    return (
        f"near the reference, at log-ratios of -+2^-12, it gave {float(got):.2g}, not {step**2:.2g}: e^x - 1 loses its "
        "digits there; torch.expm1 keeps them"
    )


def _far_mistake(function):
    far = torch.tensor([[[-80.0], [-20.0], [80.0]]])  # log-ratios of three answers of one token; e^80 fits float32
    reference, mask = torch.zeros(1, 3, 1), torch.ones(1, 3, 1, dtype=torch.bool)
    got, right = tried(function, far, reference, mask), kl_of_answers(far, reference, mask)
    if same(got, right):
        return None
    numbers = ", ".join(f"{value:.3g}" for value in as_tensor(got).flatten().tolist())
    return (
        f"far from the reference, at log-ratios of -80, -20 and 80, it gave {numbers}, not {', '.join(f'{x:.3g}' for x in right.flatten().tolist())}: a clamp of the "
        "log-ratio or of k3 takes the pull back away where it is needed most"
    )


def _kl_gradient_mistake(function):
    pull = (1 - (REFERENCE - LOGPROBS).exp()).where(MASK, 0.0)
    for new in (LOGPROBS, LOGPROBS.where(MASK, -inf)):  # of the second, a masked place can send nan back
        arguments = new, REFERENCE, MASK
        if mistake := gradient_mistake(lambda *given: function(*given).sum(), arguments, {"logprobs": pull}):
            return mistake
    return constant_mistake(lambda *given: function(*given).sum(), (LOGPROBS, REFERENCE, MASK), {"ref_logprobs": 1})


EXERCISES["6.3"] = Exercise(
    kl_of_answers,
    hints=(
        "k3 = r - 1 - log r with r = ref / pi, so log r = ref_logprobs - logprobs.",
        "Put 0 where the mask is False, before anything is exponentiated: there k3 is 0.",
        "torch.expm1(x) is e^x - 1; add up over the last dimension; the reference is a constant: .detach().",
    ),
    mistake=kl_of_answers_mistake,
)

REWARDS = torch.tensor([[2.0, -1.0]])


def rewards_with_kl(rewards, logprobs, ref_logprobs, mask, beta):
    """r - beta (log pi(y|x) - log ref(y|x)) of every answer, a constant: (P, G)."""
    log_ratio = (logprobs - ref_logprobs).where(mask, 0.0).sum(dim=-1)  # (P, G) of whole answers
    return (rewards - beta * log_ratio).detach()


def rewards_with_kl_mistake(function):
    arguments = REWARDS, LOGPROBS, REFERENCE, MASK, 0.5
    got = tried(function, *arguments)
    if mistake := named(got, _wrong_rewards(*arguments)):
        return mistake
    if not same(got, right := rewards_with_kl(*arguments)):
        return f"for two answers and beta 0.5 it gave {shown(got)}, not {shown(right)}"
    other = REWARDS.T.contiguous(), *OTHER, OTHER_MASK
    for beta in (0.0, 0.1, 2.0):
        if not same(got := tried(function, *other, beta), right := rewards_with_kl(*other, beta)):
            return f"right for beta 0.5; for two other answers and beta {beta} it gave {shown(got)}, not {shown(right)}"
    if mistake := _behind_the_end(
        lambda *given: function(REWARDS, *given, 0.5), arguments[1:4], rewards_with_kl(*arguments)
    ):
        return mistake
    if as_tensor(tried(function, REWARDS, LOGPROBS.clone().requires_grad_(), REFERENCE, MASK, 0.5)).requires_grad:
        return (
            "the numbers are right, but a gradient flows through them: a reward is a constant to the policy; .detach()"
        )
    return dtype_mistake(function, arguments, "rewards and log-probabilities")


def _wrong_rewards(rewards, logprobs, ref, mask, beta):
    u = (logprobs - ref) * mask
    drift, k3 = u.sum(-1), kl_of_answers(logprobs, ref, mask)
    return [
        (rewards + beta * drift, "the sign: it pays for leaving the reference"),
        (rewards - beta * drift / mask.sum(-1), "the log-ratios are averaged over the tokens; log pi(y|x) is their sum, else long answers may drift for nothing"),
        (rewards - beta * u.mean(-1), "the log-ratios are averaged, over the padding as well; log pi(y|x) is their sum"),
        (rewards - beta * (logprobs - ref).sum(-1), "the tokens behind the end are counted too"),
        (rewards - beta * k3, "that is k3; in a reward k1, the log-ratio, has the gradient of the KL, and k3 has not"),
        (rewards - beta * u.square().sum(-1) / 2, "that is k2; in a reward k1, the log-ratio, has the gradient of the KL"),
        (rewards - beta * drift.clamp(min=0), "the log-ratio of an answer may be negative: only its mean is a KL; without clamp"),
        (rewards - beta * drift.abs(), "the log-ratio of an answer may be negative: only its mean is a KL; without abs"),
        (rewards - beta * drift.mean(), "the penalty is the same for all answers, so the group's mean takes it off again; each answer has its own"),
        (rewards - drift, "beta is missing"),
        (rewards - drift / beta, "beta divides; it is the weight of the penalty, in rewards a nat"),
        (-beta * drift, "the rewards are missing"),
        (rewards[..., None] - beta * u, "one number for each token came back; the reward is of the whole answer, (P, G)"),
    ]  # fmt: skip


EXERCISES["6.5"] = Exercise(
    rewards_with_kl,
    hints=(
        "log pi(y|x) is the sum of the log-probabilities of the tokens that were written.",
        "The penalty is subtracted: an answer that pi likes better than the reference does costs.",
        "The policy gradient treats the reward as a number: .detach().",
    ),
    mistake=rewards_with_kl_mistake,
)

EXERCISES |= groups.EXERCISES | clipping.EXERCISES
EXERCISES = {key: EXERCISES[key] for key in sorted(EXERCISES)}
