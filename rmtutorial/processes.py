"""One training run in several processes: who reads which pairs, and tensors that are shared out among them.

DDP: every process has the whole model, gradients are averaged. FSDP: weights, gradients and AdamW's state are shared
out, each process keeps its shard. Without `accelerate launch` there is one process, and nothing here does anything.
"""

import torch
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import AutoModel

from rmtutorial.backbones import decoder_layers
from rmtutorial.encoding import micro_batches
from rmtutorial.recipe import adamw


def prepare(accelerator, rm, config):
    """(model, optimizer): the model to call in training, which is `rm` itself or a wrapper around it."""
    if accelerator.distributed_type == DistributedType.FSDP:
        raise ValueError("start `accelerate launch` without --use_fsdp and set fsdp=True (--fsdp true) instead")
    if not config.fsdp:
        return accelerator.prepare(rm, adamw(rm, config))
    if accelerator.num_processes == 1:
        raise ValueError("fsdp=True needs several processes: start with `accelerate launch --num_processes N`")
    rm.to(accelerator.device)
    for layer in decoder_layers(rm.backbone):
        fully_shard(layer)
    fully_shard(rm)
    return rm, accelerator.prepare(adamw(rm, config))


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
