"""Runs that were recorded, by scripts in tests/bench, because they take longer than a reader would wait."""

import json
from pathlib import Path

import torch

from rmtutorial.evaluation import compare, report_of
from rmtutorial.files import write_text
from rmtutorial.history import History
from rmtutorial.intervals import grouped_interval, units
from rmtutorial.preferences import load_preferences

FOLDER = Path(__file__).parents[1] / "data" / "recorded"


def judged_rows():
    """The rows on which runs are judged: `test` and `ood` together, 328 that no training has seen."""
    return load_preferences(split="test") + load_preferences(split="ood")


def path_of(name):
    return FOLDER / f"{name.replace(', ', '_').replace(' ', '_')}.json"


def load(name):
    """The run of this name as it was saved (a dict), or None."""
    path = path_of(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def save(name, found):
    write_text(path_of(name), json.dumps(found) + "\n")


def history(found):
    return History(found["steps"], found["evaluations"])


def report(rewards):
    """The PairReport of recorded rewards of `judged_rows`."""
    pairs = judged_rows()
    return report_of(torch.tensor(rewards), torch.zeros(len(pairs), 2), pairs)


def folds():
    """{recipe: PairReport of all training rows}, each row judged by a model that has not seen its topic.

    From tests/bench/choose_recipe.py, which chose the default recipe by these rows.
    """
    pairs = load_preferences()
    found = load("recipe folds")
    margins = {name: torch.tensor(run["margins"]) for name, run in found.items()}
    rewards = {name: torch.stack([m, torch.zeros_like(m)], dim=1) for name, m in margins.items()}
    return {name: report_of(r, torch.zeros(len(pairs), 2), pairs) for name, r in rewards.items()}


def mean_gain(reports, head, by="group", what="losses"):
    """(gain, its 95 % interval) of several runs of one recipe over `head`, averaged row by row first.

    Args: by, the unit of the interval; what, "losses" (nats, lower is a gain) or "right" (accuracy).
    """
    sign = -1 if what == "losses" else 1
    gain = torch.stack([sign * (getattr(report, what) - getattr(head, what)) for report in reports]).mean(dim=0)  # (n,)
    return gain.mean().item(), grouped_interval(gain, units(head.pairs, by))


def measures(report):
    """Loss, accuracy, and the share of mirror sets with both rows right, of a PairReport."""
    both = list(report.sets_right().values())
    return {"loss": report.loss, "accuracy": report.accuracy, "both": sum(both) / len(both)}


def row(found):
    """The measures of a recorded run, and what it gains, row by row, over a head fitted on the same pairs."""
    after, head = report(found["rewards"]), report(found["head"]["rewards"])
    gain = compare(after, head)
    interval = "[{:.3f}, {:.3f}]".format(*gain.loss_interval)
    return {**measures(after), "gain in loss": gain.loss_gain, "95 %": interval, "p (McNemar)": gain.p}
