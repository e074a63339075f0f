"""Whose parameters does the gradient move? Gradient ledgers of several losses as one table of ticks."""

import copy
import math

import torch

from rmtutorial.reward_model import RewardModel

MOVED, ZERO, NONE, ABSENT = "✓", "exactly 0", "–", ""


def small_models(lm, tokenizer):
    """(a language model, its frozen copy as the reference, a reward model with a random head) on the blocks of `lm`.

    To save memory the reward model has the embeddings of the language model, whose gradients are asked one at a time.
    """
    reference = copy.deepcopy(lm).requires_grad_(False)
    rm = RewardModel.from_sft(lm, tokenizer, layers=None)
    rm.backbone.set_input_embeddings(lm.get_input_embeddings())
    torch.nn.init.normal_(rm.reward_head.weight, generator=torch.Generator().manual_seed(0))
    return lm, reference, rm


def ticks(ledgers):
    """One row a part, one column a loss: ✓ gradient, "exactly 0" (it arrives and is 0), – none arrives; empty: no such part.

    Args: {loss: table of `gradients.gradient_ledger`}. The blocks are one row, and so is what stands behind the last.
    """
    import pandas

    columns = {}
    for name, table in ledgers.items():
        columns[name] = of = {}
        for part, gradient in table["gradient"].items():
            part = "blocks" if part.startswith(("block", "final norm")) else part
            of[part] = _more(of.get(part, NONE), gradient)
    order = ("embeddings", "blocks", "LM head", "reward head", "reference")
    return pandas.DataFrame(columns).reindex(order).fillna(ABSENT).rename_axis("part")


def _more(known, gradient):
    """The stronger of two marks: a part has a gradient if one of its parameters has."""
    mark = NONE if math.isnan(gradient) else MOVED if gradient > 0 else ZERO
    return max(known, mark, key=(NONE, ZERO, MOVED).index)


def reached(ledger):
    """The parts that the gradient moves, as a set of names."""
    column = ticks({"loss": ledger})["loss"]
    return set(column.index[column == MOVED])
