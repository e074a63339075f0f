"""Exercise 3.4: the training loop, on features."""

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, named, same, shown, tried
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.recipe import TrainConfig, batch_order, lr_factor


def my_train_head(features, batches, rates):
    """Weights (H,) after one AdamW step a batch; features (B, 2, H), index lists, rates."""
    w = torch.zeros(features.shape[2], requires_grad=True)  # (H,)
    optimizer = torch.optim.AdamW([w], weight_decay=0.0)
    for batch, rate in zip(batches, rates):
        rewards = features[batch] @ w  # forward: (b, 2)
        loss = bradley_terry_loss(rewards[:, 0], rewards[:, 1])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([w], 1.0)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return w.detach()


def my_train_head_mistake(function):
    for scale in (5.0, 0.3):  # with large gradients, which are clipped, and with small ones
        arguments = _small_run(scale)
        got = tried(function, *arguments)
        if not isinstance(got, torch.Tensor):
            return f"a {type(got).__name__} came back; return the weight vector w, a tensor (H,)"
        if not same(got.detach(), right := my_train_head(*arguments)):
            steps = len(arguments[1])
            other = f"after {steps} steps on a small example w is {shown(got)}, not {shown(right)}"
            return named(got.detach(), _wrong_weights(*arguments)) or other
    if got.requires_grad:
        return "the weights are right, but w still wants gradients; return w.detach()"
    return None


def _small_run(scale):
    """24 pairs with 4 features, two epochs in batches of 8: six steps."""
    features = scale * torch.randn(24, 2, 4, generator=torch.Generator().manual_seed(0))
    batches = batch_order(24, TrainConfig(epochs=2, batch_size=8))
    return features, batches, [0.1 * lr_factor(step, len(batches), 0.3) for step in range(len(batches))]


def _wrong_weights(features, batches, rates):
    return [
        (_loop(features, [], []), "w is still zero: does optimizer.step() stand inside the loop, and is w what it was given?"),
        (_loop(features, batches, rates, zero=False), "the gradients of all earlier batches are still in it: zero_grad() before backward()"),
        (_loop(features, batches, rates, clip=None), "the gradient is not clipped: clip_grad_norm_([w], 1.0), between backward() and step()"),
        (_loop(features, batches, rates, decay=0.01), "AdamW pulls the weights to 0 by default: weight_decay=0.0"),
        (_loop(features.flip(1), batches, rates), "chosen and rejected are exchanged: rewards[:, 0] are those of the chosen answers"),
        (_loop(features, batches, [1e-3] * len(rates)), "the learning rate never changes: set it in optimizer.param_groups[0] before each step"),
        (_loop(features, batches, [*rates[:1], *rates[:-1]]), "each step has the rate of the step before: set the rate before optimizer.step()"),
        (_loop(features, batches, rates, late=True), "the rate is set after the step that it is meant for: set it before optimizer.step()"),
        (_loop(features, batches, [rates[0]] * len(rates)), "every step has the first rate: take rates[t] for step t"),
        (_loop(features, batches, rates, times=8), "that is the sum over the batch; the loss is the mean"),
        (_loop(features, batches, rates, kind=torch.optim.SGD), "that is plain gradient descent (SGD); AdamW is asked for"),
        (_loop(features, batches[: len(batches) // 2], rates), "only half of the batches were used: does `return` stand inside the loop?"),
        (_loop(features, batches[:1], rates), "only one batch was used: does `return` stand inside the loop?"),
        (_loop(features, [range(len(features))] * len(batches), rates), "every step reads all pairs; index the features with the batch"),
    ]  # fmt: skip


def _loop(features, batches, rates, zero=True, clip=1.0, decay=0.0, kind=torch.optim.AdamW, late=False, times=1):
    """The loop with one thing wrong."""
    w = torch.zeros(features.shape[2], requires_grad=True)
    optimizer = kind([w], lr=1e-3, weight_decay=decay)
    for batch, rate in zip(batches, rates):
        rewards = features[list(batch)] @ w
        loss = times * bradley_terry_loss(rewards[:, 0], rewards[:, 1])
        if zero:
            optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_([w], clip)
        if late:
            optimizer.step()
        optimizer.param_groups[0]["lr"] = rate
        if not late:
            optimizer.step()
    return w.detach()


EXERCISES = {
    "3.4": Exercise(
        my_train_head,
        hints=(
            "In this order: rewards of the batch, loss, zero_grad, backward, clip, the rate, step.",
            "features[batch] @ w has shape (b, 2): column 0 are the chosen answers.",
            "optimizer.param_groups[0]['lr'] = rate; torch.nn.utils.clip_grad_norm_([w], 1.0).",
        ),
        mistake=my_train_head_mistake,
    )
}
