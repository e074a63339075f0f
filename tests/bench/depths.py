"""After training, does a reward model of all 30 layers judge better than one of the first 16? Recorded for notebook 01.

    python tests/bench/depths.py        (half an hour a seed on 2 cores; stopped, it goes on with the next seed)

The same recipe, rows and seeds as the runs "seed 0", "seed 1", "seed 2" of two_phases.py, which have 16 layers: the head
to its optimum, then the top 8 layers with it. Judged on `test` and `ood` together, row by row against those runs.
"""

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

NAME, LAYERS, SEEDS = "depths", 30, ("0", "1", "2")


def run(seed, cache):
    train, held_out, config = load_preferences(), recorded.judged_rows(), TrainConfig(seed=int(seed))
    rm = RewardModel.from_sft(*load_sft(), layers=None)
    history = train_reward_model(rm, train, config, held_out, cache=cache)
    return {
        "recorded": datetime.date.today().isoformat(),
        "layers": LAYERS,
        "recipe": {key: value for key, value in vars(config).items() if key not in MAY_CHANGE},
        "rows": len(train),
        "evaluations": rounded(history.evaluations),
        "rewards": rounded(rm.score_encoded(rm.encode_pairs(held_out), cache=cache).tolist()),  # (328, 2)
    }


if __name__ == "__main__":
    session.start()
    found, cache = recorded.load(NAME) or {}, FeatureCache(memory=2_000_000_000)
    for seed in SEEDS:
        if seed not in found:
            found[seed] = run(seed, cache)
            recorded.save(NAME, found)
        deep, half = (recorded.report(r["rewards"]) for r in (found[seed], recorded.load(f"seed {seed}")))
        print(f"seed {seed}, 30 layers over 16: {compare(deep, half)}", flush=True)
