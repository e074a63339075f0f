"""The recorded pool of notebook 05: many answers to each of some prompts, and what several judges say of each.

Letters: P prompts, N answers to each, S seeds of a small proxy.
"""

import json
from dataclasses import dataclass

import torch
from safetensors.torch import load_file

from rmtutorial.lesson.recorded import FOLDER


@dataclass
class Pool:
    """Made by tests/bench/pool.py: answers of the untrained language model at temperature 1."""

    prompts: list  # P texts, held out from all training but gold's
    texts: list  # P lists of texts: of the first answers only, the file would be large
    judges: dict  # name -> (P, N) float32, a higher number is better
    proxies: dict  # (layer, pairs) -> (S, P, N) float32: heads fitted on a few gold-labelled pairs, S seeds
    labels: torch.Tensor  # (P, N) int64: equal numbers in a row are equal texts
    about: dict  # recorded (date), new tokens, accuracy of judges on the held-out rows


def load_pool():
    """The recorded pool."""
    about = json.loads((FOLDER / "pool.json").read_text(encoding="utf-8"))
    tensors = {name: tensor.float() for name, tensor in load_file(FOLDER / "pool.safetensors").items()}
    labels = tensors.pop("text").long()
    proxies = {
        tuple(map(int, name.split("_")[1:])): tensors.pop(name) for name in [*tensors] if name.startswith("head_")
    }
    return Pool(about.pop("prompts"), about.pop("texts"), tensors, proxies, labels, about)
