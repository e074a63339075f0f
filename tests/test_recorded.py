"""Runs that were recorded: made by the recipe that is the default now, on the rows that are there now."""

import json

import pytest
import torch

from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.evaluation import compare
from rmtutorial.lesson import recorded
from rmtutorial.lesson.exercises import log_clinic
from rmtutorial.recipe import TrainConfig

RUNS = sorted(path.stem for path in recorded.FOLDER.glob("*seed_*.json"))


@pytest.fixture(params=RUNS)
def run(request):
    return json.loads((recorded.FOLDER / f"{request.param}.json").read_text(encoding="utf-8"))


def test_there_are_three_seeds_of_each_size():
    """One seed is an anecdote."""
    assert sorted(f"{start}seed_{s}" for start in ("", "200_rows_", "400_rows_") for s in range(3)) == RUNS


def test_a_recorded_run_has_the_default_recipe(run):
    """A figure of another recipe's runs would mislead: a change of the default means recording anew."""
    recipe = {key: value for key, value in vars(TrainConfig()).items() if key not in (*MAY_CHANGE, "seed")}
    assert {key: value for key, value in run["recipe"].items() if key != "seed"} == recipe


def test_a_recorded_run_is_of_the_rows_that_are_judged_now(run):
    """As many rewards as rows; and the loss that was written down is the loss of these rewards, to their digits."""
    report = recorded.report(run["rewards"])
    assert report.n == len(recorded.judged_rows()) == 328
    assert report.loss == pytest.approx(run["evaluations"][-1]["loss"], abs=2e-3)
    assert recorded.report(run["head"]["rewards"]).loss == pytest.approx(
        run["head"]["evaluations"][-1]["loss"], abs=2e-3
    )
    assert run["evaluations"][0]["loss"] == pytest.approx(run["head"]["evaluations"][-1]["loss"], abs=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_training_the_layers_beats_the_head_row_by_row(seed):
    """The course's central claim: the 95 % interval of the gain in held-out loss, by set, lies above 0."""
    run = recorded.load(f"seed {seed}")
    assert compare(recorded.report(run["rewards"]), recorded.report(run["head"]["rewards"])).loss_interval[0] > 0


def test_the_mean_of_three_seeds_ranks_what_the_head_does_not():
    """At least 0.73 of the rows, and both rows of at least 0.45 of the mirror sets."""
    reports = [recorded.report(recorded.load(f"seed {seed}")["rewards"]) for seed in range(3)]
    both = [list(report.sets_right().values()) for report in reports]
    assert sum(report.accuracy for report in reports) / 3 >= 0.73
    assert sum(sum(sets) / len(sets) for sets in both) / 3 >= 0.45


def test_every_fault_of_the_clinic_was_recorded_and_shows_its_symptom():
    """What the clues say of each run, read from its log."""
    logs = {log_clinic.RUNS[letter]: run for letter, run in log_clinic.runs().items()}
    end = {name: run.evaluations[-1] for name, run in logs.items()}
    last = {name: sum(row["loss"] for row in run.steps[-10:]) / 10 for name, run in logs.items()}
    assert all(row["grad_norm"] == 0 and row["margin"] == 0 for row in logs["prompt end read"].steps)
    assert min(row["reward_std"] for row in logs["prompt end read"].steps) > 0
    mean = {name: max(abs(row["reward_mean"]) for row in run.steps) for name, run in logs.items()}
    assert max(mean, key=mean.get) == "rate too high" and mean["rate too high"] > 5
    assert last["memorised"] < 0.1 < 0.69 < end["memorised"]["loss"]
    assert end["labels flipped"]["accuracy"] < 0.4 and last["labels flipped"] < 0.6
    assert end["leak"]["loss"] < min(end["healthy"]["loss"], last["leak"]) and end["leak"]["accuracy"] > 0.85
    assert end["noisy labels"]["loss"] < last["noisy labels"] and end["noisy labels"]["loss"] > end["healthy"]["loss"]
    assert abs(end["labels of the first batch"]["accuracy"] - 0.5) < 0.15
    assert end["healthy"]["loss"] < 0.6


def test_the_folds_of_the_recipe_are_those_of_today_and_the_default_was_the_best_of_them():
    """The default is chosen on training rows; its margins are kept with those of the recipes that lost."""
    found = recorded.load("recipe folds")
    losses = {
        name: torch.nn.functional.softplus(-torch.tensor(run["margins"])).mean().item() for name, run in found.items()
    }
    best = min(losses, key=losses.get)
    settings = vars(TrainConfig())
    assert all(settings[key] == value for key, value in found[best]["settings"].items()), (best, losses)
