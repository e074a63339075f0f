"""Bradley-Terry on fixed features: only the head learns, and a whole training takes a fraction of a second.

With one feature vector an answer, this is logistic regression on the difference of the two, without intercept.
"""

import time

import torch

from rmtutorial.backbones import decoder_layers, final_norm
from rmtutorial.encoding import micro_batches
from rmtutorial.evaluation import measures, summary, wilson_interval
from rmtutorial.history import History
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.recipe import TrainConfig, batch_order, lr_factor


def train_head(features, config=None, held_out=None):
    """Train one weight vector on pooled features, with the recipe of `train_reward_model(train_top=0)`.

    Args:
        features: (B, 2, H) float, of the chosen and the rejected answer of B pairs (`pooled_features`).
        config: TrainConfig; epochs, batch_size, head_lr, warmup, weight_decay, clip, centering and seed count.
        held_out: features (N, 2, H) of pairs to evaluate on before training and after each epoch.
    Returns: (weight (H,) of the reward head, History).
    Raises: ValueError when the features have another shape.
    """
    if features.ndim != 3 or features.shape[1] != 2 or not len(features):
        raise ValueError(f"features of shape {tuple(features.shape)}: expected (pairs, 2, hidden size)")
    config = config or TrainConfig()
    w = torch.zeros(features.shape[2], requires_grad=True)  # (H,)
    optimizer = torch.optim.AdamW([w], lr=config.head_lr, weight_decay=config.weight_decay)
    batches, history, started = batch_order(len(features), config), History(), time.perf_counter()
    a_epoch = len(batches) // config.epochs
    if held_out is not None:
        history.evaluations.append({"step": 0, "epoch": 0.0, **judge(held_out, w)})
    for step, batch in enumerate(batches, 1):
        optimizer.param_groups[0]["lr"] = lr = config.head_lr * lr_factor(step - 1, len(batches), config.warmup)
        rewards = features[batch] @ w  # (b, 2)
        loss = bradley_terry_loss(*rewards.unbind(1), centering=config.centering)
        optimizer.zero_grad()
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_([w], config.clip or torch.inf)
        optimizer.step()
        epoch, seconds = step / a_epoch, time.perf_counter() - started
        history.steps.append({"step": step, "epoch": epoch, **measures(rewards.detach(), config.centering), "lr": lr,
                              "grad_norm": float(grad_norm), "seconds": seconds})  # fmt: skip
        if held_out is not None and step % a_epoch == 0:
            history.evaluations.append({"step": step, "epoch": epoch, **judge(held_out, w)})
    return w.detach(), history


def layer_sweep(rm, pairs, held_out, config=None):
    """How well does a head judge from each layer? One forward pass a pair, then one head a layer.

    Args:
        rm: a RewardModel with all layers, pooling "last"; its final norm is put on every layer, as a cut backbone has it.
        pairs, held_out: PreferencePairs to fit the heads on, and to judge.
        config: TrainConfig of the heads.
    Returns: a pandas table with the layer (1, 2, ...) as index and accuracy, low, high (95 %, Wilson) and pairs.
    """
    import pandas

    train, test = (layer_features(rm, p) for p in (pairs, held_out))  # (layers, B, 2, H)
    config = config or TrainConfig(epochs=10, head_lr=3e-3, weight_decay=0.1)
    rows = []
    for layer in range(len(train)):
        accuracy = judge(test[layer], train_head(train[layer], config)[0])["accuracy"]
        low, high = wilson_interval(accuracy, len(held_out))
        rows.append({"accuracy": accuracy, "low": low, "high": high, "pairs": len(held_out)})
    return pandas.DataFrame(rows, index=range(1, len(rows) + 1)).rename_axis("layer")


@torch.no_grad()
def layer_features(rm, pairs, max_tokens=2048):
    """Normed last-token states after every layer, (layers, B, 2, H) float32."""
    states, handles = [], []
    examples, layers = rm.encode_pairs(pairs), decoder_layers(rm.backbone)
    norm = final_norm(rm.backbone)
    features = torch.zeros(len(layers), len(pairs), 2, rm.reward_head.in_features)
    for layer in layers:
        handles.append(layer.register_forward_hook(lambda module, args, output: states.append(output)))
    try:
        for group in micro_batches(examples, max_tokens):
            states.clear()
            batch = rm.batch([examples[i] for i in group])
            rm.pooled(batch)
            for layer, hidden in enumerate(states):  # (1, N, H)
                features[layer, group] = norm(batch.pool @ hidden[0]).float().cpu()
    finally:
        for handle in handles:
            handle.remove()
    return features


@torch.no_grad()
def judge(features, w):
    """What the head `w` makes of features (B, 2, H): loss, accuracy, margin, mean rewards of chosen and rejected."""
    return summary(features @ w)
