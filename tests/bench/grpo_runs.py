"""Longer GRPO runs against the reward model of notebook 03, with and without a KL term. Recorded for notebook 06: hours.

    python tests/bench/grpo_runs.py [RUN ...] [--steps 100] [--prompts 4] [--to FOLDER]        (a RUN is a key of RUNS)

Stop it by Ctrl-C, or kill it: started again it goes on at its last checkpoint (every 20 steps), and asks no judge twice.
What is begun lies in out/bench/grpo; a finished run is one JSON file in rmtutorial/data/recorded.

Held-out answers (the 24 prompts of pool.py, four each, with the same random numbers every time) are kept every 20
steps, and judged when the run is over: see grpo_judges.py. gold, and panda if its data are there, come from pool.py.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

from grpo_judges import record_of
from pool import prompts, reward
from two_phases import rounded

from rmtutorial.backbones import load_sft
from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.files import write_text
from rmtutorial.grpo import GRPOConfig, train_grpo
from rmtutorial.history import History
from rmtutorial.lesson import recorded, session
from rmtutorial.policy import Policy
from rmtutorial.preferences import load_preferences

AT = Path(__file__).parents[2] / "out" / "bench" / "grpo"
EVERY = 20
# In rewards (logits) a nat. In short runs without a KL term the first four nats bought about 0.2 within-prompt spreads
# each, those that followed 0.02 to 0.04; a spread of this reward model is about 1.5 logits. So 0.3 logits a nat first, and
# 0.03 to 0.06 later: at a price in between a policy buys the first nats and not the last.
BETA = 0.1
KL = {"beta": BETA, "kl_in": "reward"}  # there k1 has the gradient of the objective, reward less beta KL(pi || ref)
RUNS = {}
for seed in (0, 1, 2):
    RUNS |= {f"grpo seed {seed}": {"seed": seed}, f"grpo kl seed {seed}": {"seed": seed, **KL}}
MEASURES = ("step", "reward_mean", "spread", "dead", "kl", "entropy", "length", "finished", "loss", "grad_norm", "lr",
            "seconds")  # fmt: skip


def train_prompts():
    """The distinct prompts of the training rows, none of them of several turns."""
    return list(dict.fromkeys(pair.prompt for pair in load_preferences() if isinstance(pair.prompt, str)))


def config_of(name, options, folder):
    """The defaults of GRPOConfig are the recipe: 8 answers of 24 tokens, top 4 layers, lr 3e-4."""
    return GRPOConfig(
        steps=options.steps, prompts_per_step=options.prompts, eval_every=EVERY, checkpoint_every=EVERY,
        checkpoint_dir=str(folder / "checkpoint"), **RUNS[name],
    )  # fmt: skip


def trained(config, folder):
    """The History of a run: it is begun, goes on, or lies there."""
    path, checkpoint = folder / "history.json", Path(config.checkpoint_dir)
    if not path.is_file():
        begun = checkpoint if (checkpoint / "run.json").is_file() else None
        history = train_grpo(Policy(*load_sft()), train_prompts(), reward(), config, prompts(), resume_from=begun)
        history.save(path)
    return History.load(path)


def recorded_run(name, options):
    folder = AT / f"{name}, {options.steps} x {options.prompts}"
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(name, options, folder)
    history = trained(config, folder)
    return rounded({
        "recorded": datetime.date.today().isoformat(),
        "recipe": {key: value for key, value in vars(config).items() if key not in MAY_CHANGE},
        "steps": [{key: row[key] for key in MEASURES} for row in history.steps],
        **record_of(history.evaluations, prompts(), folder),
    })  # fmt: skip


def describe(name, found):
    for row in found["evaluations"]:
        print(f"{name}, step {row['step']:3}: reward {row['reward_mean']:+.2f}, KL {row['kl']:.1f}, length {row['length']:.1f}, "
              f"same opener {row['openers']:.0%} ({row['opener']})", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help=", ".join(RUNS))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=4, help="of a step")
    parser.add_argument("--to", type=Path, default=recorded.FOLDER, help="folder of the JSON files")
    options = parser.parse_args()
    if unknown := set(options.runs) - set(RUNS):
        parser.error(f"{', '.join(unknown)}: a RUN is one of {', '.join(RUNS)}")
    session.start()
    for name in options.runs or RUNS:
        path = options.to / recorded.path_of(name).name
        if not path.is_file():
            try:
                found = recorded_run(name, options)
            except KeyboardInterrupt as stop:
                sys.exit(f"{name}: {stop}. Start this script again, and it goes on.")
            write_text(path, json.dumps(found, ensure_ascii=False) + "\n")
        describe(name, json.loads(path.read_text(encoding="utf-8")))
