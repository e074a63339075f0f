"""The default recipe, chosen on training rows alone: 3-fold cross-validation over topics. Half an hour on 2 cores.

    python tests/bench/choose_recipe.py [NAME ...]     (default: all; a NAME is a key of RECIPES)

Each recipe is trained on two thirds of the topics and judged on the rows of the others, so that every training row is
judged once, on a topic that its judge has not seen; `test` and `ood`, whose topics are new too, are not touched. Folds
over sets would be too kind to long training: a set's neighbours on its topic would stand in the training part. What is found is kept in rmtutorial/data/recorded/recipe_folds.json, with
the margin of every row, and compared row by row with the default recipe.
"""

import datetime
import sys

import torch
import torch.nn.functional as F

from rmtutorial.backbones import load_sft
from rmtutorial.features import FeatureCache, pooled_features
from rmtutorial.intervals import grouped_interval, units
from rmtutorial.lesson import recorded, session
from rmtutorial.preferences import load_preferences
from rmtutorial.probe import fit_head
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model

FOLDS = 3
RECIPES = {
    "head alone": None,
    "one pass, 2e-4": {"epochs": 1, "lr": 2e-4},
    "one pass, 1e-4": {"epochs": 1, "lr": 1e-4},
    "one pass, 3e-4": {"epochs": 1, "lr": 3e-4},
    "one pass, 2e-4, warmup 0.3": {"epochs": 1, "lr": 2e-4, "warmup": 0.3},
}
RIDGES = (8, 16, 32, 64, 128, 256)


def folds(pairs):
    """For each fold the indices that are held out: whole topics, dealt out in a shuffled order.

    Some sets have two topics (a prompt of each); topics that share a set stay together.
    """
    joined = {pair.topic: {pair.topic} for pair in pairs}
    for topics in ({p.topic for p in pairs if p.group == pair.group} for pair in pairs):
        merged = set().union(*(joined[topic] for topic in topics))
        joined |= dict.fromkeys(merged, merged)
    unit = [min(joined[pair.topic]) for pair in pairs]
    names = sorted(set(unit))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
    fold = {names[k]: place % FOLDS for place, k in enumerate(order)}
    return [[i for i, name in enumerate(unit) if fold[name] == k] for k in range(FOLDS)]


def cross_validated(pairs, judge):
    """Margins (n,) of all rows, each from a model that has not seen its set; judge(train rows, held-out rows)."""
    margins = torch.zeros(len(pairs))
    for held_out in folds(pairs):
        margins[held_out] = judge([i for i in range(len(pairs)) if i not in set(held_out)], held_out)
    return margins


def head_alone(features, ridge):
    def judge(train, held_out):
        w, _ = fit_head(features[train], ridge)
        return (features[held_out, 0] - features[held_out, 1]) @ w

    return judge


def trained(pairs, settings, cache):
    def judge(train, held_out):
        rm = RewardModel.from_sft(*load_sft(layers=16))
        train_reward_model(rm, [pairs[i] for i in train], TrainConfig(**settings), cache=cache)
        r_chosen, r_rejected = rm.score_pairs([pairs[i] for i in held_out])
        return r_chosen - r_rejected

    return judge


def describe(name, margins, pairs, default):
    losses = F.softplus(-margins)
    both = {}
    for pair, margin in zip(pairs, margins.tolist()):
        if pair.kind == "mirror":
            both[pair.group] = both.get(pair.group, True) and margin > 0
    line = f"{name:32} loss {losses.mean():.4f}, accuracy {(margins > 0).float().mean():.3f}, both {sum(both.values()) / len(both):.3f}"
    if default is not None:
        more = losses - F.softplus(-default)
        low, high = grouped_interval(more, units(pairs))
        line += f"; above the default's by {more.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
    print(line, flush=True)


if __name__ == "__main__":
    session.start()
    pairs, found = load_preferences(), recorded.load("recipe folds") or {}
    features = pooled_features(RewardModel.from_sft(*load_sft(layers=16)), pairs)
    for ridge in RIDGES:
        describe(f"head alone, ridge {ridge}", cross_validated(pairs, head_alone(features, ridge)), pairs, None)
    cache = FeatureCache(memory=2_000_000_000)
    for name in sys.argv[1:] or RECIPES:
        if name not in found:
            settings = RECIPES[name]
            judge = trained(pairs, settings, cache) if settings else head_alone(features, TrainConfig.head_ridge)
            margins = [round(m, 4) for m in cross_validated(pairs, judge).tolist()]
            found[name] = {"recorded": datetime.date.today().isoformat(), "settings": settings, "margins": margins}
            recorded.save("recipe folds", found)
    default = found.get("one pass, 2e-4")
    for name, run in found.items():
        describe(name, torch.tensor(run["margins"]), pairs, default and torch.tensor(default["margins"]))
