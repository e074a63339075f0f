"""Exercise 6.4: GRPO's loss, with ratio, clip and KL term."""

from math import inf

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import constant_mistake, dtype_mistake, gradient_mistake

OLD = torch.tensor([[[-1.0, -0.75, -2.0], [-0.5, -3.0, -0.3]], [[-1.25, -0.2, -0.9], [-2.0, -0.4, -1.5]]])  # (2, 2, 3)
LOG_RATIO = torch.tensor([[[0.4, -0.5, 0.1], [0.35, -0.6, 1.0]], [[-0.1, 0.5, -2.0], [0.45, -0.3, 0.05]]])
NEW = OLD + LOG_RATIO  # under pi, some steps after sampling
REF = OLD - torch.tensor([[[0.2, -0.3, 0.5], [0.1, 0.6, 2.0]], [[-0.4, 0.3, 1.0], [0.7, -0.2, 0.25]]])
ADVANTAGES = torch.tensor([[1.5, -0.8], [-1.1, 0.6]])
MASK = torch.tensor(
    [[[True, True, True], [True, True, False]], [[True, True, False], [True, True, False]]]
)  # 5 and 4 tokens


def clipped_loss(logprobs, old_logprobs, advantages, mask, ref_logprobs=None, beta=0.0, clip=0.2):
    """GRPO's loss: log-probabilities and mask (P, G, L), advantages (P, G) -> a scalar."""
    log_ratio = (logprobs - old_logprobs.detach()).where(mask, 0.0)  # (P, G, L)
    ratio, A = log_ratio.exp(), advantages.detach()[..., None]  # (P, G, L), (P, G, 1)
    gain = torch.minimum(ratio * A, ratio.clamp(1 - clip, 1 + clip) * A)  # the worse one
    if beta:
        u = (logprobs - ref_logprobs.detach()).where(mask, 0.0)
        gain = gain - beta * (torch.expm1(-u) + u)  # k3
    return -(gain * mask).sum() / mask.sum()


def clipped_loss_mistake(function):
    given = NEW, OLD, ADVANTAGES, MASK
    got = tried(function, *given)
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} has no gradient; return the scalar tensor, without .item() or NumPy"
    if mistake := named(got, _wrong_losses(*given)):
        return mistake
    if not same(got, right := clipped_loss(*given)):
        return f"for two prompts with two answers, without KL term, it gave {shown(got)}, not {shown(right)}"
    return (
        _other_sizes_mistake(function)
        or _kl_mistake(function)
        or _gradient_mistake(function)
        or dtype_mistake(function, (*given, REF, 0.5), "log-probabilities")
    )


def _wrong_losses(new, old, advantages, mask, clip=0.2, ref=REF):
    A, written = advantages[..., None], mask.sum()
    over = lambda new, old, worse=torch.minimum: (  # noqa: E731
        -worse((new - old).exp() * A, (new - old).exp().clamp(1 - clip, 1 + clip) * A)
    )
    right, ratio = over(new, old) * mask, (new - old).exp()
    for_negative = torch.where(A < 0, over(new, old, torch.maximum), right) * mask
    everywhere = over(new, old)
    mean = lambda loss: (loss * mask).sum() / written  # noqa: E731
    return [
        (mean(over(new, old, torch.maximum)), "max for min: the better one of the two is taken, so what has gone too far is pushed on"),
        (mean(for_negative), "max for min where the advantage is negative: a ratio of 2 gets no push back, and one of 0.5 is pushed on"),
        (mean(-ratio * A), "the clip is missing: the ratio can be driven as far as one likes on the same answers"),
        (mean(-ratio.clamp(1 - clip, 1 + clip) * A), "only the clipped term is there: an answer that has gone the wrong way gets no gradient back; the worse one "
         "of both, torch.minimum"),
        (mean(over(new, ref)), "the ratio is to the reference; it is to the policy that has sampled, old_logprobs"),
        (mean(over(new, new)), "the ratio is to the policy itself and always 1: the clip never acts; old_logprobs are those of the sampling"),
        (mean(over(old, new)), "the ratio is upside down: pi / pi_old"),
        (mean(-(new - old) * A), "that is the log-ratio; the surrogate has the ratio, exp of it"),
        (mean(-new * A), "that is REINFORCE on the log-probabilities: no ratio, no clip"),
        (everywhere.mean(), "the tokens behind the end are counted too: a short answer would learn from padding"),
        (everywhere.sum() / written, "the tokens behind the end are counted in the sum: multiply by the mask, or index with it"),
        (right.mean(), "the padding counts in the denominator: divide by the number of written tokens, mask.sum()"),
        ((right.sum(-1) / mask.sum(-1)).mean(), "each answer is averaged first, so a token of a long answer counts less; asked is the mean over all written tokens"),
        ((right.sum((1, 2)) / mask.sum((1, 2))).mean(), "each prompt is averaged first, so a token of a prompt with long answers counts less; asked is the "
         "mean over all written tokens of the batch"),
        (right.sum(-1).mean(), "the tokens of an answer are added up; asked is the mean over all written tokens"),
        (right.sum(), "that is the sum; the mean does not depend on how many answers there are"),
        (-mean(over(new, old)), "a minus is missing: the gain is to be raised, and an optimizer lowers its loss"),
        (mean(right)[None], "the number is right, in a tensor of shape (1,); a loss is a scalar tensor, of shape ()"),
        (right, "one loss for each token came back; the loss is their mean"),
    ]  # fmt: skip


def _other_sizes_mistake(function):
    new, old = torch.linspace(-2, -0.1, 27).view(3, 3, 3), torch.linspace(-0.3, -1.7, 27).view(3, 3, 3)
    advantages = torch.tensor([[1.0, -0.5, 0.3], [-1.2, 0.8, 0.1], [0.4, 0.9, -1.3]])
    given = new, old, advantages, torch.ones(3, 3, 3, dtype=torch.bool)
    across = torch.minimum((new - old).exp() * advantages, (new - old).exp().clamp(0.8, 1.2) * advantages)
    if same(got := tried(function, *given), -across.mean()):
        return "the advantages are spread over the wrong dimension: all tokens of an answer have its advantage, advantages[..., None]"
    if not same(got, right := clipped_loss(*given)):
        return f"right for (2, 2, 3) log-probabilities; for (3, 3, 3) others it gave {shown(got)}, not {shown(right)}"
    given = NEW, OLD, ADVANTAGES, MASK, None, 0.0, 0.5
    if not same(got := tried(function, *given), right := clipped_loss(*given)):
        return f"right for a clip of 0.2; for 0.5 it gave {shown(got)}, not {shown(right)}"
    junk = torch.full_like(NEW, -inf)
    got = tried(function, NEW.where(MASK, junk), OLD.where(MASK, junk), ADVANTAGES, MASK)
    if not same(got, right := clipped_loss(NEW, OLD, ADVANTAGES, MASK)):
        return f"with -inf behind the ends it gave {shown(got)}, not {shown(right)}: 0 * nan is nan; put (...).where(mask, 0.0) before exp"
    return None


def _kl_mistake(function):
    given, beta = (NEW, OLD, ADVANTAGES, MASK), 0.5
    got, without = tried(function, *given, REF, beta), clipped_loss(*given)
    u = (NEW - REF).where(MASK, 0.0)
    mean = lambda values: without + beta * values.sum() / MASK.sum()  # noqa: E731
    k3 = torch.expm1(-u) + u
    wrong = [
        (without, "with beta 0.5 and a reference the loss is the same: the KL term is missing"),
        (mean(-k3), "the sign of the KL term: it pays for leaving the reference; the loss rises with the KL"),
        (mean(u), "the KL term is k1: as a loss its gradient is 0 on average, so it holds nothing; k3"),
        (mean(-u), "the KL term is k1 with the wrong sign; k3 = r - 1 - log r with r = ref / pi"),
        (mean(u.square() / 2), "the KL term is k2; asked is k3 = r - 1 - log r with r = ref / pi"),
        (mean(torch.expm1(u) - u), "k3 is upside down: r is ref / pi; with pi / ref it estimates chi^2 - KL"),
        (mean(2 * k3), "beta is missing: with beta 0.5 the KL term counts fully"),
        (mean(torch.expm1(OLD - NEW) + NEW - OLD), "the KL term is to the sampler; it is to the reference"),
        (without + beta * k3.mean(), "the KL term is averaged over the padding too; over written tokens, like the gain"),
        (without + beta * k3.sum(-1).mean(), "the KL term is added up over an answer; here it is averaged over all tokens, like the gain"),
    ]  # fmt: skip
    if mistake := named(got, wrong):
        return mistake
    if not same(got, right := clipped_loss(*given, REF, beta)):
        return f"right without KL term; with beta 0.5 it gave {shown(got)}, not {shown(right)}"
    return None


def _gradient_mistake(function):
    A, ratio, u = ADVANTAGES[..., None], (NEW - OLD).exp(), NEW - REF
    stopped = ((A > 0) & (ratio > 1.2)) | ((A < 0) & (ratio < 0.8))  # the corners in which the clip is the worse one
    push = (A * ratio).where(MASK & ~stopped, 0.0)
    on_policy = OLD, OLD, ADVANTAGES, MASK
    for arguments, gain in (
        ((NEW, OLD, ADVANTAGES, MASK), push),
        ((NEW, OLD, ADVANTAGES, MASK, REF, 0.5), push - 0.5 * (1 - (-u).exp()).where(MASK, 0.0)),
        (on_policy, A.expand(2, 2, 3).where(MASK, 0.0)),
    ):
        if mistake := gradient_mistake(function, arguments, {"logprobs": -gain / MASK.sum()}):
            return mistake
    constants = {"old_logprobs": 1, "advantages": 2, "ref_logprobs": 4}
    return constant_mistake(function, (NEW, OLD, ADVANTAGES, MASK, REF, 0.5), constants)


EXERCISES = {
    "6.4": Exercise(
        clipped_loss,
        hints=(
            "ratio = exp(logprobs - old_logprobs), token by token; A = advantages[..., None], one for all tokens.",
            "torch.minimum(ratio * A, ratio.clamp(1 - clip, 1 + clip) * A) is the gain; the loss is minus its mean over mask.",
            "With beta: take beta times k3 of every token (exercise 6.3) off the gain before the mean.",
        ),
        mistake=clipped_loss_mistake,
    )
}
