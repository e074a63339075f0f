"""How well does a head judge people's labels from each layer? Recorded for notebook 01: 30 minutes on one busy core.

    python tests/bench/pandalm_layers.py [--smoke] [--data FOLDER]        (stopped, it goes on where it was)

PandaLM's 894 pairs (people's labels, the majority of three): a head on each of the 30 layers is fitted to its optimum
on 704 of them, with the package's penalty, which was not chosen on these rows, and judges the other 190; no prompt is
in both. Kept in rmtutorial/data/recorded: the margins of the 190 rows, their lengths, and which share a prompt. The
texts are not part of the project; they lie beside it, in ../shared/data/pandalm, or in FOLDER.
--smoke: 4 layers, 12 pairs to fit and 6 to judge, in a minute; nothing is kept.
"""

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

import torch
from pandalm import ROOT, read

from rmtutorial.backbones import load_sft
from rmtutorial.lesson import recorded, session
from rmtutorial.probe import fit_head, layer_features
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel

DATA = ROOT.parent / "shared" / "data" / "pandalm"
ASIDE = ROOT / "out" / "bench" / "pandalm_layers"
PART = 32  # pairs between two savings


def features(rm, name, pairs, aside):
    """Last-token states after every layer, (layers, B, 2, H); what was computed before is read."""
    found = []
    for at in range(0, len(pairs), PART):
        path = aside / f"{name}_{at}.pt"
        if not path.exists():
            torch.save(layer_features(rm, pairs[at : at + PART])["last"].half(), path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
            print(f"{name}: {min(at + PART, len(pairs))} of {len(pairs)}", flush=True)
        found.append(torch.load(path).float())
    return torch.cat(found, dim=1)


def record(rm, train, held_out, aside=ASIDE):
    fit, test = features(rm, "train", train, aside), features(rm, "heldout", held_out, aside)
    prompts = list(dict.fromkeys(pair.prompt for pair in held_out))
    margins = {}
    for layer, (known, new) in enumerate(zip(fit, test), 1):
        rewards = new @ fit_head(known, TrainConfig.head_ridge)[0]  # (190, 2)
        margins[layer] = [float(f"{m:.4g}") for m in (rewards[:, 0] - rewards[:, 1]).tolist()]
    lengths = [[len(answer.ids) - answer.start for answer in both] for both in rm.encode_pairs(held_out)]
    return {
        "recorded": datetime.date.today().isoformat(),
        "fitted on": len(train),
        "ridge": TrainConfig.head_ridge,
        "prompt": [prompts.index(pair.prompt) for pair in held_out],
        "tokens": lengths,
        "characters": [[len(pair.chosen), len(pair.rejected)] for pair in held_out],
        "margins": margins,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: not here, so nothing is measured")
    session.start()
    rm = RewardModel.from_sft(*load_sft(layers=4 if options.smoke else None), layers=None)
    train, held_out = (read(options.data / f"{name}.jsonl") for name in ("train", "heldout"))
    if options.smoke:
        with tempfile.TemporaryDirectory() as aside:
            print(record(rm, train[:12], held_out[:6], Path(aside)))
    else:
        ASIDE.mkdir(parents=True, exist_ok=True)
        recorded.save("pandalm layers", record(rm, train, held_out))
