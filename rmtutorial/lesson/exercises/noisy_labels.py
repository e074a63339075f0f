"""Exercise 4.4: DPO's loss for labels of which a known share is wrong."""

import torch
import torch.nn.functional as F

from rmtutorial.lesson.exercises.exercise import Exercise, as_tensor, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import FAR, dtype_mistake, gradient_mistake

MARGINS = torch.tensor([2.0, -1.0, 0.5])


def robust_loss(margins, flipped):
    """rDPO's loss of margins m (B,): mean ((1 - e) l(m) - e l(-m)) / (1 - 2 e), e = flipped."""
    right, wrong = F.softplus(-margins), F.softplus(margins)  # l(m) and l(-m)
    return (((1 - flipped) * right - flipped * wrong) / (1 - 2 * flipped)).mean()


def robust_loss_mistake(function):
    got = tried(function, MARGINS, 0.1)
    if mistake := named(got, _wrong_losses(MARGINS, 0.1)):
        return mistake
    if not same(got, right := robust_loss(MARGINS, 0.1)):
        return f"for margins of {shown(MARGINS)} and a share of 0.1 it gave {shown(got)}, not {shown(right)}"
    for margins, flipped in ((MARGINS, 0.3), (MARGINS, 0.0), (torch.tensor([-3.0, 4.0, 1.0, 0.0, 0.25]), 0.2)):
        if not same(got := tried(function, margins, flipped), right := robust_loss(margins, flipped)):
            return f"right for 3 margins and a share of 0.1; for {len(margins)} and {flipped} it gave {shown(got)}, not {shown(right)}"
    return (
        _far_out(function)
        or _gradient(function, MARGINS)
        or _gradient(function, torch.tensor(FAR))
        or dtype_mistake(function, (MARGINS, 0.1), "margins")
    )


def _wrong_losses(m, e):
    right, wrong = F.softplus(-m), F.softplus(m)
    robust = ((1 - e) * right - e * wrong) / (1 - 2 * e)
    return [
        (((1 - e) * right + e * wrong).mean(), "that is cDPO, a plus for the minus: the mean under wrong labels is not DPO's loss, and the margin is held"),
        ((((1 - e) * right + e * wrong) / (1 - 2 * e)).mean(), "a plus for the minus: the wrong labels' share is subtracted"),
        (((1 - e) * right - e * wrong).mean(), "1 / (1 - 2 e) is missing: what wrong labels take away must be scaled up again"),
        ((right - e * m).mean(), "the linear term is e / (1 - 2 e) m, not e m: 1 / (1 - 2 e) is missing"),
        ((right + e / (1 - 2 * e) * m).mean(), "the sign of the linear term: l(m) - e / (1 - 2 e) m; with a plus wrong labels weigh twice"),
        (right.mean(), "that is DPO's loss, which takes every label for right"),
        (wrong.mean(), "that is DPO's loss with all labels exchanged"),
        (((1 - e) * right - e * right).mean() / (1 - 2 * e), "both terms have the same margin; an exchanged label has -m"),
        ((((1 - e) * wrong - e * right) / (1 - 2 * e)).mean(), "m and -m are exchanged"),
        ((((1 - e) * right - e * wrong) / (1 - e)).mean(), "the denominator is 1 - 2 e"),
        ((((1 - e) * right - e * wrong) * (1 - 2 * e)).mean(), "1 - 2 e divides; this multiplies"),
        (-robust.mean(), "a minus too many: the loss falls where the margin grows"),
        (robust.sum(), "the loss of a batch is the mean over its pairs, not the sum"),
        (robust, "the loss of a batch is the mean over its pairs"),
        (robust.mean()[None], "the number is right, in a tensor of shape (1,); a loss is a scalar tensor, of shape ()"),
    ]  # fmt: skip


def _far_out(function):
    got = [float(as_tensor(tried(function, torch.tensor([margin]), 0.1))) for margin in FAR]
    right = [robust_loss(torch.tensor([margin]), 0.1).item() for margin in FAR]
    if same(got, right, 1e-3):
        return None
    far = ", ".join(f"at {margin:.0f} {value:.2f} for {best:.2f}" for margin, value, best in zip(FAR, got, right))
    return f"it is wrong far out: {far}; log(sigmoid(x)) needs the stable form, F.logsigmoid, and this loss has no floor: no clamp"


def _gradient(function, margins, e=0.1):
    pull = -(torch.sigmoid(-margins) + e / (1 - 2 * e)) / len(margins)
    return gradient_mistake(function, (margins, e), {"margins": pull})


EXERCISES = {
    "4.4": Exercise(
        robust_loss,
        hints=(
            "l(m) = -logsigmoid(m); a pair with its label exchanged has the margin -m.",
            "If a share e is exchanged, the mean of (1 - e) l(m) - e l(-m) is (1 - 2 e) times the loss of the right labels.",
        ),
        mistake=robust_loss_mistake,
    )
}
