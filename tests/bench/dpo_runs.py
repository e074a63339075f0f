"""A reward model and DPO at equal depth, DPO's family, and beta: three seeds each. Recorded for notebook 04.

    python tests/bench/dpo_runs.py [RUN ...] [--to FOLDER]        (a RUN is a key of RUNS, or "cost"; default: all)

Every run learns from all 809 rows of `train`, in the same order for the same seed, one pass, the top 4 layers and the
final norm, lr 2e-4, and is judged on the 328 rows of `test` and `ood`. Of each is kept, row by row, what its judge says
(rewards, or the change of log pi), what it would write (nats a token of answers that the untrained model wrote), and,
of policies, how far they have drifted (KL of their own answers to 24 held-out prompts). A finished run is one JSON file
in rmtutorial/data/recorded; stopped, the script goes on with the first run that is missing.

On one core of 110 GFLOP/s, counted and not measured: 3 minutes a policy (27 of them), 1 to 2 a reward model (6), 4 for
the first, which computes what the 26 frozen layers give: an hour and a half. 2.5 GB of memory.
"""

import argparse
import datetime
import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from two_phases import rounded

from rmtutorial.backbones import load_sft
from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.features import FeatureCache
from rmtutorial.files import write_text
from rmtutorial.intervals import units
from rmtutorial.lesson import recorded, session
from rmtutorial.lesson.cost import forward_passes, training_memory
from rmtutorial.lesson.displacement import changes
from rmtutorial.lesson.family import FAMILY, answer_lengths, train_policy
from rmtutorial.lesson.writing import nats_per_token
from rmtutorial.losses import bradley_terry_loss, dpo_loss
from rmtutorial.policy import Policy
from rmtutorial.preferences import load_preferences
from rmtutorial.recipe import freeze
from rmtutorial.reward_model import RewardModel
from rmtutorial.sampling import sample
from rmtutorial.training import TrainConfig, train_reward_model

SEEDS, BETAS, NEW_TOKENS, ANSWERS = (0, 1, 2), (0.03, 0.3, 1.0), 24, 4  # beta 0.1 is that of the family
RUNS = {}
for seed in SEEDS:
    RUNS |= {f"pairs RM {layers} seed {seed}": {"layers": layers, "seed": seed} for layers in (30, 16)}
    RUNS |= {f"pairs {name.replace('+', 'and')} seed {seed}": {"loss": name, "seed": seed} for name in FAMILY}
    RUNS |= {f"pairs beta {beta} seed {seed}": {"beta": beta, "seed": seed} for beta in BETAS}


@dataclass
class World:
    """What the runs are made of; a test puts tiny things here."""

    load: Callable = load_sft  # () -> (lm, tokenizer)
    train: list = field(default_factory=load_preferences)
    judged: list = field(default_factory=recorded.judged_rows)
    prompts: list = field(default_factory=lambda: drift_prompts())
    top: int = 4
    layers: int | None = None  # of the model; None: as RUNS says

    def __post_init__(self):
        self.cache = FeatureCache(memory=2_000_000_000)  # of 30 layers: reward model and policies share it

    @functools.cached_property
    def policy(self):
        policy = Policy(*self.load())
        freeze(policy, self.top)
        policy.fix_reference()
        return policy

    @functools.cached_property
    def own(self):
        """Answers of the untrained model to the prompts, encoded; cut ones have no end mark."""
        with self.policy.as_reference():
            return sample(self.policy.lm, self.policy.tokenizer, self.prompts, ANSWERS, NEW_TOKENS, seed=0).encoded

    def config(self, seed):
        return TrainConfig(lr=2e-4, train_top=self.top, head_ridge=0, head_lr=1e-3, seed=seed)  # all start at ln 2


def drift_prompts(n=24):
    """Every so many of the distinct prompts of the held-out rows; those of several turns are left out."""
    distinct = list(dict.fromkeys(p.prompt for p in recorded.judged_rows() if isinstance(p.prompt, str)))
    return distinct[:: len(distinct) // n][:n]


def reward_model(world, layers, seed):
    lm, tokenizer = world.load()
    rm = RewardModel.from_sft(lm, tokenizer, layers=None if layers == 30 else layers)
    untrained = written(world, rm, lm)
    start = time.perf_counter()
    cache = world.cache if layers == 30 else None
    history = train_reward_model(rm, world.train, world.config(seed), cache=cache)
    seconds = time.perf_counter() - start
    rewards = rm.score_encoded(rm.encode_pairs(world.judged), cache=cache)
    steps = [{key: row[key] for key in ("step", "loss", "accuracy")} for row in history.steps]
    return {"layers": layers, "seconds": seconds, "steps": steps, "rewards": rewards.tolist(),
            "nats": written(world, rm, lm), "nats untrained": untrained}  # fmt: skip


def written(world, scorer, lm):
    """Nats a token, a number a prompt, of what the untrained model wrote."""
    return nats_per_token(scorer, lm.get_output_embeddings(), world.own).tolist()


def policy_run(world, loss, seed):
    policy = world.policy
    policy.reset()
    start = time.perf_counter()
    encoded = policy.encode_pairs(world.train)
    steps = train_policy(policy, encoded, world.config(seed), loss, units(world.train), world.cache)
    seconds = time.perf_counter() - start
    change = changes(policy, policy.encode_pairs(world.judged), world.cache)
    own = sample(policy.lm, policy.tokenizer, world.prompts, ANSWERS, NEW_TOKENS, seed=1)
    drift = policy.kl_encoded(own.encoded).mean(dim=1)  # (P,)
    first = [group[0] for group in own.texts(policy.tokenizer)]
    return {"seconds": seconds, "steps": steps, "change": change.tolist(), "kl": drift.tolist(), "texts": first[:6],
            "nats": written(world, policy, policy.lm)}  # fmt: skip


def untrained(world):
    """What the runs are compared with: log pi of the rows, numbers of tokens, nats of the model's own answers."""
    policy = world.policy
    policy.reset()
    encoded = policy.encode_pairs(world.judged)
    own = [" / ".join(policy.text(answer) for answer in group[:1]) for group in world.own]
    return {"logprobs": policy.reference_encoded(encoded, world.cache).tolist(), "tokens": answer_lengths(encoded).tolist(),
            "prompts": world.prompts, "texts": own[:6], "nats": written(world, policy, policy.lm)}  # fmt: skip


def cost(world, pairs=8):
    """{model: forwards and seconds a pair, and memory of one batch}, no features cached, the reference known."""
    found = {}
    for name, layers in (("RM 16", world.layers or 16), ("RM 30", 30), ("DPO 30", None)):
        lm, tokenizer = world.load()
        scorer = (
            Policy(lm, tokenizer)
            if layers is None
            else RewardModel.from_sft(lm, tokenizer, layers=None if layers == 30 else layers)
        )
        freeze(scorer, world.top)
        if layers is None:
            scorer.fix_reference()
        encoded = scorer.encode_pairs(world.train[:pairs])
        memory, batch, times = training_memory(scorer, encoded), scorer.batch(encoded), []
        for _ in range(3):
            start = time.perf_counter()
            bradley_terry_loss(*scorer(batch).unbind(1)).backward()
            times.append((time.perf_counter() - start) / pairs)
            scorer.zero_grad()
        found[name] = {
            "forwards": forward_passes(scorer),
            "seconds": min(times),
            "memory": memory,
            "tokens": batch.tokens,
        }
    return found


def recorded_run(world, name):
    about = {"recorded": datetime.date.today().isoformat()}
    if name == "pairs cost":
        return rounded({**about, "models": cost(world)})
    if name == "pairs untrained":
        return rounded({**about, **untrained(world)})
    run = RUNS[name]
    recipe = {key: value for key, value in vars(world.config(run["seed"])).items() if key not in MAY_CHANGE}
    if "layers" in run:
        return rounded({**about, "recipe": recipe, **reward_model(world, world.layers or run["layers"], run["seed"])})
    beta = run.get("beta")
    loss = FAMILY[run["loss"]] if beta is None else lambda pi, ref, n: dpo_loss(*pi.T, *ref.T, beta=beta)
    return rounded({**about, "recipe": recipe, **{k: v for k, v in run.items() if k != "seed"}, **policy_run(world, loss, run["seed"])})  # fmt: skip


def describe(name, found):
    if "rewards" in found or "change" in found:
        values = torch.tensor(found.get("rewards") or found["change"])
        right = (values[:, 0] > values[:, 1]).float().mean().item()
        moved = (
            ""
            if "rewards" in found
            else f", log pi of chosen {values[:, 0].mean():+.1f}, rejected {values[:, 1].mean():+.1f}"
        )
        nats = torch.tensor(found["nats"]).mean().item()
        print(f"{name}: right {right:.3f}{moved}; writes {nats:.2f} nats a token; {found['seconds']:.0f} s", flush=True)
    else:
        print(f"{name}: done", flush=True)


def record(world, names, folder):
    for name in names:
        path = Path(folder) / recorded.path_of(name).name
        if not path.is_file():
            write_text(path, json.dumps(recorded_run(world, name), ensure_ascii=False) + "\n")
        describe(name, json.loads(path.read_text(encoding="utf-8")))


ALL = ("pairs untrained", "pairs cost", *RUNS)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help=", ".join(ALL))
    parser.add_argument("--to", type=Path, default=recorded.FOLDER, help="folder of the JSON files")
    options = parser.parse_args()
    if unknown := set(options.runs) - set(ALL):
        parser.error(f"{', '.join(unknown)}: a RUN is one of {', '.join(ALL)}")
    session.start()
    record(World(), options.runs or ALL, options.to)
