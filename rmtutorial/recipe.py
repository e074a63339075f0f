"""The recipe of a training run: its settings, what learns, in which order, and how fast."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from rmtutorial.backbones import decoder_layers

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass
class TrainConfig:
    """Settings of `train_reward_model`. Each has a value that works on a laptop."""

    epochs: int = 1  # passes over the pairs; more of them overfit sooner than one thinks: watch the held-out loss
    batch_size: int = 8  # pairs an optimizer step
    lr: float = 2e-4  # of the backbone, at its highest
    head_lr: float = 1e-4  # of the reward head; 1e-3 where it starts from zero (head_ridge=0) and has far to go
    head_ridge: float = 64.0  # first fit a head of zeros to its optimum, with this penalty; 0: it starts from zero
    train_top: int | None = 8  # how many of the top layers learn; 0 for the head only, None ("all") for all
    warmup: float = 0.1  # share of the steps with a rising learning rate; then it falls linearly to 0
    weight_decay: float = 0.0  # of AdamW; pulls weights to 0, which few steps do not need
    clip: float = 1.0  # the gradient is scaled down to this norm; 0: it is left as it is
    centering: float = 0.0  # weight of the penalty on (r_chosen + r_rejected)^2; 0.01 keeps rewards around 0
    margin: float = 0.0  # lead asked of the chosen answer, in logits for each step of a pair's strength; 0: none
    seed: int = 0  # of the order of the pairs; the only random thing here
    micro_batch_tokens: int = 512  # at most so many tokens a forward and backward; memory against speed
    precision: str = "auto"  # auto, fp32 or bf16; bf16: products in bf16, weights stay fp32; auto: where the GPU has it
    cache: bool = True  # compute what frozen layers give once for each pair; and keep it
    fsdp: bool = False  # share weights and optimizer state out among processes; else each has a copy (DDP)
    compile: bool = False  # torch.compile the MLPs; worth its minute of compiling on a GPU with many pairs
    eval_every: int = 0  # evaluate on held-out pairs every so many steps; 0: after each epoch
    checkpoint_every: int = 0  # save the run every so many steps; 0: only when it is stopped by Ctrl-C
    checkpoint_dir: str = "out/checkpoint"  # where a stopped run is kept; left so, a resumed one goes on in its folder

    def __post_init__(self):
        check_numbers(self, {
            "epochs": 1, "batch_size": 1, "lr": 0, "head_lr": 0, "head_ridge": 0, "warmup": 0, "weight_decay": 0, "clip": 0,
            "centering": 0, "margin": 0, "micro_batch_tokens": 1, "eval_every": 0, "checkpoint_every": 0,
        })  # fmt: skip
        check_common(self)


def check_numbers(config, at_least):
    """ValueError, with name and value, for a setting that is no finite number of its kind, or below {name: least}."""
    for name, least in at_least.items():
        value, whole = getattr(config, name), isinstance(getattr(type(config), name), int)
        if not isinstance(value, int if whole else (int, float)) or not least <= value < math.inf:
            raise ValueError(f"{name}={value!r}: must be a {'whole ' * whole}number from {least} up")


def check_common(config):
    """ValueError for a setting that TrainConfig and GRPOConfig share and that is no mere number."""
    if config.precision not in PRECISIONS:
        raise ValueError(f"precision={config.precision!r}: choose {', '.join(PRECISIONS)}")
    if not isinstance(config.train_top, int | None):
        raise ValueError(f"train_top={config.train_top!r}: a whole number of layers, or None for all")
    if config.warmup > 1:
        raise ValueError(f"warmup={config.warmup}: is a share of the steps, 0 to 1")


def freeze(rm, train_top):
    """Let the head (if there is a new one), the final norm and the top `train_top` layers learn; None means all layers.

    The embeddings stay as they are: 28 M of the default model's weights, and few tokens occur in the pairs.
    """
    layers = decoder_layers(rm.backbone)
    if train_top is not None and not 0 <= train_top <= len(layers):
        raise ValueError(
            f"train_top={train_top}: this model has {len(layers)} layers; choose 0 to {len(layers)}, or None"
        )
    top = len(layers) if train_top is None else train_top
    rm.requires_grad_(False)
    for p in rm.new_parameters():
        p.requires_grad_(True)
    for layer in layers[len(layers) - top :]:
        layer.requires_grad_(True)
    for part in rm.backbone.children():  # the final norm
        if top and part is not layers and not isinstance(part, nn.Embedding):
            part.requires_grad_(True)


def parameter_groups(rm, config):
    """What learns, with its learning rate: the backbone slowly, a new head fast."""
    backbone = [p for p in rm.backbone.parameters() if p.requires_grad]
    groups = [{"params": backbone, "lr": config.lr}] if backbone else []
    if rm.new_parameters():
        groups.append({"params": rm.new_parameters(), "lr": config.head_lr})
    return [{**group, "weight_decay": config.weight_decay} for group in groups]


def autocast(device, precision):
    """The context of forward passes: bf16 products, if asked for or if the GPU has them (a T4 only emulates them)."""
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        precision = "bf16" if has_bf16 else "fp32"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def batch_order(n, config, groups=None):
    """Indices of the pairs for every step: each epoch in a new order that only the seed decides.

    Args: n pairs; groups, a label for each pair: pairs of one group stay in one batch, as all comparisons of a prompt
        do in Ouyang et al. (2022, section 3.5). Mirror twins then pull at the same step, not one against the last.
        A batch has at most `config.batch_size` pairs; a larger group fills batches of its own.
    """
    members = {}
    for i in range(n):
        members.setdefault(i if groups is None else groups[i], []).append(i)
    members, generator, batches = list(members.values()), torch.Generator().manual_seed(config.seed), []
    for _ in range(config.epochs):
        batch = []
        for k in torch.randperm(len(members), generator=generator).tolist():
            if len(batch) + len(members[k]) > config.batch_size:
                batches.append(batch)
                batch = []
            batch = batch + members[k]
            while len(batch) > config.batch_size:
                batches.append(batch[: config.batch_size])
                batch = batch[config.batch_size :]
        batches.append(batch)
    return [batch for batch in batches if batch]


def lr_factor(step, steps, warmup):
    """Linear warm-up, then linear decay: the factor on the learning rate in step 0, 1, ..., steps - 1."""
    rise = math.ceil(warmup * steps)
    return (step + 1) / (rise + 1) if step < rise else (steps - step) / max(1, steps - rise)


def adamw(rm, config):
    """The optimizer of what learns."""
    return torch.optim.AdamW(parameter_groups(rm, config), fused=True)


def lr_schedule(optimizer, config, steps, done=0):
    """The learning rates of a run of `steps` steps, `done` of which are over."""
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # LambdaLR wants it when it starts in the middle
    factor = lambda step: lr_factor(step, steps, config.warmup)  # noqa: E731
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch=done - 1)
