"""Heads on each layer of the frozen backbone, judged by people's labels: PandaLM's 190 held-out pairs.

Recorded by tests/bench/pandalm_layers.py; the texts are not part of the project.
"""

import torch

from rmtutorial.intervals import accuracy_interval, grouped_interval
from rmtutorial.lesson.dpo_runs import or_missing


def right_by_layer():
    """({layer from 1: which rows its head ranks right, (190,), 0.5 for a tie}, the prompt's number of every row)."""
    found = or_missing("pandalm layers", "pandalm_layers")
    right = {int(k): (torch.tensor(margins).sign() + 1) / 2 for k, margins in found["margins"].items()}
    return right, found["prompt"]


def accuracy_by_layer():
    """Accuracy with its 95 % interval by prompt: a pandas table, layers as index."""
    import pandas

    right, prompts = right_by_layer()
    rows = {k: (r.mean().item(), *accuracy_interval(r, prompts)) for k, r in right.items()}
    return pandas.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "low", "high"])


def accuracy_gain(a, b):
    """(gain, low, high) in accuracy of layer a over layer b, row by row, the interval by prompt."""
    right, prompts = right_by_layer()
    gain = (right[a] - right[b]).double()
    return gain.mean().item(), *grouped_interval(gain, prompts)
