"""Recorded GRPO runs, and other ways to follow the same reward, with what several judges say of their held-out answers.

Made by tests/bench/grpo_runs.py and tests/bench/grpo_others.py. Letters: S seeds, K evaluations of a run, P held-out
prompts (those of the recorded pool), G answers to each.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from statistics import median

import torch

from rmtutorial.best_of_n import mean_with_interval, within_prompt_spread
from rmtutorial.history import History
from rmtutorial.lesson import recorded

KINDS = {"no KL term": "grpo", "KL term in the reward": "grpo kl"}
WAYS = {"DPO, best against worst of 8": "dpo", "fine-tuning on the best of 8": "best", "on a random one of 8": "random"}
SEEDS = (0, 1, 2)


@dataclass
class Run:
    """One training, evaluated K times on held-out prompts; of the other ways, once, when it is over."""

    history: History  # evaluations have `rewards`, `openers`, `opener` and `distinct` too, but no `answers`
    scores: dict  # judge -> (K, P, G), in the judge's own unit
    texts: dict  # number of a prompt -> K lists of G texts; some prompts only
    about: dict  # recorded (date), recipe of a GRPO run or samples (prompts, answers to each) of another way, prompts


def runs(kind):
    """The recorded runs of a kind of KINDS, a Run a seed; of none that was not recorded."""
    found = [recorded.load(f"{KINDS[kind]} seed {seed}") for seed in SEEDS]
    return [_run(run, run["steps"]) for run in found if run]


def ways():
    """{name of a way of WAYS: a Run of one evaluation for each seed}; empty if none was recorded."""
    kept = recorded.load("grpo others") or {"ways": {}}
    about = {key: value for key, value in kept.items() if key != "ways"}
    return {
        name: [_run({**about, **_of_seed(kept["ways"][way], s)}, []) for s in range(len(kept["ways"][way]["evaluations"]))]
        for name, way in WAYS.items()
        if way in kept["ways"]
    }  # fmt: skip


def _of_seed(found, s):
    return {
        "evaluations": [found["evaluations"][s]],
        "scores": {judge: [scores[s]] for judge, scores in found["scores"].items()},
        "texts": {p: [texts[s]] for p, texts in found["texts"].items()},
    }


def _run(found, steps):
    scores = {judge: torch.tensor(values) for judge, values in found["scores"].items()}
    evaluations = [{**row, "rewards": r.tolist()} for row, r in zip(found["evaluations"], scores["reward"])]
    texts = {int(p): some for p, some in found["texts"].items()}
    about = {key: found[key] for key in ("recorded", "recipe", "samples", "prompts") if key in found}
    return Run(History(steps, evaluations), scores, texts, about)


def units(pool, untrained):
    """{judge: (mean of each prompt (P,), spread)} of answers of the untrained model, from which gains are counted.

    Args: pool, as `load_pool` gives it: judges that it has too are measured on its many answers; untrained, Runs, whose
        first evaluation is before any training: for judges that the pool has not.
    """
    first = {judge: torch.cat([run.scores[judge][0] for run in untrained], dim=1) for judge in untrained[0].scores}
    first |= {judge: scores for judge, scores in pool.judges.items() if judge in first}
    return {judge: (scores.double().mean(dim=1), within_prompt_spread(scores)) for judge, scores in first.items()}


def gains(some, judge, unit):
    """(S, K, P): what each evaluation of S runs gains by a judge over the untrained model, in within-prompt spreads."""
    mean, spread = unit[judge]
    return torch.stack([(run.scores[judge].double().mean(dim=-1) - mean) / spread for run in some])


def over_steps(some, key):
    """(S, K): a number of the evaluations, `openers` or `kl`, of S runs."""
    return torch.tensor([[row[key] for row in run.history.evaluations] for run in some], dtype=torch.float64)


def at_the_end(some, unit):
    """What runs of one kind cost and reached when they were over, means over seeds: a dict of numbers.

    answers: sampled to learn from; minutes: of sampling and learning, on the one shared core that recorded them, the steps
    of GRPO at the median step's pace, since evaluations lie between; kl in nats; and each judge's gain.
    """
    found = {
        "seeds": len(some),
        "answers": _answers(some[0].about),
        "minutes": sum(_seconds(run.history) for run in some) / len(some) / 60,
        "kl": over_steps(some, "kl")[:, -1].mean().item(),
    }
    return found | {judge: gains(some, judge, unit)[:, -1].mean().item() for judge in unit}


def gain_over(some, others, judge, unit):
    """(mean, low, high): what runs gain by a judge, when they are over, above what others gain; 95 % interval over prompts.

    Prompt by prompt, each the mean over the seeds of its kind.
    """
    gain = gains(some, judge, unit)[:, -1].mean(dim=0) - gains(others, judge, unit)[:, -1].mean(dim=0)  # (P,)
    return tuple(x.item() for x in mean_with_interval(gain[:, None]))


def _answers(about):
    recipe = about.get("recipe")
    return recipe["steps"] * recipe["prompts_per_step"] * recipe["group"] if recipe else prod(about["samples"])


def _seconds(history):
    ends = [row["seconds"] for row in history.steps]
    if not ends:
        return history.evaluations[-1]["seconds"]
    return len(ends) * median(after - before for before, after in pairwise([0.0, *ends]))


def frontier(some, unit):
    """{"kl": nats, judge: gain} of runs of one kind, each (P, K), the mean over seeds, as `figures.best_of_n.frontier` draws.

    The KL is the mean over all answers, the same for every prompt: the axis, not a measurement of one prompt.
    """
    kl = over_steps(some, "kl").mean(dim=0)  # (K,)
    found = {judge: gains(some, judge, unit).mean(dim=0).T for judge in some[0].scores}
    return {"kl": kl.expand(len(some[0].scores["reward"][0]), -1), **found}


def pool_frontier(of_pool, pool, at, proxy="reward"):
    """The same of policies on the recorded pool, by each of its judges: {"kl", judge: (P, K)}.

    Args: of_pool, `kl_frontier.best_of_n_frontier` with numbers n, or `tilted_frontier` with betas, as `at`.
    """
    found = {judge: of_pool(pool.judges[proxy], scores, at) for judge, scores in pool.judges.items()}
    return {"kl": found[proxy]["kl"], **{judge: one["gold"] for judge, one in found.items()}}
