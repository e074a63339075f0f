"""A loss that knows ties (exercise 2.5): Davidson's model, and what can be wrong with it."""

import torch
import torch.nn.functional as F

from rmtutorial.lesson.exercises.exercise import named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import dtype_mistake, gradient_mistake

FOUR = torch.tensor([1.5, -0.6, 0.4, 2.0]), torch.tensor(0.3), torch.tensor([0, 1, 2, 1])
FIVE = torch.tensor([-2.2, 0.9, 0.0, 3.1, -0.7]), torch.tensor(-1.1), torch.tensor([2, 2, 0, 0, 1])
FAR = torch.tensor([-200.0, -200.0, -200.0, 200.0, 200.0]), torch.tensor(0.0), torch.tensor([0, 1, 2, 2, 1])
FARTHER = 20_000.0  # no clamp that could matter lets it through
RARE = (
    torch.tensor([1.0, 1.0, 1.0]),
    (-200.0, 200.0),
    torch.tensor([2, 0, 1]),
)  # margins, two values of log nu, outcomes


def davidson_loss(margin, log_nu, outcome):
    """Mean of -log P(outcome), a scalar tensor, from margins (B,) and log nu, a scalar tensor.

    outcome (B,) int64: 0 the first answer won, 1 the second, 2 a tie.
    """
    scores = torch.stack([margin / 2, -margin / 2, log_nu.expand(len(margin))], dim=1)  # (B, 3)
    return F.cross_entropy(scores, outcome)


def davidson_loss_mistake(function):
    got = tried(function, *FOUR)
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} has no gradient; return the scalar tensor, without .item() or NumPy"
    if mistake := named(got, _wrong_losses(*FOUR)):
        return mistake
    if not same(got, right := davidson_loss(*FOUR)):
        return f"for margins 1.5, -0.6, 0.4, 2.0 with the outcomes first, second, tie, second and log nu 0.3 it gave {shown(got)}, not {shown(right)}"
    if not same(got := tried(function, *FIVE), right := davidson_loss(*FIVE)):
        return f"right for four pairs and log nu 0.3; for five and log nu -1.1 it gave {shown(got)}, not {shown(right)}"
    far = [tried(function, FAR[0][i : i + 1], FAR[1], FAR[2][i : i + 1]) for i in range(5)]
    if not same(torch.stack([x.detach() for x in far]), [200.0, 0.0, 100.0, 100.0, 200.0], 1e-3):
        return (
            f"at margins of -200 (first, second, tie) and 200 (tie, second) it gave {[round(float(x), 2) for x in far]}, "
            "not 200, 0, 100, 100, 200: exp overflows, and a clamp stops the worst pairs from learning; F.cross_entropy, "
            "log_softmax and logsumexp need none"
        )
    return (
        _clamp_mistake(function)
        or _gradients(function, FOUR)
        or _gradients(function, FIVE)
        or dtype_mistake(function, FOUR, "margins")
    )


def _clamp_mistake(function):
    """What is wrong if margin or log nu is held within bounds: value and gradient beyond them."""
    for log_nu in RARE[1]:
        case = RARE[0], torch.tensor(log_nu), RARE[2]
        if not same(got := tried(function, *case), right := davidson_loss(*case), 1e-3):
            return (
                f"at log nu {log_nu:.0f} with the outcomes tie, first, second it gave {shown(got)}, not {shown(right)}: log nu may "
                "be any number; a clamp stops it from learning how rare, or common, ties are"
            )
        if mistake := _gradients(function, case):
            return f"at log nu {log_nu:.0f}: {mistake}"
    for sign in (-1, 1):
        case = torch.tensor([sign * FARTHER]), torch.tensor(0.0), torch.tensor([(sign + 1) // 2])
        if not same(got := tried(function, *case), FARTHER, 1.0):
            return f"at a margin of {case[0].item():.0f}, against the outcome, it gave {shown(got)}, not {FARTHER:.0f}: a clamp of the margin stops the worst pairs from learning"
    return _gradients(function, FAR)


def _gradients(function, case):
    margin, log_nu, outcome = case
    p = _scores(margin, log_nu).softmax(dim=1)  # (B, 3)
    off = (p - F.one_hot(outcome, 3)) / len(margin)  # of the three scores
    return gradient_mistake(function, case, {"margin": (off[:, 0] - off[:, 1]) / 2, "log_nu": off[:, 2].sum()})


def _scores(margin, log_nu, half=0.5):
    return torch.stack([half * margin, -half * margin, log_nu.expand(len(margin))], dim=1)


def _wrong_losses(margin, log_nu, outcome):
    each = F.cross_entropy(_scores(margin, log_nu), outcome, reduction="none")  # (B,)
    win, tie = F.softplus(torch.where(outcome == 1, margin, -margin)), outcome == 2
    halves = torch.where(tie, (F.softplus(margin) + F.softplus(-margin)) / 2, win)
    exchanged = torch.tensor([1, 0, 2])[outcome]
    return [
        (each, "one loss for each pair came back; the loss of the batch is their mean"),
        (each.sum(), "that is the sum; with a mean, the size of a step does not depend on the batch size"),
        (-each.mean(), "a minus is missing: it is the log-likelihood"),
        (each.mean()[None], "the number is right, in a tensor of shape (1,); a loss is a scalar tensor, of shape ()"),
        (F.cross_entropy(_scores(margin, log_nu, 1.0), outcome), "the halves are missing: e^(margin / 2) and e^(-margin / 2), so that their odds are e^margin"),
        (F.cross_entropy(_scores(margin, log_nu.exp()), outcome), "nu stands where log nu belongs: the softmax exponentiates it once more"),
        (F.cross_entropy(_scores(margin, -log_nu), outcome), "the sign of log nu: a larger nu makes ties likelier"),
        (F.cross_entropy(_scores(margin, log_nu), exchanged), "the sign of the margin is flipped: outcome 0 says that the first answer won"),
        (F.cross_entropy(_scores(margin, torch.zeros(())), outcome), "log nu is not used"),
        (halves.mean(), "that is Bradley-Terry with a tie as half a win and half a loss; nu is not used, and no tie is ever predicted"),
        (win[~tie].mean(), "the ties are left out; here they are an outcome with a probability of its own"),
        (each[~tie].mean(), "the ties are left out of the mean; they are an outcome, too"),
    ]  # fmt: skip
