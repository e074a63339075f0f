"""Answers to the exercises of notebook 06: wrong ones with what must be said of them, and other ways to be right."""

import torch

from rmtutorial.lesson.exercises import all_exercises
from rmtutorial.policy_gradient import group_advantages, grpo_loss, k3, rewards_less_kl

REFERENCE = {key: exercise.reference for key, exercise in all_exercises().items() if key.startswith("6.")}


def centred(rewards):
    return rewards - rewards.mean(1, keepdim=True)


def advantage(denominator):
    """Exercise 6.1 with another denominator: rewards (P, G), eps -> what r - mean is divided by."""
    return lambda rewards, eps=1e-4: centred(rewards) / denominator(rewards, eps)


def std(rewards, **settings):
    return rewards.std(1, keepdim=True, **settings)


def in_place_advantage(rewards, eps=1e-4):
    rewards -= rewards.mean(1, keepdim=True)
    return rewards / (std(rewards) + eps)


def zero_below(threshold):
    """Exercise 6.1 that gives up on groups that differ by little."""
    return lambda rewards, eps=1e-4: REFERENCE["6.1"](rewards, eps).where(std(rewards) >= threshold, 0.0)


def without_equal_rewards(rewards, eps=1e-4):
    """Groups that teach nothing are left out, as in DAPO: then the rows no longer belong to the prompts."""
    return REFERENCE["6.1"](rewards, eps)[rewards.amax(1) > rewards.amin(1)]


def behind(ids, start):
    return torch.arange(ids.shape[1]) >= start


def up_to_the_end(ends, with_it=True):
    """No end mark before this token; without the end mark itself if so asked."""
    return ends.cumsum(1) - ends.long() * with_it == 0


def by_argmax(ids, start, end):
    first = (behind(ids, start) & (ids == end)).long().argmax(1)
    return behind(ids, start) & (torch.arange(ids.shape[1]) <= first[:, None])


def with_one_more(ids, start, end):
    before = (behind(ids, start - 1)[1:] & (ids == end)[:, :-1]).long()  # an end mark right in front
    before = torch.cat([torch.zeros(len(ids), 1).long(), before], dim=1)
    own = behind(ids, start) & (ids == end)
    return behind(ids, start) & (own.cumsum(1) - own.long() - before.where(behind(ids, start + 1), 0) <= 0)


def row_by_row(ids, start, end):
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, out in zip(ids.tolist(), mask):
        answer = row[start:]
        out[start : start + (answer.index(end) + 1 if end in answer else len(answer))] = True
    return mask


def kl_of(token, pool=lambda values, mask: values.sum(-1)):
    """Exercise 6.3 with another estimator of the log-ratio u, or other than summed."""
    return lambda new, ref, mask: pool(token((new - ref.detach()).where(mask, 0.0)), mask)


def upside_down(u):
    return torch.expm1(u) - u


def average(values, mask):
    return values.sum(-1) / mask.sum(-1)


def loss_of(gain, mean=None, kl=k3):
    """Exercise 6.4 with another gain of (ratio, A, clip), another mean of (values, mask), another KL term of u."""

    def loss(new, old, advantages, mask, ref=None, beta=0.0, clip=0.2):
        values = gain((new - old.detach()).where(mask, 0.0).exp(), advantages.detach()[..., None], clip)
        if beta:
            values = values - beta * kl((new - ref.detach()).where(mask, 0.0))
        return -(mean or over_tokens)(values, mask)

    return loss


def over_tokens(values, mask):
    return (values * mask).sum() / mask.sum()


def clipped(ratio, A, clip):
    return torch.minimum(ratio * A, ratio.clamp(1 - clip, 1 + clip) * A)


def better_one_where_negative(ratio, A, clip):
    other = ratio.clamp(1 - clip, 1 + clip) * A
    return torch.where(A > 0, torch.minimum(ratio * A, other), torch.maximum(ratio * A, other))


def with_arguments(change):
    """The reference of 6.4 on changed arguments."""

    def loss(new, old, advantages, mask, ref=None, beta=0.0, clip=0.2):
        return REFERENCE["6.4"](*change(new, old, advantages, mask, ref), beta, clip)

    return loss


def letting_gradients_in(new, old, advantages, mask, ref=None, beta=0.0, clip=0.2):
    gain = clipped((new - old).where(mask, 0.0).exp(), advantages[..., None], clip)
    if beta:
        gain = gain - beta * k3((new - ref).where(mask, 0.0))
    return -over_tokens(gain, mask)


def advantages_across(new, old, advantages, mask, ref=None, beta=0.0, clip=0.2):
    if advantages.shape == new.shape[1:]:
        return loss_of(lambda ratio, A, clip: clipped(ratio, A[..., 0], clip))(new, old, advantages, mask)
    return REFERENCE["6.4"](new, old, advantages, mask, ref, beta, clip)


def mask_by_product(new, old, advantages, mask, ref=None, beta=0.0, clip=0.2):
    gain = clipped((new - old).exp(), advantages[..., None], clip)
    return -(gain * mask).sum() / mask.sum()


def clip_by_hand(ratio, A, clip):
    """PPO's four cases, written out."""
    return torch.where(A > 0, ratio.clamp(max=1 + clip) * A, ratio.clamp(min=1 - clip) * A)


def penalty(of_answer):
    """Exercise 6.5 with another penalty: (log-ratios (P, G, L) that are 0 behind the end, mask) -> (P, G)."""
    return lambda r, new, ref, mask, beta: (r - beta * of_answer((new - ref).where(mask, 0.0), mask)).detach()


WRONG = {
    "6.1": [
        (lambda r, eps=1e-4: (r - r.mean()) / (r.std() + eps), "the whole batch is one group"),
        (lambda r, eps=1e-4: (r - r.mean()) / (r.std(correction=0) + eps), "the whole batch is one group"),
        (advantage(lambda r, eps: r.std() + eps), "the mean is the group's, the std that of the whole batch"),
        (advantage(lambda r, eps: std(r, correction=0) + eps), r"divide by G - 1"),
        (advantage(lambda r, eps: std(r)), "eps is missing"),
        (advantage(lambda r, eps: (r.var(1, keepdim=True) + eps).sqrt()), "eps stands within the root"),
        (advantage(lambda r, eps: std(r).clamp(min=eps)), "eps is a floor"),
        (advantage(lambda r, eps: r.var(1, keepdim=True) + eps), "divided by the variance"),
        (advantage(lambda r, eps: 1.0), "without the std"),
        (lambda r, eps=1e-4: centred(r) * r.shape[1] / (r.shape[1] - 1), "RLOO"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r.T, eps).T, "answers of different prompts are compared"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](-r, eps), "the sign"),
        (lambda r, eps=1e-4: r / (std(r) + eps), "the mean is not subtracted"),
        (advantage(lambda r, eps: std(r) + eps), r"of seven equal rewards .* the mean of equal numbers is rounded"),
        (in_place_advantage, "changes the tensor that it is given"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r, 0.1), r"for \(3, 4\) others and eps 0\.5 it gave"),
        (lambda r, eps=0.1: REFERENCE["6.1"](r, eps), "its default is 1e-4"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r, eps).double(), "it returns float64 for float32 rewards"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r, eps).clamp(-1, 1), r"right, but clamped to -1\.0 \.\.\. 1\.0"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r, eps).clamp(-1.5, 1.5), r"31\.9, .* it gave 1\.5 and -1\.5: clamped"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r, eps).clamp(min=-10), r"31\.9, .* it gave 31\.9 and -10\.0: clamped"),
        (zero_below(1e-3), r"two groups whose std is 5e-04 .* without a threshold"),
        (zero_below(2e-6), r"two groups whose std is 5e-04 .* without a threshold"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r, eps).tanh(), "for three prompts with four answers"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r, eps)[:1], "2 of 3 prompts are left out; each keeps its row"),
        (without_equal_rewards, "64 of 64 prompts are left out; each keeps its row"),
        (lambda r, eps=1e-4: REFERENCE["6.1"](r, eps)[:, 1:], r"advantages of shape \(3, 3\) came back for rewards of shape \(3, 4\)"),
    ],
    "6.2": [
        (lambda ids, start, end: ids != end, "two things: the prompt is counted .* the end mark is masked"),
        (lambda ids, start, end: behind(ids, start) & (ids != end), "the end mark is masked: pad and end mark are one id"),
        (
            lambda ids, start, end: behind(ids, start) & up_to_the_end((ids == end) & behind(ids, start), False),
            "the end mark is masked",
        ),
        (lambda ids, start, end: behind(ids, start).expand(ids.shape), "tokens behind the end mark are counted"),
        (lambda ids, start, end: behind(ids, start) & up_to_the_end(ids == end), "the prompt has an end mark of its own"),
        (lambda ids, start, end: up_to_the_end((ids == end) & behind(ids, start)), "the prompt is counted too"),
        (lambda ids, start, end: REFERENCE["6.2"](ids, start, end) | (torch.arange(ids.shape[1]) == start - 1), "one token early"),
        (lambda ids, start, end: REFERENCE["6.2"](ids, start, end) & behind(ids, start + 1), "one token late: position start"),
        (with_one_more, "it ends one token late"),
        (by_argmax, "where no end mark comes argmax gives 0"),
        (lambda ids, start, end: REFERENCE["6.2"](ids, start, end).sum(1), "its length; a mask has the shape"),
        (lambda ids, start, end: ~REFERENCE["6.2"](ids, start, end), "inverted"),
        (lambda ids, start, end: REFERENCE["6.2"](ids, 4, end), r"a prompt of 1 and the end mark 2 it gave"),
        (lambda ids, start, end: REFERENCE["6.2"](ids, start, 2), r"and the end mark 7 it gave"),
        (lambda ids, start, end: REFERENCE["6.2"](ids, start, end).float(), "it returns float32; a mask is torch.bool"),
        (lambda ids, start, end: REFERENCE["6.2"](ids, start, end).tolist(), "a list came back"),
        (lambda ids, start, end: REFERENCE["6.2"](ids.sub_(1), start, end - 1), "changes the tensor that it is given"),
    ],
    "6.3": [
        (kl_of(upside_down), "it is upside down"),
        (kl_of(upside_down, average), "two things: it is upside down.* the tokens are averaged"),
        (kl_of(k3, average), "the tokens are averaged"),
        (kl_of(k3, lambda values, mask: values.mean(-1)), "the tokens are averaged.*over the padding as well"),
        (lambda new, ref, mask: k3(new - ref).sum(-1), "tokens behind the end are counted"),
        (lambda new, ref, mask: k3(new - ref).mean(-1), "two things: the tokens are averaged"),
        (kl_of(lambda u: u), "that is k1"),
        (kl_of(lambda u: u.square() / 2), "that is k2"),
        (kl_of(lambda u: u, lambda u, mask: k3(u.sum(-1))), "k3 of the whole answer"),
        (kl_of(k3, lambda values, mask: values), "one number for each token"),
        (kl_of(k3, lambda values, mask: values.sum()), "one number came back"),
        (kl_of(lambda u: -k3(u)), "the sign: k3 is never negative"),
        (lambda new, ref, mask: (k3(new - ref.detach()) * mask).sum(-1), r"with -inf behind the end .* 0 \* inf is nan"),
        (lambda new, ref, mask: k3(new - ref.detach()).where(mask, 0.0).sum(-1), "gradient with respect to logprobs is .*nan"),
        (kl_of(lambda u: torch.exp(-u) - 1 + u), "near the reference.* torch.expm1 keeps them"),
        (kl_of(lambda u: k3(u.clamp(-5, 5))), "far from the reference, .* it gave 142, 142, 4.01, not .* a clamp"),
        (kl_of(lambda u: k3(u.clamp(min=-30))), "far from the reference, .* a clamp"),
        (kl_of(lambda u: k3(u.clamp(max=20))), "far from the reference, .* a clamp"),
        (kl_of(lambda u: k3(u).clamp(max=10)), "far from the reference, .* it gave 10, 10, 10, not"),
        (lambda new, ref, mask: k3((new - ref).where(mask, 0.0)).sum(-1), "a gradient flows into ref_logprobs too"),
        (kl_of(lambda u: k3(u).detach()), "it has lost its gradient with respect to logprobs"),
        (lambda new, ref, mask: REFERENCE["6.3"](new, ref, mask).double(), "it returns float64 for float32"),
    ],
    "6.4": [
        (loss_of(lambda ratio, A, clip: torch.maximum(ratio * A, ratio.clamp(1 - clip, 1 + clip) * A)), "max for min: the better one"),
        (loss_of(better_one_where_negative), "max for min where the advantage is negative"),
        (loss_of(lambda ratio, A, clip: ratio * A), "the clip is missing"),
        (loss_of(lambda ratio, A, clip: ratio.clamp(1 - clip, 1 + clip) * A), "only the clipped term"),
        (loss_of(lambda ratio, A, clip: ratio.log() * A), "that is the log-ratio"),
        (loss_of(lambda ratio, A, clip: -clipped(ratio, A, clip)), "a minus is missing"),
        (loss_of(lambda ratio, A, clip: clipped(1 / ratio, A, clip)), "the ratio is upside down"),
        (loss_of(clipped, lambda values, mask: (values * mask).mean()), "the padding counts in the denominator"),
        (loss_of(clipped, lambda values, mask: (values * mask).sum()), "that is the sum"),
        (loss_of(clipped, lambda values, mask: average(values * mask, mask).mean()), "each answer is averaged first"),
        (loss_of(clipped, lambda values, mask: ((values * mask).sum((1, 2)) / mask.sum((1, 2))).mean()), "each prompt is averaged first"),
        (loss_of(clipped, lambda values, mask: (values * mask).sum(-1).mean()), "added up"),
        (loss_of(clipped, lambda values, mask: values * mask), "one loss for each token"),
        (lambda new, old, A, mask, ref=None, beta=0.0, clip=0.2: -clipped((new - old).exp(), A[..., None], clip).mean(), "tokens behind the end are counted too"),
        (lambda new, old, A, mask, ref=None, beta=0.0, clip=0.2: -over_tokens(A[..., None] * new, mask), "that is REINFORCE"),
        (with_arguments(lambda new, old, A, mask, ref: (new, new.detach(), A, mask, ref)), "the ratio is to the policy itself and always 1"),
        (with_arguments(lambda new, old, A, mask, ref: (new, old - 1.0, A, mask, ref)), "without KL term, it gave"),
        (advantages_across, "spread over the wrong dimension"),
        (lambda new, old, A, mask, ref=None, beta=0.0, clip=0.2: REFERENCE["6.4"](new, old, A, mask, ref, beta), "for 0.5 it gave"),
        (mask_by_product, r"with -inf behind the ends it gave nan"),
        (lambda new, old, A, mask, ref=None, beta=0.0, clip=0.2: REFERENCE["6.4"](new, old, A, mask, None, 0.0, clip), "the KL term is missing"),
        (loss_of(clipped, kl=lambda u: -k3(u)), "it pays for leaving the reference"),
        (loss_of(clipped, kl=lambda u: u), "the KL term is k1: as a loss its gradient is 0"),
        (loss_of(clipped, kl=lambda u: u.square() / 2), "the KL term is k2"),
        (loss_of(clipped, kl=upside_down), "k3 is upside down"),
        (loss_of(clipped, kl=lambda u: 2 * k3(u)), "beta is missing"),
        (letting_gradients_in, "a gradient flows into old_logprobs and advantages and ref_logprobs too"),
        (lambda *given: REFERENCE["6.4"](*given).item(), "a float has no gradient"),
        (lambda *given: REFERENCE["6.4"](*given)[None], r"in a tensor of shape \(1,\)"),
        (lambda *given: REFERENCE["6.4"](*given).double(), "it returns float64 for float32"),
        (loss_of(lambda ratio, A, clip: clipped(ratio.detach(), A, clip)), "lost its gradient with respect to logprobs"),
    ],
    "6.5": [
        (penalty(lambda u, mask: -u.sum(-1)), "the sign: it pays"),
        (penalty(average), "averaged over the tokens"),
        (penalty(lambda u, mask: u.mean(-1)), "over the padding as well"),
        (lambda r, new, ref, mask, beta: r - beta * (new - ref).sum(-1), "behind the end are counted"),
        (penalty(lambda u, mask: k3(u).sum(-1)), "that is k3"),
        (penalty(lambda u, mask: u.square().sum(-1) / 2), "that is k2"),
        (penalty(lambda u, mask: u.sum(-1).abs()), "without abs"),
        (penalty(lambda u, mask: u.sum(-1).clamp(min=0)), "without clamp|it gave"),
        (penalty(lambda u, mask: u.sum(-1).mean()), "the same for all answers"),
        (lambda r, new, ref, mask, beta: REFERENCE["6.5"](r, new, ref, mask, 1.0), "beta is missing"),
        (lambda r, new, ref, mask, beta: REFERENCE["6.5"](r, new, ref, mask, 1 / max(beta, 1e-9)), "beta divides"),
        (lambda r, new, ref, mask, beta: r[..., None] - beta * (new - ref).where(mask, 0.0), "one number for each token"),
        (lambda r, new, ref, mask, beta: r - beta * (new - ref).where(mask, 0.0).sum(-1), "a gradient flows through"),
        (lambda r, new, ref, mask, beta: r - beta * ((new - ref).detach() * mask).sum(-1), "with -inf behind the end"),
        (lambda r, new, ref, mask, beta: REFERENCE["6.5"](r, new, ref, mask, 0.5), "beta 0.0 it gave"),
        (lambda r, new, ref, mask, beta: r.sub_(beta * (new - ref).where(mask, 0.0).sum(-1)), "changes the tensor"),
    ],
}  # fmt: skip

RIGHT = {
    "6.1": [
        lambda r, eps=1e-4: group_advantages(r, eps=eps),
        zero_below(1e-9),
        lambda r, eps=1e-4: (centred(r.double()) / (std(r.double()) + eps)).to(r.dtype),
        lambda r, eps=1e-4: torch.stack([(a := row - row[0]).sub(a.mean()) / (a.std() + eps) for row in r]),
    ],
    "6.2": [row_by_row],
    "6.3": [
        kl_of(k3),
        lambda new, ref, mask: k3((new - ref.detach()).masked_fill(~mask, 0.0)).sum(2),
        lambda new, ref, mask: (torch.expm1(-(u := torch.where(mask, new - ref.detach(), 0.0))) + u).sum(-1),
    ],
    "6.4": [grpo_loss, loss_of(clipped), loss_of(clip_by_hand), loss_of(clipped, lambda values, mask: values[mask].mean())],
    "6.5": [rewards_less_kl, penalty(lambda u, mask: u.sum(-1))],
}  # fmt: skip
