"""Exercise 4.1: the policy that is best under a KL penalty."""

from math import inf

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, as_tensor, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import dtype_mistake, gradient_mistake

REFERENCE = torch.tensor([0.5, 0.3, 0.2])
REWARD = torch.tensor([0.0, 0.5, -1.0])
OTHER = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([-1.5, 0.25, 3.0, 0.0])


def kl_optimum(reference, reward, beta):
    """pi* = pi_ref exp(r / beta) / Z, the probabilities (A,); reference (A,), reward (A,)."""
    return (reference.log() + reward / beta).softmax(dim=0)


def kl_optimum_mistake(function):
    got = tried(function, REFERENCE, REWARD, 0.5)
    if mistake := named(got, _wrong_policies(REFERENCE, REWARD, 0.5)):
        return mistake
    if not same(got, right := kl_optimum(REFERENCE, REWARD, 0.5)):
        return f"for the reference {shown(REFERENCE)}, the rewards {shown(REWARD)} and beta 0.5 it gave {shown(got)}, not {shown(right)}"
    for reference, reward, beta in ((REFERENCE, REWARD, 2.0), (REFERENCE, REWARD, 1.0), (*OTHER, 0.5), (*OTHER, 3.0)):
        if not same(got := tried(function, reference, reward, beta), right := kl_optimum(reference, reward, beta)):
            return f"right for 3 answers and beta 0.5; for {len(reward)} answers and beta {beta} it gave {shown(got)}, not {shown(right)}"
    return _far_out(function) or _gradient(function) or dtype_mistake(function, (REFERENCE, REWARD, 0.5), "numbers")


def _wrong_policies(reference, reward, beta):
    tilt, one_hot = (reward / beta).exp(), torch.nn.functional.one_hot(reward.argmax(), len(reward)).float()
    weights = reference * tilt
    right = weights / weights.sum()
    return [
        (weights, "the weights are right, but they do not sum to 1: divide by Z, their sum"),
        (tilt / tilt.sum(), "the reference is missing: this is the optimum if the reference likes all answers alike"),
        (reference / reference.sum() + 0 * tilt, "that is the reference itself; it is multiplied by exp(r / beta)"),
        (_share(reference * (reward * beta).exp()), "beta multiplies the reward; it divides: a high price of drift keeps pi* near the reference"),
        (_share(reference * reward.exp()), "beta is missing: exp(r / beta)"),
        (_share(reference * (-reward / beta).exp()), "the sign: answers with a high reward become more probable, not less"),
        (weights / tilt.sum(), "Z is the sum of pi_ref exp(r / beta), the reference included; then pi* sums to 1"),
        (weights / weights.mean(), "Z is a sum, not a mean"),
        ((reference + reward / beta).softmax(0), "inside a softmax stands the log of the reference: exp(log pi_ref + r / beta)"),
        (((reference.log() + reward) / beta).softmax(0), "beta divides the reward alone, not log pi_ref"),
        (weights.softmax(0), "the weights are exponentiated twice; divide them by their sum"),
        (_share(reference + tilt), "the reference is multiplied by exp(r / beta), not added"),
        (one_hot, "all of it on the best answer: that is beta = 0, where drift costs nothing"),
        (right.log(), "those are log-probabilities"),
        (right[None], f"the numbers are right, but the shape is (1, {len(right)}); asked is (A,)"),
    ]  # fmt: skip


def _share(weights):
    return weights / weights.sum()


def _far_out(function):
    """What is wrong if r / beta is large, which is an ordinary reward at a small beta."""
    reward = torch.tensor([100.0, 99.0, -100.0])
    got = as_tensor(tried(function, REFERENCE, reward, 0.5))
    right = kl_optimum(REFERENCE, reward, 0.5)
    if same(got, right):
        return None
    return (
        f"right; but for rewards of 100, 99, -100 and beta 0.5 it gave {shown(got)}, not {shown(right)}: e^200 is {inf} in "
        "float32; softmax subtracts the largest exponent first"
    )


def _gradient(function):
    pull = torch.tensor([1.0, -2.0, 0.5])
    policy = kl_optimum(REFERENCE, REWARD, 0.5)
    right = policy * (pull - (pull * policy).sum()) / 0.5  # d pi_i / d r_j = pi_i (1[i = j] - pi_j) / beta
    return gradient_mistake(
        lambda reward: (function(REFERENCE, reward, 0.5) * pull).sum(), (REWARD,), {"reward": right}
    )


EXERCISES = {
    "4.1": Exercise(
        kl_optimum,
        hints=(
            "Weigh each answer by pi_ref exp(r / beta), then divide by the sum of the weights.",
            "exp overflows soon: a softmax of log pi_ref + r / beta is the same, and does not.",
        ),
        mistake=kl_optimum_mistake,
    )
}
