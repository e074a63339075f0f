"""Runs that were recorded: made by the recipe that is the default now, on the rows that are there now."""

import json

import pytest

from rmtutorial.best_of_n import text_labels
from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.evaluation import compare
from rmtutorial.lesson import recorded
from rmtutorial.lesson.exercises import log_clinic
from rmtutorial.lesson.pool import load_pool
from rmtutorial.preferences import load_preferences
from rmtutorial.recipe import TrainConfig

OTHERS = ("grpo", "pairs")  # of notebooks 06 and 04, with recipes and tests of their own
RUNS = sorted(p.stem for p in recorded.FOLDER.glob("*seed_*.json") if not p.stem.startswith(OTHERS))  # reward models


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


def runs_of_all_rows():
    runs = [recorded.load(f"seed {seed}") for seed in range(3)]
    return [recorded.report(run["rewards"]) for run in runs], recorded.report(runs[0]["head"]["rewards"])


def test_training_the_layers_beats_the_head_row_by_row():
    """The course's central claim, on held-out rows: each seed has a lower loss; over the three the interval is above 0."""
    reports, head = runs_of_all_rows()
    assert all(compare(report, head).loss_gain > 0 for report in reports)
    assert recorded.mean_gain(reports, head)[1][0] > 0


def test_training_the_layers_beats_the_head_on_topics_that_its_judges_have_not_seen():
    """The same on all 809 training rows, by folds over topics: the interval of the gain is far above 0."""
    found = recorded.folds()
    assert compare(found["one pass, 2e-4"], found["head alone"]).loss_interval[0] > 0.02


def test_the_mean_of_three_seeds_ranks_what_the_head_does_not():
    """More rows right, and more mirror sets with both rows right, in each seed."""
    reports, head = runs_of_all_rows()
    share = lambda report: sum(report.sets_right().values()) / len(report.sets_right())  # noqa: E731
    assert all(report.accuracy > head.accuracy + 0.02 and share(report) > share(head) + 0.05 for report in reports)


def test_every_fault_of_the_clinic_was_recorded_and_shows_its_symptom():
    """What the clues say of each run, read from its log."""
    logs = {log_clinic.RUNS[letter]: run for letter, run in log_clinic.runs().items()}
    end = {name: run.evaluations[-1] for name, run in logs.items()}
    last = {name: sum(row["loss"] for row in run.steps[-10:]) / 10 for name, run in logs.items()}
    stuck = logs["prompt end read"].steps
    assert all(row["grad_norm"] < 1e-5 and abs(row["margin"]) < 1e-6 for row in stuck)  # nothing but rounding
    assert stuck[0]["reward_std"] > 0.1
    mean = {name: max(abs(row["reward_mean"]) for row in run.steps) for name, run in logs.items()}
    assert max(mean, key=mean.get) == "rate too high" and mean["rate too high"] > 5
    assert last["memorised"] < 0.1 < 0.69 < end["memorised"]["loss"]
    assert end["labels flipped"]["accuracy"] < 0.4 and last["labels flipped"] < 0.6
    assert end["leak"]["loss"] < min(end["healthy"]["loss"], last["leak"]) and end["leak"]["accuracy"] > 0.8
    assert end["noisy labels"]["loss"] < last["noisy labels"] and end["noisy labels"]["loss"] > end["healthy"]["loss"]
    assert abs(end["labels of the first batch"]["accuracy"] - 0.5) < 0.15
    assert end["healthy"]["loss"] < 0.6


def test_the_folds_of_the_recipe_are_those_of_today_and_the_default_was_the_best_of_them():
    """The default is chosen on training rows; its margins are kept with those of the recipes that lost."""
    found = recorded.load("recipe folds")
    losses = {name: report.loss for name, report in recorded.folds().items()}
    best = min(losses, key=losses.get)
    settings = vars(TrainConfig())
    assert all(settings[key] == value for key, value in found[best]["settings"].items()), (best, losses)


def test_the_recorded_pool_is_whole():
    """Every judge has a number for each answer, every proxy for each seed; the texts are those whose labels differ."""
    pool = load_pool()
    P, N = pool.labels.shape
    assert P == len(pool.prompts) == len(set(pool.prompts)) == len(pool.texts)
    assert {len(texts) for texts in pool.texts} == {64} and N >= 64
    assert {"reward", "gold", "logprob", "length"} <= set(pool.judges)
    for scores in pool.judges.values():
        assert scores.shape == (P, N) and scores.isfinite().all()
    assert len(pool.proxies) >= 4
    for scores in pool.proxies.values():
        assert scores.shape[0] >= 8 and scores.shape[1:] == (P, N) and scores.isfinite().all()
    for texts, labels in zip(pool.texts, pool.labels):
        assert text_labels([texts])[0].tolist() == text_labels([labels[: len(texts)].tolist()])[0].tolist()


def test_the_prompts_of_the_pool_are_held_out_and_its_files_are_small():
    """No reward model of the course has trained on them, but the gold judge; the wheel stays a small download."""
    pool = load_pool()
    assert set(pool.prompts) <= {pair.prompt for pair in recorded.judged_rows() if isinstance(pair.prompt, str)}
    assert not set(pool.prompts) & {pair.prompt for pair in load_preferences() if isinstance(pair.prompt, str)}
    assert sum((recorded.FOLDER / f"pool.{end}").stat().st_size for end in ("json", "safetensors")) < 3_000_000
