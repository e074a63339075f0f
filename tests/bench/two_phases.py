"""Does training the layers beat what a head alone reaches? Recorded for notebook 03: about half an hour on 2 cores.

    python tests/bench/two_phases.py [NAME ...]        (default: all; a NAME is a key of RUNS)

Each run fits the head to its optimum on the first rows of `train`, then trains the top layers by the default recipe,
and is judged on `test` and `ood` together, row by row against the head. The runs are kept as small JSON files in
rmtutorial/data/recorded, with the rewards of every row; the gains are printed with their interval by set.
"""

import datetime
import functools
import sys
from pathlib import Path

from rmtutorial.backbones import load_sft
from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.evaluation import compare
from rmtutorial.features import FeatureCache, pooled_features
from rmtutorial.lesson import recorded, session
from rmtutorial.preferences import load_preferences
from rmtutorial.probe import fit_head
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model

MODELS = Path(__file__).parents[2] / "out" / "bench"
STEPS = ("loss", "accuracy", "margin", "grad_norm", "reward_mean", "reward_std", "lr")
RUNS = {f"seed {seed}": {"seed": seed} for seed in (0, 1, 2)}  # the default recipe on all rows
RUNS |= {f"{n} rows, seed {seed}": {"seed": seed, "size": n} for n in (200, 400) for seed in (0, 1, 2)}


@functools.cache
def features():
    """Pooled states of all training rows and of those that are judged, before any training."""
    rm = RewardModel.from_sft(*load_sft(layers=16))
    return pooled_features(rm, load_preferences()), pooled_features(rm, recorded.judged_rows())


def run(name, cache, size=None, **settings):
    train, held_out = load_preferences(size=size), recorded.judged_rows()
    rm = RewardModel.from_sft(*load_sft(layers=16))
    config = TrainConfig(**settings, eval_every=26)
    known, judged = features()
    w, head_history = fit_head(known[: len(train)], config.head_ridge, judged)
    history = train_reward_model(rm, train, config, held_out, cache=cache)
    rewards = rm.score_encoded(rm.encode_pairs(held_out), cache=cache)  # (328, 2)
    if settings == {"seed": settings["seed"]} and size is None:  # the default recipe: data_release.py judges it further
        rm.save_pretrained(MODELS / name)
        history.save(MODELS / name / "history.json")
    return {
        "recorded": datetime.date.today().isoformat(),
        "recipe": {key: value for key, value in vars(config).items() if key not in MAY_CHANGE},
        "rows": len(train),
        "head": {"evaluations": rounded(head_history.evaluations), "rewards": rounded((judged @ w).tolist())},
        "steps": [{key: rounded(row[key]) for key in ("step", *STEPS)} for row in history.steps],
        "evaluations": rounded(history.evaluations),
        "rewards": rounded(rewards.tolist()),
    }


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def describe(name, found):
    """One line: accuracy, loss, both rows of a mirror set; and the gain over the head."""
    after, head = recorded.report(found["rewards"]), recorded.report(found["head"]["rewards"])
    for who, r in (("head", head), (name, after)):
        both = list(r.sets_right().values())
        print(f"{who:18} accuracy {r.accuracy:.3f}, loss {r.loss:.3f}, both {sum(both) / len(both):.2f} of {len(both)}")
    print(f"{'':18} {compare(after, head)}", flush=True)


if __name__ == "__main__":
    session.start()
    cache = FeatureCache(memory=2_000_000_000)
    for name in sys.argv[1:] or RUNS:
        found = recorded.load(name) or run(name, cache, **RUNS[name])
        recorded.save(name, found)
        describe(name, found)
