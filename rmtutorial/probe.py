"""Bradley-Terry on fixed features: only the head learns, and a whole training takes a fraction of a second.

With one feature vector an answer, this is logistic regression on the difference of the two, without intercept.
"""

import time

import torch

from rmtutorial.backbones import decoder_layers, final_norm
from rmtutorial.encoding import micro_batches, tree_batch
from rmtutorial.evaluation import measures, summary
from rmtutorial.history import History
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.recipe import TrainConfig, batch_order, lr_factor


def fit_head(features, ridge=64.0, held_out=None, most=50):
    """The one weight vector that is best on fixed features: the loss is convex, Newton's method goes to its optimum.

    It minimizes the sum of the Bradley-Terry losses + ridge/2 |w|^2, which is logistic regression on the differences
    without intercept. Differences are first divided by their root mean square, so `ridge` does not depend on the model.

    Args: features (B, 2, H), as `train_head`; ridge, above 0: it keeps w finite where H features separate B pairs;
        held_out (N, 2, H) to evaluate on before and after each iteration; most, iterations at the most.
    Returns: (weight (H,) float32, History whose steps are iterations, a handful).
    Raises: ValueError for another shape, a ridge that is not above 0, or answers whose features are all the same.
    """
    _check_features(features)
    if not ridge > 0:
        raise ValueError(f"ridge={ridge}: must be above 0, or the weights may grow without end")
    D = (features[:, 0] - features[:, 1]).double()  # (B, H)
    scale = D.square().mean().sqrt()
    if not scale > 0:
        raise ValueError("chosen and rejected have the same features in every pair: is the right token read?")
    D = D / scale
    w, history = torch.zeros(D.shape[1], dtype=torch.float64), History()  # (H,)
    objective = lambda w: torch.nn.functional.softplus(-D @ w).sum() + ridge / 2 * w.square().sum()  # noqa: E731
    for step in range(most + 1):
        if held_out is not None:
            history.evaluations.append({"step": step, "epoch": float(step), **judge(held_out, (w / scale).float())})
        p = torch.sigmoid(D @ w)  # (B,)
        gradient = ridge * w - D.T @ (1 - p)
        if gradient.norm() < 1e-4 * ridge:  # the curvature is at least ridge: w is within 1e-4 of the optimum
            break
        hessian = (D.T * (p * (1 - p))) @ D + ridge * torch.eye(len(w), dtype=torch.float64)
        move = torch.linalg.solve(hessian, gradient)
        while objective(w - move) > objective(w):  # too far: halve it
            move = move / 2
        w = w - move
        history.steps.append({"step": step + 1, **measures(features @ (w / scale).float())})
    return (w / scale).float(), history


def head_is_zero(rm):
    """Has this model a head that has not learned yet? A Policy has none."""
    new = rm.new_parameters()
    return bool(new) and not any(p.any() for p in new)


@torch.no_grad()
def set_head(rm, w):
    """Give a RewardModel the weight vector w (H,)."""
    rm.reward_head.weight.copy_(w[None])


def train_head(features, config=None, held_out=None, groups=None, lead=None):
    """Train one weight vector on pooled features, with the recipe of `train_reward_model(train_top=0)`.

    Args:
        features: (B, 2, H) float, of the chosen and the rejected answer of B pairs (`pooled_features`).
        config: TrainConfig; epochs, batch_size, head_lr, warmup, weight_decay, clip, centering and seed count.
        held_out: features (N, 2, H) of pairs to evaluate on before training and after each epoch.
        groups: B labels; pairs of one group stay in one batch.
        lead: (B,) logits by which each chosen answer is asked to win (the margin term), or None.
    Returns: (weight (H,) of the reward head, History).
    Raises: ValueError when the features have another shape.
    """
    _check_features(features)
    config = config or TrainConfig()
    w = torch.zeros(features.shape[2], requires_grad=True)  # (H,)
    optimizer = torch.optim.AdamW([w], lr=config.head_lr, weight_decay=config.weight_decay)
    batches, history, started = batch_order(len(features), config, groups), History(), time.perf_counter()
    a_epoch = len(batches) / config.epochs
    if held_out is not None:
        history.evaluations.append({"step": 0, "epoch": 0.0, **judge(held_out, w)})
    for step, batch in enumerate(batches, 1):
        optimizer.param_groups[0]["lr"] = lr = config.head_lr * lr_factor(step - 1, len(batches), config.warmup)
        rewards = features[batch] @ w  # (b, 2)
        margin = None if lead is None else lead[batch]
        loss = bradley_terry_loss(*rewards.unbind(1), margin, config.centering)
        optimizer.zero_grad()
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_([w], config.clip or torch.inf)
        optimizer.step()
        epoch, seconds = step / a_epoch, time.perf_counter() - started
        history.steps.append({"step": step, "epoch": epoch, **measures(rewards.detach(), config.centering, margin), "lr": lr,
                              "grad_norm": float(grad_norm), "seconds": seconds})  # fmt: skip
        if held_out is not None and step * config.epochs // len(batches) > (step - 1) * config.epochs // len(batches):
            history.evaluations.append({"step": step, "epoch": epoch, **judge(held_out, w)})
    return w.detach(), history


@torch.no_grad()
def layer_features(rm, pairs, poolings=("last",), max_tokens=2048):
    """{pooling: states after every layer, (layers, B, 2, H) float32}, all by one forward pass a pair.

    Each layer's states go through the model's *last* norm: so they are what the head would read of a backbone that is
    cut there. `rm` has all layers; poolings, "last" and "mean", or a dict {pooling: layers, counted from 1} for some.
    """
    examples, layers, norm = rm.encode_pairs(pairs), decoder_layers(rm.backbone), final_norm(rm.backbone)
    kept = poolings if isinstance(poolings, dict) else dict.fromkeys(poolings, range(1, len(layers) + 1))
    features = {how: torch.zeros(len(some), len(pairs), 2, rm.reward_head.in_features) for how, some in kept.items()}
    group, pools = [], {}  # of the batch that is read

    def pool(layer, hidden):  # as soon as they are there: the states of all layers need not be kept
        for how, some in kept.items():
            if layer in some:
                features[how][list(some).index(layer), group] = (pools[how] @ norm(hidden[0]).float()).cpu()

    handles = [
        layer.register_forward_hook(lambda module, args, output, k=k: pool(k, output))
        for k, layer in enumerate(layers, 1)
    ]
    try:
        for group in micro_batches(examples, max_tokens):
            some = [examples[i] for i in group]
            pools = {how: tree_batch(some, rm.pad_id, how).pool.to(rm.device) for how in kept}
            rm.hidden(rm.batch(some))
    finally:
        for handle in handles:
            handle.remove()
    return features


def _check_features(features):
    if features.ndim != 3 or features.shape[1] != 2 or not len(features):
        raise ValueError(f"features of shape {tuple(features.shape)}: expected (pairs, 2, hidden size)")


@torch.no_grad()
def judge(features, w):
    """What the head `w` makes of features (B, 2, H): loss, accuracy, margin, mean rewards of chosen and rejected."""
    return summary(features @ w)
