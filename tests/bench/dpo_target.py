"""DPO is seen to do something: one short sentence that ends, checked by a machine. Recorded for notebook 04: an hour.

    python tests/bench/dpo_target.py [--seeds 3] [--prompts 96] [--to FOLDER]

The untrained language model writes 8 answers of at most 24 tokens to each of 96 training prompts that ask for one
sentence of at most 15 words (lesson/target.py). Of every prompt with both kinds, an answer that passed stands against
one that did not, and from these pairs learn, two passes, the top 4 layers, lr 1e-4:

dpo   the policy itself
rm    a reward model of 30 layers, which then picks the best of 4 that the untrained model writes

Judged on 64 held-out prompts, 8 answers each, with the same random numbers before and after; beside them best of 4 by the
reward model of notebook 03, which was never told of the target. The seed decides which prompts, samples and order.
Stopped, it goes on where it was: what is begun lies in out/bench/dpo_target. Most of the time is sampling, at about 50
tokens a second on one core of 110 GFLOP/s: 4 minutes for the answers before, 14 a seed.
"""

import argparse
import datetime
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from two_phases import rounded

from rmtutorial.backbones import load_sft
from rmtutorial.encoding import Encoded
from rmtutorial.files import write_text
from rmtutorial.lesson import recorded, session, target
from rmtutorial.lesson.family import FAMILY, train_policy
from rmtutorial.policy import Policy
from rmtutorial.preferences import PreferencePair
from rmtutorial.recipe import freeze
from rmtutorial.reward_functions import rewards_of
from rmtutorial.reward_model import RewardModel
from rmtutorial.sampling import sample
from rmtutorial.training import TrainConfig, train_reward_model

AT = Path(__file__).parents[2] / "out" / "bench" / "dpo_target"
TEXTS = 8  # prompts of which an answer before and after is recorded


def reward_of_notebook_3():
    from pool import reward

    return reward()


@dataclass
class World:
    """What the runs are made of; a test puts tiny things here."""

    load: Callable = load_sft  # () -> (lm, tokenizer)
    reward: Callable = reward_of_notebook_3  # () -> a RewardModel
    train: list = field(default_factory=lambda: target.prompts("train"))
    judged: list = field(default_factory=lambda: spread(target.prompts("test", "ood"), 64))
    prompts: int = 96
    group: int = 8
    top: int = 4
    folder: Path = AT

    def config(self, seed):
        return TrainConfig(epochs=2, lr=1e-4, head_ridge=0, head_lr=1e-3, train_top=self.top, seed=seed)


def spread(items, n):
    """n of the items, evenly spread."""
    return [items[i * len(items) // n] for i in range(n)]


def kept(path, make):
    """What make() gives, plain JSON, made once."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(make()))
        print(f"{path.stem}: done", flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


def answers(lm, tokenizer, prompts, group, seed):
    """Sampled answers as plain JSON: texts, whether each passed, and the tokens of prompt and answer."""
    samples = sample(lm, tokenizer, prompts, group, target.NEW_TOKENS, seed=seed)
    return {
        "texts": samples.texts(tokenizer),
        "passed": target.passed(samples, tokenizer).long().tolist(),
        "lengths": samples.lengths.tolist(),
        "encoded": [[[y.ids, y.start] for y in group] for group in samples.encoded],
    }


def own_answers(world, seed):
    order = torch.randperm(len(world.train), generator=torch.Generator().manual_seed(seed))[: world.prompts].tolist()
    asked = [world.train[i] for i in order]
    return {"prompts": asked, **answers(*world.load(), asked, world.group, seed)}


def pairs_of(samples):
    """[(p, winner, loser)] of every prompt with an answer that passed and one that did not: the first of each."""
    rows = samples["passed"]
    return [(p, row.index(1), row.index(0)) for p, row in enumerate(rows) if 0 < sum(row) < len(row)]


def dpo(world, seed, samples):
    policy = Policy(*world.load())
    freeze(policy, world.top)
    policy.fix_reference()
    encoded = [[Encoded(*samples["encoded"][p][k]) for k in (win, lose)] for p, win, lose in pairs_of(samples)]
    start = time.perf_counter()
    steps = train_policy(policy, encoded, world.config(seed), FAMILY["DPO"])
    seconds = time.perf_counter() - start
    after = answers(policy.lm, policy.tokenizer, world.judged, world.group, seed=1000)
    written = [[Encoded(*y) for y in group] for group in after["encoded"]]
    return {"pairs": len(encoded), "seconds": seconds, "steps": steps, "passed": after["passed"], "lengths": after["lengths"],
            "kl": policy.kl_encoded(written).mean(dim=1).tolist(), "texts": [group[0] for group in after["texts"][:TEXTS]]}  # fmt: skip


def rm(world, seed, samples, before):
    lm, tokenizer = world.load()
    model = RewardModel.from_sft(lm, tokenizer, layers=None)
    rows = [
        (samples["prompts"][p], samples["texts"][p][win], samples["texts"][p][lose])
        for p, win, lose in pairs_of(samples)
    ]
    pairs = [PreferencePair(*row, id=f"own:{i}") for i, row in enumerate(rows) if row[1] != row[2]]
    start = time.perf_counter()
    train_reward_model(model, pairs, world.config(seed))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "scores": rewards_of(model, world.judged, before["texts"]).tolist()}


def record(world, seeds):
    """The whole recording as plain JSON; each part is kept as soon as it is there."""
    at = world.folder
    before = kept(at / "before.json", lambda: answers(*world.load(), world.judged, world.group, seed=1000))
    scores = kept(at / "reward.json", lambda: rewards_of(world.reward(), world.judged, before["texts"]).tolist())
    runs = []
    for seed in range(seeds):
        samples = kept(at / f"samples {seed}, {world.prompts}.json", lambda seed=seed: own_answers(world, seed))
        of = {"base rate": sum(map(sum, samples["passed"])) / world.prompts / world.group}
        of["dpo"] = kept(at / f"dpo {seed}, {world.prompts}.json", lambda s=seed, y=samples: dpo(world, s, y))
        of["rm"] = kept(at / f"rm {seed}, {world.prompts}.json", lambda s=seed, y=samples: rm(world, s, y, before))
        runs.append(of)
        describe(seed, before, of)
    return rounded({
        "recorded": datetime.date.today().isoformat(), "instruction": target.INSTRUCTION, "check": target.CHECK,
        "samples": [world.prompts, world.group], "new tokens": target.NEW_TOKENS, "prompts": world.judged,
        "passed": before["passed"], "lengths": before["lengths"], "texts": [group[0] for group in before["texts"][:TEXTS]],
        "reward": scores, "runs": runs,
    })  # fmt: skip


def describe(seed, before, run):
    rates = [target.pass_rate(torch.tensor(passed).bool())[0] for passed in (before["passed"], run["dpo"]["passed"])]
    print(
        f"seed {seed}: {run['dpo']['pairs']} pairs, passed {rates[0]:.2f} before, {rates[1]:.2f} after DPO", flush=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--to", type=Path, default=recorded.FOLDER, help="folder of the JSON file")
    options = parser.parse_args()
    session.start()
    found = record(World(prompts=options.prompts), options.seeds)
    write_text(options.to / "dpo_target.json", json.dumps(found, ensure_ascii=False) + "\n")
