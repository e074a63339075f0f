"""Notebook 04's recorded runs: read back as written, means and intervals by hand; and those that are there are of the recipe."""

import json

import pytest
import torch

from rmtutorial.best_of_n import best_of_n
from rmtutorial.intervals import grouped_interval, units
from rmtutorial.lesson import dpo_runs, recorded, target
from rmtutorial.lesson.displacement import by_kind
from rmtutorial.lesson.family import FAMILY

ROWS = recorded.judged_rows()
N, P = len(ROWS), 5


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A record of every kind, of random numbers."""
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    for k, name in enumerate(("RM 30", "RM 16", *FAMILY, "beta 0.03", "beta 0.3", "beta 1.0")):
        for seed in dpo_runs.SEEDS:
            one = {"seconds": 1.0, "nats": random(P, seed=seed).tolist()}
            rows = random(N, 2, seed=10 * k + seed).tolist()
            extra = (
                {"rewards": rows, "nats untrained": [1.0] * P}
                if name.startswith("RM")
                else {"change": rows, "kl": random(P, seed=k).tolist()}
            )
            recorded.save(f"pairs {name.replace('+', 'and')} seed {seed}", {**one, **extra})
    before = {"logprobs": (-50 - random(N, 2, seed=1).abs()).tolist(), "tokens": [[10.0, 20.0]] * N, "nats": [3.0] * P}
    recorded.save("pairs untrained", before)
    return tmp_path


def test_two_kinds_are_compared_row_by_row_over_the_mean_of_their_seeds(folder):
    """By hand from the files: the loss of each row, averaged over three seeds, then the difference, by set."""
    loss = {}
    for name, key, scale in (("RM 30", "rewards", 1.0), ("DPO", "change", 0.1)):
        found = torch.tensor([recorded.load(f"pairs {name} seed {seed}")[key] for seed in dpo_runs.SEEDS])
        loss[name] = torch.log1p(torch.exp(-scale * (found[..., 0] - found[..., 1]))).mean(dim=0)
    gain, low, high = dpo_runs.paired("RM 30", "DPO")
    difference = loss["DPO"] - loss["RM 30"]
    assert gain == pytest.approx(difference.mean().item(), abs=1e-6)
    assert (low, high) == pytest.approx(grouped_interval(difference, units(ROWS)), abs=1e-6)
    some = by_kind(ROWS)["edit"]
    assert dpo_runs.paired("RM 30", "DPO", "losses", some)[0] == pytest.approx(difference[some].mean().item(), abs=1e-6)


def test_tables_have_a_row_a_model_a_loss_a_beta(folder):
    """Implicit rewards are by the beta of the run, so a loss is; an accuracy is not."""
    depth = dpo_runs.depth_table(by_kind(ROWS))
    assert list(depth.index) == ["RM 16", "RM 30", "DPO"] and {"edit", "mirror"} <= set(depth.columns)
    family, beta = dpo_runs.family_table(), dpo_runs.beta_table()
    assert list(family.index) == list(FAMILY) and list(beta.index) == [0.03, 0.1, 0.3, 1.0]
    assert (
        beta.loc[0.1, "right"]
        == pytest.approx(family.loc["DPO", "right"])
        == pytest.approx(depth.loc["DPO", "accuracy"])
    )
    assert ((family["right low"] <= family["right"]) & (family["right"] <= family["right high"])).all()
    torch.testing.assert_close(dpo_runs.values("beta 0.3"), 0.3 * dpo_runs.changes("beta 0.3"))


def test_simpo_ranks_by_log_pi_a_token(folder):
    """(log pi_ref + change) / tokens, of the file's own numbers."""
    before, change = recorded.load("pairs untrained"), dpo_runs.changes("SimPO")
    per_token = (torch.tensor(before["logprobs"]) + change) / torch.tensor([10.0, 20.0])
    right = (per_token[..., 0] > per_token[..., 1]).double().mean().item()
    assert dpo_runs.family_table().loc["SimPO", "right"] == pytest.approx(right, abs=1e-6)


def test_what_a_model_writes_is_compared_prompt_by_prompt(folder):
    """A reward model with what it wrote itself before (cut, it is another model); a policy with the language model."""
    table = dpo_runs.writing_table()
    after = torch.stack([random(P, seed=seed) for seed in dpo_runs.SEEDS]).mean().item()
    assert table["before"].tolist() == [1, 1, 3] and table["after"].tolist() == pytest.approx([after] * 3, abs=1e-6)
    assert table.loc["DPO", "change"] == pytest.approx(after - 3, abs=1e-6)


def test_what_is_not_recorded_is_named_with_its_command(folder):
    """No silent half of a table."""
    recorded.path_of("pairs IPO seed 2").unlink()
    with pytest.raises(FileNotFoundError, match=r"'pairs IPO seed 2' is not recorded: python tests/bench/dpo_runs.py"):
        dpo_runs.family_table()
    with pytest.raises(FileNotFoundError, match=r"dpo_target\.py"):
        target.recorded_passes()


def test_the_target_puts_dpo_and_best_of_n_on_one_axis(folder):
    """A number a prompt; best of 4 by the unbiased estimator, with passing as gold; seeds are averaged."""
    G = torch.Generator().manual_seed(0)
    passed, after = ((torch.rand(s, P, 8, generator=G) < 0.4).long() for s in (1, 3))
    scores = [random(P, 8, seed=seed).tolist() for seed in range(4)]
    runs = [{"dpo": {"passed": after[s].tolist()}, "rm": {"scores": scores[s]}} for s in range(3)]
    recorded.save("dpo target", {"passed": passed[0].tolist(), "reward": scores[3], "runs": runs})
    rates = target.recorded_passes()
    assert {label: tuple(rate.shape) for label, rate in rates.items()} == dict.fromkeys(rates, (P,))
    torch.testing.assert_close(rates["as it is"], passed[0].double().mean(dim=1))
    torch.testing.assert_close(rates["DPO on own answers"], after.double().mean(dim=2).mean(dim=0))
    told = torch.stack([best_of_n(torch.tensor(s), passed[0].double(), [4]) for s in scores[:3]])[..., 0].mean(dim=0)
    torch.testing.assert_close(rates["best of 4, RM of the same pairs"], told)


# What is recorded.


def all_runs():
    names = [
        f"pairs {name.replace('+', 'and')} seed {seed}"
        for name in ("RM 30", "RM 16", *FAMILY)
        for seed in dpo_runs.SEEDS
    ]
    if any(recorded.load(name) is None for name in names):
        pytest.skip("not recorded yet: python tests/bench/dpo_runs.py")
    return {name: recorded.load(name) for name in names}


def test_recorded_runs_differ_in_loss_depth_and_seed_alone():
    """Same rows, same order, same trained layers: one recipe."""
    recipes = {json.dumps({**run["recipe"], "seed": 0}, sort_keys=True) for run in all_runs().values()}
    assert len(recipes) == 1
    assert all(len(run.get("rewards") or run["change"]) == N for run in all_runs().values())


def test_recorded_files_are_small():
    """At most 20 kB each."""
    for path in recorded.FOLDER.glob("pairs_*.json"):
        assert path.stat().st_size <= 20_000
