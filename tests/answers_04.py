"""Answers to the exercises of notebook 04: wrong ones with what must be said of them, and other ways to be right."""

import torch
import torch.nn.functional as F

from rmtutorial.lesson.exercises import all_exercises
from rmtutorial.lesson.tabular import best_policy
from rmtutorial.losses import bradley_terry_loss, cdpo_loss, dpo_loss, rdpo_loss

REFERENCE = {key: exercise.reference for key, exercise in all_exercises().items() if key.startswith("4.")}


def naive_dpo(pc, pr, rc, rr, beta):
    return -torch.log(torch.sigmoid(beta * (pc - rc - pr + rr))).mean()


def dpo_of(margin):
    """DPO's loss of another margin: (pc, pr, rc, rr, beta) -> margins (B,)."""
    return lambda *arguments: -F.logsigmoid(margin(*arguments)).mean()


def rm_only(loss):
    if loss == "RM":
        return {"embeddings", "blocks", "reward head"}
    return None


def dpo_only(loss):
    if loss == "DPO":
        return {"embeddings", "blocks", "LM head"}
    return None


def right_for_rm(*dpo):
    return lambda loss: {"embeddings", "blocks", "reward head"} if loss == "RM" else set(dpo)


def zeroing_the_argument(logprobs, n):
    logprobs[: n - 1] = 0
    return logprobs.sum()


def share(weights):
    return weights / weights.sum()


def weighing(weights):
    """Exercise 4.1 with other weights of (reference, reward, beta), divided by their sum."""
    return lambda reference, reward, beta: share(weights(reference, reward, beta))


def scaling_in_place(reference, reward, beta):
    reward /= beta
    return share(reference * reward.exp())


def softplus_pair(m):
    return F.softplus(-m), F.softplus(m)  # l(m), l(-m)


def noisy(combine):
    """Exercise 4.4 with another combination of l(m), l(-m) and e, averaged."""
    return lambda margins, flipped: combine(*softplus_pair(margins), flipped).mean()


def robust(right, wrong, e):
    return ((1 - e) * right - e * wrong) / (1 - 2 * e)


def unstable(margins, flipped):
    right, wrong = -torch.log(torch.sigmoid(margins)), -torch.log(torch.sigmoid(-margins))
    return robust(right, wrong, flipped).mean()


def labels_flipped_at_random(margins, flipped):
    return F.softplus(torch.where(torch.rand(len(margins)) < flipped, margins, -margins)).mean()


def as_log_probabilities(loss):
    """A loss of four log-probabilities as one of margins."""

    def of_margins(margins, flipped):
        zero = torch.zeros_like(margins)
        return loss(margins, zero, zero, zero, beta=1.0, flipped=flipped)

    return of_margins


WRONG = {
    "4.1": [
        (lambda ref, r, beta: ref * (r / beta).exp(), "they do not sum to 1: divide by Z"),
        (lambda ref, r, beta: (r / beta).softmax(0), "the reference is missing"),
        (lambda ref, r, beta: ref, "that is the reference itself"),
        (weighing(lambda ref, r, beta: ref * (r * beta).exp()), "beta multiplies the reward; it divides"),
        (weighing(lambda ref, r, beta: ref * r.exp()), "beta is missing"),
        (weighing(lambda ref, r, beta: ref * (-r / beta).exp()), "the sign"),
        (lambda ref, r, beta: ref * (r / beta).exp() / (r / beta).exp().sum(), "the reference included; then pi"),
        (lambda ref, r, beta: ref * (r / beta).exp() / (ref * (r / beta).exp()).mean(), "Z is a sum, not a mean"),
        (lambda ref, r, beta: (ref + r / beta).softmax(0), "the log of the reference"),
        (lambda ref, r, beta: ((ref.log() + r) / beta).softmax(0), "beta divides the reward alone"),
        (lambda ref, r, beta: (ref * (r / beta).exp()).softmax(0), "exponentiated twice"),
        (weighing(lambda ref, r, beta: ref + (r / beta).exp()), "not added"),
        (lambda ref, r, beta: F.one_hot(r.argmax(), len(r)).float(), "all of it on the best answer"),
        (lambda ref, r, beta: best_policy(ref, r, beta).log(), "those are log-probabilities"),
        (lambda ref, r, beta: best_policy(ref, r, beta)[None], r"the shape is \(1, 3\)"),
        (weighing(lambda ref, r, beta: ref * (r / beta).exp()), r"for rewards of 100, 99, -100 .* it gave .*nan"),
        (lambda ref, r, beta: best_policy(ref, r, 0.5), r"for 3 answers and beta 2.0 it gave"),
        (weighing(lambda ref, r, beta: ref * (r - r.mean()).div(beta).exp()), "softmax subtracts the largest exponent"),
        (lambda ref, r, beta: best_policy(ref, r.detach(), beta), "lost its gradient with respect to reward"),
        (lambda ref, r, beta: best_policy(ref, r, beta).double(), "it returns float64 for float32 numbers"),
        (scaling_in_place, "changes the tensor that it is given"),
    ],
    "4.2": [
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * pc, beta * pr), "reference is missing"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(pc - rc, pr - rr), "beta is missing"),
        (lambda pc, pr, rc, rr, beta: beta * bradley_terry_loss(pc - rc, pr - rr), "in front of the loss"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * (pc - rr), beta * (pr - rc)), "are crossed"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss((pc - rc) / beta, (pr - rr) / beta), "divides by it"),
        (lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * (rc - pc), beta * (rr - pr)), "are exchanged"),
        (
            lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * pc / rc, beta * pr / rr),
            r"margins of \[0.5, -1.5\]",
        ),
        (
            lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * (pc - rc), beta * (pr - rr)).item(),
            "gradient is cut",
        ),
        (
            lambda pc, pr, rc, rr, beta: bradley_terry_loss(beta * (pc.detach() - rc), beta * (pr - rr)),
            "is cut off",
        ),
        (lambda pc, pr, rc, rr, beta: -F.logsigmoid(beta * (pc - rc - pr + rr)), "mean over its pairs"),
        (lambda pc, pr, rc, rr, beta: F.logsigmoid(beta * (pc - rc - pr + rr)).mean(), "a minus is missing"),
        (dpo_of(lambda pc, pr, rc, rr, beta: 0.5 * (pc - rc - pr + rr)), "2 pairs and beta 0.1 it gave"),
        (
            lambda pc, pr, rc, rr, beta: F.softplus(-beta * (pc - rc - pr + rr)).sum() / 2,
            "3 pairs and beta 0.5 it gave",
        ),
        (
            naive_dpo,
            r"it is wrong far out: at a margin of -90 .* at -200 inf.* log\(sigmoid\(x\)\) needs the stable",
        ),
        (
            dpo_of(lambda pc, pr, rc, rr, beta: (beta * (pc - rc - pr + rr)).clamp(min=-100)),
            r"far out.* at -200 100\.00",
        ),
        (
            dpo_of(lambda pc, pr, rc, rr, beta: beta * ((pc + rc) - (pr + rr))),
            "the reference has the wrong sign: it is added",
        ),
        (dpo_of(lambda pc, pr, rc, rr, beta: beta * (pc - pr) - (rc - rr)), "the whole log-ratio"),
        (lambda pc, pr, rc, rr, beta: F.logsigmoid(-beta * (pc - rc - pr + rr)).mean(), "two things: the sign"),
        (lambda *given: dpo_loss(*given)[None], r"in a tensor of shape \(1,\)"),
        (lambda *given: dpo_loss(*given).double(), "it returns float64 for float32 log-probabilities"),
        (
            lambda pc, pr, *rest: dpo_loss(pc, pr.detach(), *rest),
            "gradient with respect to policy_rejected, so nothing",
        ),
        (lambda pc, pr, rc, rr, beta: dpo_loss(pc.sub_(0), pr.add_(1), rc, rr + 1, beta), "changes the tensor"),
    ],
    "4.3": [
        (lambda loss: {"embeddings", "blocks", "LM head", "reference"}, "reference is frozen"),
        (lambda loss: {"embeddings", "blocks", "LM head"}, "computes no logits"),
        (lambda loss: {"embeddings", "blocks", "reward head"}, "DPO has no reward head"),
        (lambda loss: {"reward head"} if loss == "RM" else {"blocks"}, "flows on into the backbone"),
        (
            lambda loss: {"blocks", "reward head"} if loss == "RM" else {"blocks", "LM head"},
            "enters at the LM head",
        ),
        (lambda loss: {"head"}, "is no part"),
        (right_for_rm("embeddings", "blocks", "lm head"), r"\['lm head'\] is no part; choose from .*'LM head'"),
        (right_for_rm("embeddings", "blocks", "LM head", "final norm"), "the final norm is in the blocks"),
        (right_for_rm("blocks", "LM head"), "the same tied matrix, so one of them would do"),
        (right_for_rm("embeddings", "blocks"), "the same tied matrix, so one of them would do"),
        (right_for_rm("embeddings", "LM head"), "for DPO it gave .* a part between the loss and the token ids"),
        (lambda loss: {"blocks", "reward head"} if loss == "RM" else set(), "enters at the LM head"),
        (rm_only, 'the answer for "DPO" is missing'),
        (dpo_only, 'the answer for "RM" is missing'),
        (lambda loss: rm_only(loss) or ..., 'the answer for "DPO" is missing'),
        (lambda loss: "blocks", "it returned the text 'blocks'; return a set"),
    ],
    "4.4": [
        (noisy(lambda right, wrong, e: (1 - e) * right + e * wrong), "that is cDPO"),
        (as_log_probabilities(cdpo_loss), "that is cDPO"),
        (noisy(lambda right, wrong, e: ((1 - e) * right + e * wrong) / (1 - 2 * e)), "is subtracted"),
        (noisy(lambda right, wrong, e: (1 - e) * right - e * wrong), "must be scaled up again"),
        (lambda m, e: (F.softplus(-m) - e * m).mean(), "not e m"),
        (lambda m, e: (F.softplus(-m) + e / (1 - 2 * e) * m).mean(), "the sign of the linear term"),
        (noisy(lambda right, wrong, e: right), "takes every label for right"),
        (noisy(lambda right, wrong, e: wrong), "all labels exchanged"),
        (noisy(lambda right, wrong, e: robust(wrong, right, e)), "m and -m are exchanged"),
        (noisy(lambda right, wrong, e: ((1 - e) * right - e * wrong) / (1 - e)), "the denominator is 1 - 2 e"),
        (noisy(lambda right, wrong, e: ((1 - e) * right - e * wrong) * (1 - 2 * e)), "1 - 2 e divides"),
        (noisy(lambda right, wrong, e: -robust(right, wrong, e)), "a minus too many"),
        (lambda m, e: robust(*softplus_pair(m), e).sum(), "not the sum"),
        (lambda m, e: robust(*softplus_pair(m), e), "the loss of a batch is the mean over its pairs$|mean over its pairs"),
        (lambda m, e: robust(*softplus_pair(m), 0.1).mean(), "for 3 and 0.3 it gave"),
        (unstable, "it is wrong far out"),
        (lambda m, e: REFERENCE["4.4"](m.clamp(-100, 100), e), "it is wrong far out"),
        (lambda m, e: REFERENCE["4.4"](m, e).clamp(min=0), "it is wrong far out"),
        (lambda m, e: REFERENCE["4.4"](m.detach(), e) + 0 * m.sum(), "gradient with respect to margins is"),
        (lambda m, e: REFERENCE["4.4"](m, e).item(), "lost its gradient|keep the type"),
        (lambda m, e: REFERENCE["4.4"](m, e).double(), "it returns float64 for float32 margins"),
        (lambda m, e: REFERENCE["4.4"](m, e)[None], r"in a tensor of shape \(1,\)"),
    ],
    "4.5": [
        (lambda logprobs, n: logprobs.sum(), "prompt's tokens are summed too"),
        (lambda logprobs, n: logprobs[n:].sum(), "one token late"),
        (lambda logprobs, n: logprobs[n - 1 :].mean(), "per token"),
        (lambda logprobs, n: logprobs[: n - 1].sum(), "the answer begins where they end"),
        (lambda logprobs, n: logprobs[n - 2 :].sum(), "one token early"),
        (lambda logprobs, n: logprobs[n - 1 : -1].sum(), "end mark belongs"),
        (lambda logprobs, n: logprobs[n - 1 :], "one number per token"),
        (lambda logprobs, n: logprobs[n:].mean(), "one token late"),
        (lambda logprobs, n: logprobs[-n:].sum(), "counts from the end"),
        (lambda logprobs, n: logprobs[-(n - 1) :].sum(), "not -189"),
        (lambda logprobs, n: -logprobs[n - 1 :].sum(), "not -189"),
        (lambda logprobs, n: logprobs[n + 1 :].sum(), "not -189"),
        (lambda logprobs, n: logprobs[n - 1 :].sum().int(), "if 2 of 8 are"),
        (zeroing_the_argument, "changes the tensor that it is given"),
        (
            lambda logprobs, n: logprobs[2:].sum(),
            "right if 3 of 9 tokens are the prompt; if 5 of 8 are, it gave -93",
        ),
        (lambda logprobs, n: logprobs[-6:].sum(), "right if 3 of 9 tokens are the prompt; if 5 of 8 are"),
        (
            lambda logprobs, n: logprobs[n - 1 :].sum(0, keepdim=True),
            r"it gave \[-189\.0\] of shape \(1,\), not -189",
        ),
    ],
}  # fmt: skip

RIGHT = {
    "4.1": [best_policy, lambda ref, r, beta: share(ref * ((r - r.max()) / beta).exp())],
    "4.2": [
        dpo_loss,
        dpo_of(lambda pc, pr, rc, rr, beta: beta * ((pc - pr) - (rc - rr))),
        lambda pc, pr, rc, rr, beta: F.softplus(beta * ((pr - rr) - (pc - rc))).sum() / len(pc),
    ],
    "4.3": [
        lambda loss: frozenset(REFERENCE["4.3"](loss)),
        lambda loss: sorted(REFERENCE["4.3"](loss)),
    ],
    "4.4": [
        as_log_probabilities(rdpo_loss),
        lambda m, e: F.softplus(-m).mean() - e / (1 - 2 * e) * m.mean(),
        lambda m, e: -((1 - e) * F.logsigmoid(m) - e * F.logsigmoid(-m)).mean() / (1 - 2 * e),
    ],
    "4.5": [
        lambda logprobs, n: sum(logprobs[n - 1 :]),
        lambda logprobs, n: logprobs.sum() - logprobs[: n - 1].sum(),
        lambda logprobs, n: logprobs[torch.arange(len(logprobs)) >= n - 1].sum(),
        lambda logprobs, n: logprobs[n - 1 :].sum().item(),
    ],
}  # fmt: skip
