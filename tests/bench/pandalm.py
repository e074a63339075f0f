"""The default recipe on real human preferences: PandaLM, 704 pairs to train on, 190 held out, no prompt in both.

Bounds: held-out accuracy at least 0.78, and at least 0.60 on the pairs whose chosen answer is the shorter one.
The data lie beside the project, in ../shared/data/pandalm, and are not part of it. Takes 10 to 20 minutes.
"""

import argparse
import json
import sys
from pathlib import Path

from rmtutorial.backbones import load_sft
from rmtutorial.encoding import encode_pairs
from rmtutorial.evaluation import evaluate
from rmtutorial.lesson import session
from rmtutorial.preferences import PreferencePair
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model

ROOT = Path(__file__).parents[2]


def read(path):
    """The rows as they are: some answers of PandaLM are empty, which load_preferences would refuse."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [PreferencePair(**json.loads(line), id=f"{path.stem}:{i}") for i, line in enumerate(lines, 1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "pandalm")
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--lr", type=float, default=TrainConfig.lr)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: not here, so nothing is measured")
    session.start()
    train, held_out = read(options.data / "train.jsonl"), read(options.data / "heldout.jsonl")
    rm = RewardModel.from_sft(*load_sft(layers=16))
    config = TrainConfig(epochs=options.epochs, lr=options.lr, seed=options.seed, checkpoint_every=44)
    history = train_reward_model(rm, train, config, held_out)
    for row in history.evaluations:
        print(f"epoch {row['epoch']:.0f}: held-out loss {row['loss']:.3f}, accuracy {row['accuracy']:.3f}")
    lengths = [tuple(len(answer.ids) for answer in both) for both in encode_pairs(rm.tokenizer, held_out, 10**6)]
    shorter = [pair for pair, (chosen, rejected) in zip(held_out, lengths) if chosen < rejected]
    print("all:                    ", evaluate(rm, held_out))
    print("the chosen is shorter:  ", evaluate(rm, shorter))
    history.save(ROOT / "out" / "bench" / "pandalm.json")
