"""Exercises of notebook 03: the Bradley-Terry loss, its gradient by hand, accuracy with ties; the loop, the log clinic."""

import torch
import torch.nn.functional as F

from rmtutorial.lesson.exercises import log_clinic, training_loop
from rmtutorial.lesson.exercises.exercise import Exercise, as_tensor, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import FAR, dtype_mistake, far_out_mistake, gradient_mistake

EXERCISES = {}

THREE = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([0.0, 0.5, 0.0])  # rewards of chosen and rejected: 3 pairs
FIVE = torch.tensor([0.3, -1.2, 4.0, 0.0, -2.5]), torch.tensor([0.1, 0.4, 1.0, -3.0, -2.0])
EXTREME = torch.tensor(FAR), torch.zeros(len(FAR))


def bt_loss(r_chosen, r_rejected):
    """Bradley-Terry loss of rewards (B,) and (B,): a scalar tensor."""
    return -F.logsigmoid(r_chosen - r_rejected).mean()


def bt_loss_mistake(function):
    got = tried(function, *THREE)
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} has no gradient; return the scalar tensor, without .item() or NumPy"
    if mistake := named(got, _wrong_losses(*THREE)):
        return mistake
    if not same(got, right := F.softplus(-_margin(THREE)).mean()):
        return f"for margins 2, 0, -1 it gave {shown(got)}, not {shown(right)}"
    if not same(got := tried(function, *FIVE), right := F.softplus(-_margin(FIVE)).mean()):
        return f"right for three pairs; for five it gave {shown(got)}, not {shown(right)}; divided by B, or by 3?"
    return (
        far_out_mistake(lambda margin: tried(function, torch.tensor([margin]), torch.zeros(1)))
        or _bt_gradient_mistake(function, THREE)
        or _bt_gradient_mistake(function, EXTREME)
        or dtype_mistake(function, THREE, "rewards")
    )


def _margin(rewards):
    return rewards[0] - rewards[1]


def _wrong_losses(chosen, rejected):
    losses, flipped = F.softplus(rejected - chosen), F.softplus(chosen - rejected)  # (B,)
    everybody = F.softplus(rejected - chosen[:, None])  # (B, B)
    return [
        (losses, "one loss for each pair came back; the loss of the batch is their mean"),
        (losses.sum(), "that is the sum; with a mean, the size of a step does not depend on the batch size"),
        (flipped.mean(), "the sign of the margin is flipped: it would teach the model to prefer the rejected answer"),
        (-losses.mean(), "a minus is missing: it is the log-likelihood, and minimizing it makes the model worse"),
        (
            -flipped.mean(),
            "two things: the sign of the margin is flipped, and the minus before the logarithm is missing",
        ),
        (losses.mean()[None], "the number is right, in a tensor of shape (1,); a loss is a scalar tensor, of shape ()"),
        (everybody.mean(), "it compares every chosen answer with every rejected one, B x B, of other prompts too"),
    ]


def _bt_gradient_mistake(function, rewards):
    push = torch.sigmoid(-_margin(rewards)) / len(rewards[0])  # (B,)
    return gradient_mistake(function, rewards, {"r_chosen": -push, "r_rejected": push})


EXERCISES["3.1"] = Exercise(
    bt_loss,
    hints=("The margin is r_chosen - r_rejected.", "F.logsigmoid is the stable form."),
    mistake=bt_loss_mistake,
)


def bt_gradient(r_chosen, r_rejected):
    """Gradient of the loss with respect to the rewards of the chosen answers, a tensor (B,)."""
    return -torch.sigmoid(r_rejected - r_chosen) / len(r_chosen)  # (B,)


def bt_gradient_mistake(function):
    got = tried(function, *THREE)
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} came back; return a tensor (B,), one number for each chosen reward"
    if got.ndim == 0:
        return "one number came back; each chosen reward has a gradient of its own, so return (B,)"
    if mistake := named(got, _wrong_gradients(THREE)):
        return mistake
    if not same(got, right := _autograd(THREE)):
        return f"for margins 2, 0, -1 autograd gives {shown(right)}, it gave {shown(got)}"
    if not same(got := tried(function, *FIVE), right := _autograd(FIVE)):
        return f"right for three pairs; for five it gave {shown(got)}, not {shown(right)}; divided by B, or by 3?"
    if _records_a_graph(function):
        return (
            "it asks autograd, so the cells below would compare autograd with itself; type the formula from your paper"
        )
    if not same(got := tried(function, *EXTREME), right := _autograd(EXTREME)):
        return f"for margins -90, -200, 90, 200 autograd gives {shown(right)}, it gave {shown(got)}"
    return dtype_mistake(function, THREE, "rewards")


def _autograd(rewards):
    chosen = rewards[0].clone().requires_grad_()
    return torch.autograd.grad(F.softplus(rewards[1] - chosen).mean(), chosen)[0]


def _wrong_gradients(rewards):
    sign = "the sign: raising the chosen reward lowers the loss, so this gradient is negative"
    mean = "the loss is a mean over B pairs, so each gradient is divided by B"
    side = "sigma(+margin) is large where the pair is ranked right; the push must be large where it is wrong"
    push, exchanged, B = torch.sigmoid(-_margin(rewards)), torch.sigmoid(_margin(rewards)), len(rewards[0])
    right = -push / B
    return [
        (-right, sign),
        (right * B, mean),
        (-exchanged / B, side),
        (push, f"two things: {sign}; and {mean}"),
        (exchanged / B, f"two things: {sign}; and {side}"),
        (-exchanged, f"two things: {mean}; and {side}"),
        (exchanged, f"three things: {sign}; {mean}; and {side}"),
        (right[:, None], "the numbers are right, in a column of shape (B, 1); return a tensor (B,)"),
        (torch.stack([right, -right]), "the gradients of both rewards came back; asked is that of the chosen, (B,)"),
    ]


def _records_a_graph(function):
    saved = []  # what autograd keeps for a backward pass: a closed form needs none, under enable_grad neither
    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
            function(*THREE)
    except RuntimeError:  # from torch.func, which refuses these hooks; without them the function has just run
        return True
    return bool(saved)


EXERCISES["3.2"] = Exercise(
    bt_gradient,
    hints=("The derivative of -log sigma(d) in d is -sigma(-d).", "The mean over B pairs divides by B."),
    mistake=bt_gradient_mistake,
)


def accuracy_with_ties(r_chosen, r_rejected):
    """Share of pairs ranked right, a float, from rewards (B,) and (B,)."""
    return ((r_chosen > r_rejected).float() + 0.5 * (r_chosen == r_rejected).float()).mean().item()


SEVEN = (  # 5 ranked right, two of them by 0.05 only, 1 tie, 1 wrong: no two mistakes give the same number
    torch.tensor([1.3, 2.05, 0.4, 3.7, 0.9, -1.2, 0.65]),
    torch.tensor([0.0, 2.0, 0.4, 3.2, 0.2, 1.4, 0.6]),
)
TIES = torch.eye(101)[0], torch.zeros(101)  # 100 of them, and one pair ranked right


def accuracy_with_ties_mistake(function):
    got = tried(function, *SEVEN)
    if len({float(as_tensor(tried(function, *TIES)).double().mean()) for _ in range(20)}) > 1:
        return "the same rewards gave different accuracies: ties are broken at random; count one half for each"
    if mistake := named(got, _wrong_accuracies(*SEVEN)):
        return mistake
    if not same(got, 5.5 / 7):
        return f"five right (two by 0.05), one wrong, one tie: it gave {shown(got)}, not 0.7857"
    few = torch.tensor([0.3, -0.2, 0.1]), torch.tensor([0.1, 0.25, 0.05])
    for rewards, right in ((few, 2 / 3), (few[::-1], 1 / 3), (TIES, 51 / 101), ((few[0], few[0]), 0.5)):
        if not same(got := tried(function, *rewards), right):
            return f"right for seven pairs; for {len(rewards[0])} others it gave {shown(got)}, not {right:.4f}"
    return None


def _wrong_accuracies(chosen, rejected):
    ahead, tie, behind = (x.double() for x in (chosen > rejected, chosen == rejected, chosen < rejected))  # (B,)
    everybody = chosen[:, None] - rejected  # (B, B)
    untrained = "an untrained model, all zeros, would measure"
    scale = "that is how many are right; divide by the number of pairs"
    tolerance = "margins of 0.05 count as ties; only equal rewards are a tie, whatever the scale of the rewards"
    order = "the order is reversed: it counts the pairs in which the rejected answer is ahead"
    broadcast = "it compares every chosen answer with every rejected one, B x B, of other prompts too"
    return [
        (ahead.mean(), f"ties count as wrong: {untrained} 0 and not 0.5"),
        ((ahead + tie).mean(), f"ties count as right: {untrained} 1 and not 0.5"),
        (ahead.sum() / (ahead + behind).sum(), f"ties are left out of the count: {untrained} 0 / 0 and not 0.5"),
        (ahead + tie / 2, "one number for each pair came back; the accuracy is their mean"),
        (ahead, "one number for each pair came back; the accuracy is their mean, with one half for a tie"),
        ((ahead + tie / 2).sum(), scale),
        (ahead.sum(), f"two things: ties count as wrong; and {scale}"),
        *((x.mean(), order) for x in (behind + tie / 2, behind, behind + tie)),
        *((x.double().mean(), broadcast) for x in ((everybody.sign() + 1) / 2, everybody > 0, everybody >= 0)),
        (4.5 / 7, tolerance),
        (3 / 7, tolerance),
        *((round(5.5 / 7, digits), "the accuracy is rounded; return it as it is") for digits in (1, 2, 3, 4)),
        (torch.sigmoid(chosen - rejected).mean(), "that is the mean of sigma(margin); a pair is ranked right or not"),
    ]


EXERCISES["3.3"] = Exercise(
    accuracy_with_ties,
    hints=("> gives right, == gives a tie.", "0.5 for each tie."),
    mistake=accuracy_with_ties_mistake,
)

EXERCISES |= training_loop.EXERCISES | log_clinic.EXERCISES
