"""Are the rewards that TRL saw those of our own reward model for the same tokens? In the project's environment."""

import json
import sys
from pathlib import Path

from rmtutorial.encoding import Encoded
from rmtutorial.reward_model import RewardModel


def main(expected_file, seen_file):
    rm = RewardModel.from_pretrained(json.loads(Path(expected_file).read_text(encoding="utf-8"))["folder"])
    seen = json.loads(Path(seen_file).read_text(encoding="utf-8"))
    ours = rm.score_encoded([[Encoded(ids, 0)] for ids, _ in seen])[:, 0].tolist()
    worst = max(abs(a - b) for a, (_, b) in zip(ours, seen))
    print(f"{len(seen)} rewards, largest difference {worst:.1e}")
    sys.exit(worst > 1e-4)


if __name__ == "__main__":
    main(*sys.argv[1:])
