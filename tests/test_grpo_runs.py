"""Recorded GRPO runs: read back as they were written, gains counted by hand; and those that are there are of the recipe."""

import json
from types import SimpleNamespace

import pytest
import torch

from rmtutorial.best_of_n import best_of_n, within_prompt_spread
from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.grpo import GRPOConfig
from rmtutorial.intervals import grouped_interval
from rmtutorial.kl_frontier import best_of_n_frontier, pool_kl, tilted_frontier, tilted_weights
from rmtutorial.lesson import figures, grpo_runs, recorded
from rmtutorial.lesson.pool import load_pool

K, P, G = 3, 4, 2


def made(seed):
    """A record of K evaluations, P prompts, G answers."""
    scores = torch.randn(K, P, G, generator=torch.Generator().manual_seed(seed))
    rows = [{"step": 10 * k, "kl": k + seed, "openers": k / 4, "opener": "a b c", "distinct": 0.5} for k in range(K)]
    return {
        "recorded": "2026-11-30",
        "recipe": {"seed": seed, "steps": 3, "prompts_per_step": 4, "group": 2},
        "prompts": [f"p{p}" for p in range(P)],
        "steps": [{"step": n + 1, "kl": 0.1, "seconds": end} for n, end in enumerate([60, 120, 900])],
        "evaluations": rows,
        "scores": {"reward": scores.tolist(), "words": (2 * scores + 1).tolist()},
        "texts": {"0": [["x", "y"]] * K},
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two seeds of GRPO without KL term, and two of one other way."""
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    for seed in (0, 2):
        recorded.save(f"grpo seed {seed}", made(seed))
    way = {key: made(5)[key] for key in ("evaluations", "scores", "texts")}
    way["evaluations"] = [{**row, "seconds": 60 * (1 + row["step"])} for row in way["evaluations"]]
    recorded.save(
        "grpo others", {"recorded": "2026-11-30", "samples": [6, 8], "prompts": ["p"] * P, "ways": {"dpo": way}}
    )
    return tmp_path


@pytest.fixture
def pool():
    """24 answers to each prompt, scored by the reward and another judge."""
    scores = torch.randn(P, 24, generator=torch.Generator().manual_seed(9))
    return SimpleNamespace(judges={"reward": scores, "gold": scores + 1})


def test_runs_come_back_with_the_rewards_in_their_evaluations(folder):
    """As `train_grpo` gives them, so that the same figure draws both; what was not recorded is no run."""
    some = grpo_runs.runs("no KL term")
    assert [run.about["recipe"]["seed"] for run in some] == [0, 2] and grpo_runs.runs("KL term in the reward") == []
    for run in some:
        assert torch.equal(torch.tensor([row["rewards"] for row in run.history.evaluations]), run.scores["reward"])
        assert run.texts == {0: [["x", "y"]] * K} and len(run.history.steps) == 3
    figures.policy_gradient.before_and_after(some[0].history)


def test_each_seed_of_another_way_is_a_run_of_one_evaluation(folder):
    """A way is trained once a seed, and judged once."""
    ways = grpo_runs.ways()
    assert list(ways) == ["DPO, best against worst of 8"]
    found = ways["DPO, best against worst of 8"]
    assert len(found) == K and all(run.scores["words"].shape == (1, P, G) for run in found)
    assert torch.equal(torch.cat([run.scores["reward"] for run in found]), torch.tensor(made(5)["scores"]["reward"]))


def test_a_gain_is_counted_from_the_untrained_model_in_its_within_prompt_spreads(folder, pool):
    """From the pool for judges that it has, else from the evaluations before training, all seeds' answers together."""
    some = grpo_runs.runs("no KL term")
    unit = grpo_runs.units(pool, some)
    assert set(unit) == {"reward", "words"}
    first = torch.cat([run.scores["words"][0] for run in some], dim=1).double()  # (P, 4)
    by_hand = (some[1].scores["words"][2, 3].double().mean() - first[3].mean()) / within_prompt_spread(first)
    assert grpo_runs.gains(some, "words", unit)[1, 2, 3] == pytest.approx(by_hand.item())
    from_pool = pool.judges["reward"].double()
    by_hand = (some[0].scores["reward"][1].double().mean(1) - from_pool.mean(1)) / within_prompt_spread(from_pool)
    torch.testing.assert_close(grpo_runs.gains(some, "reward", unit)[0, 1], by_hand)


def test_the_frontier_has_the_mean_over_seeds(folder, pool):
    """One KL for all prompts: 1, 2, 3 nats are the means of seeds 0 and 2."""
    some = grpo_runs.runs("no KL term")
    unit = grpo_runs.units(pool, some)
    found = grpo_runs.frontier(some, unit)
    assert found["kl"].tolist() == [[1, 2, 3]] * P
    torch.testing.assert_close(found["words"], grpo_runs.gains(some, "words", unit).mean(0).T)
    assert grpo_runs.over_steps(some, "openers").tolist() == [[0, 0.25, 0.5]] * 2


def test_what_a_way_costs_is_counted_from_its_recipe(folder, pool):
    """3 steps of 4 prompts x 2 answers at a median of one minute; three seeds of DPO took 1, 11 and 21 minutes."""
    some = grpo_runs.runs("no KL term")
    unit = grpo_runs.units(pool, some)
    found = grpo_runs.at_the_end(some, unit)
    assert (found["seeds"], found["answers"], found["minutes"], found["kl"]) == (2, 24, 3, 3)
    assert found["words"] == pytest.approx(grpo_runs.gains(some, "words", unit)[:, 2].mean().item())
    other = grpo_runs.at_the_end(grpo_runs.ways()["DPO, best against worst of 8"], unit)
    assert (other["seeds"], other["answers"], other["minutes"]) == (3, 48, 11)


def test_a_gain_over_others_is_prompt_by_prompt(folder, pool):
    """The mean of differences is the difference of means; over itself a kind gains exactly nothing."""
    some, others = grpo_runs.runs("no KL term"), grpo_runs.ways()["DPO, best against worst of 8"]
    unit = grpo_runs.units(pool, some)
    mean, low, high = grpo_runs.gain_over(some, others, "words", unit)
    apart = [grpo_runs.at_the_end(runs, unit)["words"] for runs in (some, others)]
    assert mean == pytest.approx(apart[0] - apart[1]) and low < mean < high
    assert grpo_runs.gain_over(some, some, "words", unit) == (0, 0, 0)


def test_policies_on_the_pool_stand_on_the_same_axis(pool):
    """KL of the policy that the reward makes; the gain of each judge, by best_of_n and by the weights themselves."""
    best = grpo_runs.pool_frontier(best_of_n_frontier, pool, [1, 4])
    other = pool.judges["gold"].double()
    gain = best_of_n(pool.judges["reward"], other, [4])[:, 0] - other.mean(1)
    torch.testing.assert_close(best["gold"][:, 1], gain / within_prompt_spread(other))
    tilted = grpo_runs.pool_frontier(tilted_frontier, pool, [0.5])
    torch.testing.assert_close(tilted["kl"][:, 0], pool_kl(tilted_weights(pool.judges["reward"], 0.5)))
    assert set(best) == set(tilted) == {"kl", "reward", "gold"}


# What is recorded.

FILES = sorted(recorded.FOLDER.glob("grpo_*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recorded_file_is_small_and_of_the_pools_prompts(path):
    """At most 150 kB; the answers were asked where the pool was sampled."""
    assert path.stat().st_size <= 150_000
    assert json.loads(path.read_text(encoding="utf-8"))["prompts"] == load_pool().prompts


@pytest.fixture
def both():
    kinds = {kind: grpo_runs.runs(kind) for kind in grpo_runs.KINDS}
    if any(len(some) < len(grpo_runs.SEEDS) for some in kinds.values()):
        pytest.skip("not recorded yet: python tests/bench/grpo_runs.py")
    return kinds


def test_recorded_runs_have_the_default_recipe_but_for_length_prompts_seed_and_kl_term(both):
    """A change of the defaults means recording anew."""
    free = (*MAY_CHANGE, "seed", "steps", "prompts_per_step", "beta", "kl_in")
    default = {key: value for key, value in vars(GRPOConfig()).items() if key not in free}
    for kind, some in both.items():
        for run in some:
            assert {key: value for key, value in run.about["recipe"].items() if key not in free} == default
            assert (run.about["recipe"]["beta"] > 0) == (kind == "KL term in the reward")
            steps = [row["step"] for row in run.history.evaluations]
            assert steps == list(range(0, run.about["recipe"]["steps"] + 1, 20))


def test_held_out_answers_gain_by_the_reward_and_by_gold_over_three_seeds(both):
    """The mean over seeds, at the last evaluation without KL term: both intervals, by prompt, are above 0."""
    some = both["no KL term"]
    unit = grpo_runs.units(load_pool(), some)
    for judge in ("reward", "gold"):
        gain = grpo_runs.gains(some, judge, unit).mean(dim=0)[-1]  # (P,)
        assert grouped_interval(gain, range(len(gain)))[0] > 0


def test_the_kl_term_holds_the_policy_nearer_to_the_reference(both):
    """What it is for: less KL at the end, in the mean over seeds."""
    with_term, without = (grpo_runs.over_steps(both[kind], "kl")[:, -1].mean() for kind in reversed(grpo_runs.KINDS))
    assert with_term < without
