"""Which rows that a judge is tested on have a row of their own set among those that it was fitted on."""

import torch

from rmtutorial.data.baselines import fold_of
from rmtutorial.intervals import units


def set_in_training(pairs, column):
    """(B,) bool: is another row of this pair's set in another fold, and so fitted when this one is tested?

    Args: column of the PreferencePair by which rows are dealt into five folds, as in `baselines.right`: "id" deals
        single rows, "prompt" prompts, "group" sets.
    """
    unit, folds = units(pairs), {}
    for name, pair in zip(unit, pairs):
        folds.setdefault(name, set()).add(fold_of(getattr(pair, column)))
    return torch.tensor([len(folds[name]) > 1 for name in unit])
