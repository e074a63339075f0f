"""What several exercises ask of a loss besides its value: extreme margins, its gradient, its dtype."""

import torch

from rmtutorial.lesson.exercises.exercise import same, shown, tried

FAR = (-90.0, -200.0, 90.0, 200.0)  # sigmoid(-90) is nearly, sigmoid(-200) is quite 0 in float32


def far_out_mistake(loss_of_one_pair):
    """What is wrong with a Bradley-Terry loss at extreme margins, or None; the argument: margin -> loss, a scalar."""
    got = [float(loss_of_one_pair(margin)) + 0.0 for margin in FAR]  # -0.0 + 0.0 is 0.0
    if same(got, [max(0.0, -margin) for margin in FAR], 1e-3):
        return None
    values = ", ".join(f"at {margin:.0f} {value:.2f}" for margin, value in zip(FAR[1:], got[1:]))
    return (
        f"it is wrong far out: at a margin of -90 it gives {got[0]:.2f}, {values}, not 90, 200, 0 and 0; "
        "log(sigmoid(x)) needs the stable form, and a clamp stops the worst pairs from learning"
    )


def gradient_mistake(function, arguments, expected):
    """What is wrong with the gradients of a loss, or None.

    Args: the arguments, those that learn first; the gradients that these should have, name -> tensor.
    """
    learned = [x.clone().requires_grad_() for x in arguments[: len(expected)]]
    loss = tried(function, *learned, *arguments[len(expected) :])
    tracked = isinstance(loss, torch.Tensor) and loss.requires_grad
    gradients = torch.autograd.grad(loss, learned, allow_unused=True) if tracked else [None] * len(learned)
    if cut := [name for name, gradient in zip(expected, gradients) if gradient is None]:
        return (
            f"the number is right, but it has lost its gradient with respect to {' and '.join(cut)}, so nothing there "
            "could learn: a gradient is cut off by .item(), .detach(), NumPy and no_grad"
        )
    for (name, right), gradient in zip(expected.items(), gradients):
        if not same(gradient, right):
            return (
                f"the number is right, but its gradient with respect to {name} is {shown(gradient)}, not "
                f"{shown(right)}; beware of where, whose other branch can still give nan, of detach, and of clamp and relu, whose slope at 0 is wrong"
            )
    return None


def dtype_mistake(function, arguments, what):
    """What is wrong with the dtype of the answer, or None: float32 in, float32 out, and the same for float64."""
    for dtype in (torch.float32, torch.float64):
        got = tried(
            function, *(x.to(dtype) if torch.is_tensor(x) and x.is_floating_point() else x for x in arguments)
        ).dtype
        if got != dtype:
            kinds = [str(kind).removeprefix("torch.") for kind in (got, dtype)]
            return f"it returns {kinds[0]} for {kinds[1]} {what}; keep the type that comes in"
    return None


def constant_mistake(function, arguments, constants):
    """What is wrong if arguments that are constants get a gradient, or None.

    Args: arguments, the first of which learns; constants, {name: place among the arguments}.
    """
    tracked = {0, *constants.values()}
    given = [x.clone().requires_grad_() if i in tracked else x for i, x in enumerate(arguments)]
    loss = tried(function, *given)
    names, places = constants.keys(), constants.values()
    gradients = torch.autograd.grad(loss, [given[i] for i in places], allow_unused=True)
    if pulled := [name for name, gradient in zip(names, gradients) if gradient is not None and gradient.any()]:
        return (
            f"the number is right, but a gradient flows into {' and '.join(pulled)} too, which {'is a constant' if len(pulled) == 1 else 'are constants'} here: "
            ".detach() it before use"
        )
    return None
