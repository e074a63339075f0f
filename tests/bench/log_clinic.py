"""The eight training runs of notebook 03's log clinic, one healthy and seven with a fault: about 15 minutes on 2 cores.

    python tests/bench/log_clinic.py [NAME ...]        (default: all; a NAME is a key of FAULTS)

Each is a real run of `train_reward_model` on the first 300 training rows, two epochs, from a head of zeros, so that
all begin at ln 2. The fault is put into the data, the settings or the model, as it happens to people; nothing in the
curves is drawn or invented. Kept as small JSON files in rmtutorial/data/recorded.
"""

import datetime
import math
import sys
import types
from dataclasses import replace

import torch

from rmtutorial.backbones import load_sft
from rmtutorial.data.simulate import flip_labels
from rmtutorial.features import FeatureCache
from rmtutorial.lesson import recorded, session
from rmtutorial.preferences import load_preferences
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model

COLUMNS = ("loss", "accuracy", "margin", "grad_norm", "reward_mean", "reward_std", "lr")
FROM_ZERO = TrainConfig(epochs=2, lr=1e-4, head_lr=1e-3, head_ridge=0, eval_every=25)


def healthy(rm, train, held_out):
    return train, FROM_ZERO


def rate_too_high(rm, train, held_out):
    return train, replace(FROM_ZERO, lr=30 * FROM_ZERO.lr, head_lr=30 * FROM_ZERO.head_lr)


def memorised(rm, train, held_out):
    return train[:100], replace(FROM_ZERO, epochs=12, lr=3 * FROM_ZERO.lr, head_lr=3 * FROM_ZERO.head_lr)


def noisy_labels(rm, train, held_out):
    return flip_labels(train, 0.2), FROM_ZERO


def labels_flipped(rm, train, held_out):
    return [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in train], FROM_ZERO


def leak(rm, train, held_out):
    return held_out + train[len(held_out) :], FROM_ZERO


def prompt_end_read(rm, train, held_out):
    """Pad and end mark are one token; a search for it finds the first, at the end of the prompt, for both answers."""
    plain = rm.batch

    def batch(self, examples):
        found = plain(examples)
        found.pool.zero_()
        start = 0
        for row, mask in enumerate(found.masks):
            ids = found.ids[0, start : start + mask.shape[-1]]
            found.pool[row, :, start + (ids == self.tokenizer.pad_token_id).nonzero().min()] = 1
            start += mask.shape[-1]
        return found

    rm.batch = types.MethodType(batch, rm)
    size = rm.reward_head.in_features
    torch.nn.init.normal_(rm.reward_head.weight, std=1 / math.sqrt(size + 1))  # zeros would hide what is read
    return train, FROM_ZERO


def labels_of_the_first_batch(rm, train, held_out):
    """Answers are shown in random order, and the labels of the first eight pairs are used for every eight."""
    first_is_chosen = torch.rand(len(train), generator=torch.Generator().manual_seed(0)) < 0.5
    wrong = [first_is_chosen[i] != first_is_chosen[i % FROM_ZERO.batch_size] for i in range(len(train))]
    swapped = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in train]
    return [other if w else pair for pair, other, w in zip(train, swapped, wrong)], FROM_ZERO


FAULTS = {f.__name__.replace("_", " "): f for f in (
    healthy, rate_too_high, memorised, noisy_labels, labels_flipped, leak, prompt_end_read, labels_of_the_first_batch,
)}  # fmt: skip


def run(fault, cache):
    rm = RewardModel.from_sft(*load_sft(layers=16))
    held_out = load_preferences(split="test")[:96]
    train, config = fault(rm, load_preferences(size=300), held_out)
    mine = None if "batch" in vars(rm) else cache  # another pooling is another cache
    history = train_reward_model(rm, train, config, held_out, cache=mine)
    steps = [{key: round_(row[key]) for key in ("step", "epoch", *COLUMNS)} for row in history.steps]
    evaluations = [{key: round_(value) for key, value in row.items()} for row in history.evaluations]
    return {
        "recorded": datetime.date.today().isoformat(),
        "rows": len(train),
        "steps": steps,
        "evaluations": evaluations,
    }


def round_(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    session.start()
    cache = FeatureCache(memory=1_000_000_000)
    for name in sys.argv[1:] or FAULTS:
        found = recorded.load(f"clinic {name}") or run(FAULTS[name], cache)
        recorded.save(f"clinic {name}", found)
        last, rows = found["evaluations"][-1], found["steps"]
        print(f"{name:26} held-out loss {last['loss']:.3f}, accuracy {last['accuracy']:.2f}; last ten batches' loss "
              f"{sum(r['loss'] for r in rows[-10:]) / 10:.3f}", flush=True)  # fmt: skip
