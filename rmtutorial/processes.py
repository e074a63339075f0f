"""One training run in several processes: who reads which pairs, and tensors that are shared out among them.

DDP: every process has the whole model, gradients are averaged. FSDP: weights, gradients and AdamW's state are shared
out, each process keeps its shard. Without `accelerate launch` there is one process, and nothing here does anything.
"""

import os

import torch
from accelerate import Accelerator
from accelerate.state import is_initialized
from accelerate.utils import DistributedType, GradientAccumulationPlugin
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModel

from rmtutorial.backbones import decoder_layers
from rmtutorial.grouping import micro_batches
from rmtutorial.recipe import adamw

ENGINES = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG")  # of accelerate, that train in another way


def recipe_only():
    """Arguments of Accelerator: it gives devices and processes, and the recipe decides what is learned.

    `accelerate config` and `accelerate launch` leave their answers in environment variables. Precision, compiling and
    accumulation among them are not asked for here; another engine is refused.
    Raises: ValueError, naming the variable.
    """
    for engine in ENGINES:
        if os.environ.get(f"ACCELERATE_USE_{engine}", "").lower() == "true":
            raise ValueError(
                f"ACCELERATE_USE_{engine}=true in the environment: this loop trains with DDP, or with fsdp=True "
                f"(--fsdp true) under FSDP2. Unset it, or start `accelerate launch` without --use_{engine.lower()}."
            )
    settled = {} if is_initialized() else {"mixed_precision": "no"}  # another Accelerator's precision cannot be changed
    return {"dynamo_backend": "no", "gradient_accumulation_plugin": GradientAccumulationPlugin(1), **settled}


def accelerator_of_run():
    """The Accelerator of a training: its device and its processes. ValueError for another engine's, as `recipe_only`."""
    accelerator = Accelerator(**recipe_only())
    accelerator.native_amp, accelerator.scaler = False, None  # `autocast` does it, not accelerate's configuration
    kind = accelerator.distributed_type
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ValueError(f"an Accelerator for {kind.value} was made before in this process: start a new one")
    return accelerator


def prepare(accelerator, rm, config):
    """(model, optimizer): the model to call in training, which is `rm` itself or a wrapper around it.

    torch's own: what accelerate.prepare makes of them depends on settings that are not the recipe's.
    """
    if not config.fsdp:
        optimizer = adamw(rm, config)
        if accelerator.num_processes == 1:
            return rm, optimizer
        on_gpu = [accelerator.device.index] if accelerator.device.type == "cuda" else None
        return DistributedDataParallel(rm, device_ids=on_gpu), optimizer
    if accelerator.num_processes == 1:
        raise ValueError("fsdp=True needs several processes: start with `accelerate launch --num_processes N`")
    rm.to(accelerator.device)
    for layer in decoder_layers(rm.backbone):
        fully_shard(layer)
    fully_shard(rm)
    return rm, adamw(rm, config)


def parts_of_process(examples, max_tokens, process, processes):
    """The micro-batches of one process: [(indices, weight), ...], the same number for every process.

    Process r reads examples r, r + processes, ... A process that has fewer micro-batches than another one, or none
    (an uneven last batch), reads its first example, or the batch's, again with weight 0: all meet in every backward.
    """
    shares = [list(range(r, len(examples), processes)) for r in range(processes)]
    groups = [
        [[share[i] for i in g] for g in micro_batches([examples[i] for i in share], max_tokens)] for share in shares
    ]
    most = max(map(len, groups))
    mine = groups[process]
    idle = [(mine[0][:1] if mine else [0], 0.0)] * (most - len(mine))
    return idle + [(group, len(group) / len(examples)) for group in mine]


def summed(accelerator, tensor):
    """The sum over all processes."""
    return accelerator.reduce(tensor.to(accelerator.device), "sum").cpu() if accelerator.num_processes > 1 else tensor


def sum_gradients(accelerator, model):
    """Add up the gradients of all processes, in place: each then takes the same step."""
    if accelerator.num_processes > 1:
        for p in model.parameters():
            if p.requires_grad:
                p.grad = accelerator.reduce(p.grad, "sum")


def whole(tensor):
    """A tensor with all its shards; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared_like(tensor, p):
    """`tensor` shared out among the processes as the parameter `p` is."""
    return (
        distribute_tensor(tensor.to(p.device), p.device_mesh, p.placements)
        if isinstance(p, DTensor)
        else tensor.to(p.device)
    )


def is_sharded(model):
    return isinstance(model, FSDPModule)


def any_process(accelerator, flag):
    """True everywhere if it is true in one process: all stop after the same step."""
    return flag if accelerator.num_processes == 1 else bool(summed(accelerator, torch.tensor(float(flag))))


def plain_copy(rm):
    """An ordinary RewardModel on the CPU with the weights of one that is shared out; every process must call this."""
    weights = {name: whole(value.detach()).cpu() for name, value in rm.state_dict().items()}
    backbone = AutoModel.from_config(rm.backbone.config, dtype=rm.backbone.dtype)
    head = torch.nn.Linear(rm.reward_head.in_features, 1, bias=rm.reward_head.bias is not None, dtype=rm.backbone.dtype)
    plain = type(rm)(backbone, head, rm.tokenizer, rm.pooling, rm.max_length)
    plain.load_state_dict(weights)
    return plain
