"""The scripts that record notebook 04's runs, at toy size: whole, resumable, and read back as they were written."""

import json

import pytest
import torch

from conftest import tiny_sft
from rmtutorial.lesson import recorded
from rmtutorial.lesson.dpo_runs import cost_table
from rmtutorial.lesson.family import FAMILY
from rmtutorial.reward_model import RewardModel


@pytest.fixture
def bench(monkeypatch, request):
    """tests/bench as a place to import from."""
    monkeypatch.syspath_prepend(str(request.path.parent / "bench"))


@pytest.fixture
def runs(bench, pairs):
    """dpo_runs with a world of four layers and six pairs, which are judged too."""
    import dpo_runs

    world = dpo_runs.World(
        load=lambda: tiny_sft("llama"),
        train=pairs,
        judged=pairs,
        prompts=["Who sat?", "Is red light blue?"],
        top=2,
        layers=2,
    )
    return dpo_runs, world


NAMES = ("pairs untrained", "pairs cost", "pairs RM 30 seed 0", "pairs DPO seed 0", "pairs DPO and SFT seed 0", "pairs beta 1.0 seed 0")  # fmt: skip


def test_a_run_is_recorded_once_and_read_back(runs, tmp_path, monkeypatch, capsys):
    """A second start finds all files and computes nothing; the numbers are those of the rows, rounded."""
    dpo_runs, world = runs
    dpo_runs.record(world, NAMES, tmp_path)
    first = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    monkeypatch.setattr(dpo_runs, "recorded_run", lambda *_: pytest.fail("asked twice"))
    dpo_runs.record(world, NAMES, tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == first and len(first) == len(
        NAMES
    )
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    run, before = recorded.load("pairs DPO seed 0"), recorded.load("pairs untrained")
    assert run["recipe"]["lr"] == 2e-4 and run["loss"] == "DPO" and len(run["steps"]) == 1
    assert torch.tensor(run["change"]).shape == torch.tensor(before["logprobs"]).shape == (6, 2)
    assert len(run["kl"]) == len(run["nats"]) == len(before["nats"]) == 2
    assert recorded.load("pairs RM 30 seed 0")["steps"][0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    cost = cost_table()
    assert list(cost.columns) == ["RM 16", "RM 30", "DPO 30"] and cost.columns.name == f"recorded {run['recorded']}"
    assert (cost.loc["logits (MiB)"] > 0).tolist() == [False, False, True] == (cost.loc["reference (MiB)"] > 0).tolist()


def test_every_run_starts_from_the_untrained_model(runs, tmp_path):
    """DPO recorded alone and behind another run: the same to the last bit."""
    dpo_runs, world = runs
    dpo_runs.record(world, ["pairs DPO seed 1", "pairs IPO seed 1"], tmp_path)
    (tmp_path / "pairs_DPO_seed_1.json").rename(tmp_path / "kept.json")
    dpo_runs.record(world, ["pairs DPO seed 1"], tmp_path)
    a, b = (
        json.loads((tmp_path / name).read_text(encoding="utf-8")) for name in ("kept.json", "pairs_DPO_seed_1.json")
    )
    assert a["change"] == b["change"] and a["kl"] == b["kl"]


def test_all_losses_and_depths_have_three_seeds(bench):
    """Names are file names; none is lost for another."""
    import dpo_runs

    assert len({recorded.path_of(name) for name in dpo_runs.ALL}) == 2 + 3 * (2 + len(FAMILY) + len(dpo_runs.BETAS))
    assert all(set(run) & {"layers", "loss", "beta"} for run in dpo_runs.RUNS.values())


def test_the_target_is_recorded_in_parts_that_are_kept(bench, tmp_path, monkeypatch):
    """Whether an answer passes is decided here by its tokens' parity, so that both kinds occur in random text."""
    import dpo_target

    monkeypatch.setattr(dpo_target.target, "passed", lambda samples, tokenizer: samples.ids.sum(-1) % 2 == 0)
    world = dpo_target.World(
        load=lambda: tiny_sft("llama"), reward=lambda: RewardModel.from_sft(*tiny_sft("llama"), layers=2),
        train=["Who sat?", "Where?", "Is it blue?"], judged=["Why?", "See the mat?"], prompts=3, group=4, top=2, folder=tmp_path,
    )  # fmt: skip
    found = dpo_target.record(world, seeds=2)
    monkeypatch.setattr(dpo_target, "answers", lambda *_, **__: pytest.fail("sampled twice"))
    assert dpo_target.record(world, seeds=2) == found
    assert torch.tensor(found["passed"]).shape == torch.tensor(found["reward"]).shape == (2, 4)
    for run in found["runs"]:
        assert torch.tensor(run["dpo"]["passed"]).shape == torch.tensor(run["rm"]["scores"]).shape == (2, 4)
        assert 0 <= run["base rate"] <= 1 and len(run["dpo"]["kl"]) == 2
