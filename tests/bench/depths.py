"""After training, does a reward model of all 30 layers judge better than one of the first 16? Recorded for notebook 01.

    python tests/bench/depths.py [--smoke]        (half an hour a seed on 2 cores; stopped, it goes on with the next seed)

The same recipe, rows and seeds as the runs "seed 0", "seed 1", "seed 2" of two_phases.py, which have 16 layers: the head
to its optimum, then the top 8 layers with it. Judged on `test` and `ood` together, row by row against those runs.
--smoke: one run of 10 layers on 12 rows, in a minute; nothing is kept.
"""

import argparse
import datetime

from two_phases import rounded

from rmtutorial.backbones import load_sft
from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.evaluation import compare
from rmtutorial.features import FeatureCache
from rmtutorial.lesson import recorded, session
from rmtutorial.preferences import load_preferences
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model

NAME, SEEDS = "depths", ("0", "1", "2")


def run(seed, cache, size=None, layers=None):
    """Train and judge; size, so many rows only, and layers, so many only, for a smoke test."""
    train, held_out, config = load_preferences(size=size), recorded.judged_rows()[:size], TrainConfig(seed=int(seed))
    rm = RewardModel.from_sft(*load_sft(layers=layers), layers=None)
    history = train_reward_model(rm, train, config, held_out, cache=cache)
    return {
        "recorded": datetime.date.today().isoformat(),
        "layers": rm.backbone.config.num_hidden_layers,
        "recipe": {key: value for key, value in vars(config).items() if key not in MAY_CHANGE},
        "rows": len(train),
        "evaluations": rounded(history.evaluations),
        "rewards": rounded(rm.score_encoded(rm.encode_pairs(held_out), cache=cache).tolist()),  # (328, 2)
    }


def describe(seed, rewards):
    """One line: what the rewards (328, 2) of 30 layers gain over those of the recorded run of 16."""
    deep, half = recorded.report(rewards), recorded.report(recorded.load(f"seed {seed}")["rewards"])
    print(f"seed {seed}, 30 layers over 16: {compare(deep, half)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    session.start()
    cache = FeatureCache(memory=2_000_000_000)
    if options.smoke:
        found = run("0", cache, size=12, layers=10)
        print({key: value for key, value in found.items() if key != "recipe"})
        raise SystemExit
    found = recorded.load(NAME) or {}
    for seed in SEEDS:
        if seed not in found:
            found[seed] = run(seed, cache)
            recorded.save(NAME, found)
        describe(seed, found[seed]["rewards"])
