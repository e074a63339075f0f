"""A whole GRPO step (sample, reward, learn): rmtutorial beside TRL's GRPOTrainer, in processes of their own, in turn.

    python tests/bench/grpo_step.py [--steps 4] [--repeats 3]        writes out/bench/grpo_step.json

Both have SmolLM2-135M in float32 as policy, its top 4 layers learning with AdamW, the same prompts, group, length, and
reward model (16 layers, from one folder), no KL term. TRL learns in parts of 8 answers, and in another run from all at
once; the faster one counts for speed, the smaller one for memory. Ours measures the KL to the reference besides, one
more pass over the top layers. Not timed: loading, and the first step, in which memory is touched for the first time.
Answers end where the model ends them: their mean length stands beside the seconds. TRL: `pip install -e .[compare]`.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import date
from pathlib import Path
from statistics import median
from unittest import mock

import torch

from rmtutorial import grpo, rollouts
from rmtutorial.backbones import decoder_layers, embedded_model, load_sft
from rmtutorial.files import write_text
from rmtutorial.lesson import session
from rmtutorial.machine import usable_cores
from rmtutorial.policy import Policy
from rmtutorial.preferences import load_preferences
from rmtutorial.recipe import freeze
from rmtutorial.reward_model import RewardModel

ROOT = Path(__file__).parents[2]
TOP, LR = 4, 3e-4
OURS, THEIRS, AT_ONCE = "rmtutorial", "TRL GRPOTrainer, parts of 8", "TRL GRPOTrainer, one batch"


def prompts_of(n):
    """n different prompts of the bundled pairs, again from the first where there are fewer."""
    prompts = list(dict.fromkeys(pair.prompt for pair in load_preferences(split="train")))
    return [prompts[i % len(prompts)] for i in range(n)]


def save_reward_model(folder):
    """A reward model with a random head: what it likes does not matter for its speed."""
    rm = RewardModel.from_sft(*load_sft(layers=16), layers=16)
    torch.nn.init.normal_(rm.reward_head.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    rm.save_pretrained(folder)


# Contenders: (options, folder of the reward model) -> seconds a step, mean tokens of an answer, more numbers


def ours(options, folder):
    parts = defaultdict(float)

    def timed(module, name):
        function = getattr(module, name)

        def run(*arguments, **more):
            started = time.perf_counter()
            try:
                return function(*arguments, **more)
            finally:
                parts[name] += time.perf_counter() - started

        return mock.patch.object(module, name, run)

    config = grpo.GRPOConfig(
        steps=options.steps + 1, prompts_per_step=options.prompts, group=options.group, max_new_tokens=options.tokens,
        lr=LR, train_top=TOP, checkpoint_dir=tempfile.mkdtemp(),
    )  # fmt: skip
    policy = Policy(*load_sft())
    with (
        timed(rollouts, "sample"),
        timed(rollouts, "rewards_of"),
        timed(rollouts, "_reference"),
        timed(grpo, "forward_backward"),
    ):
        rows = grpo.train_grpo(policy, prompts_of(options.prompts * (options.steps + 1)), folder, config).steps
    seconds = (rows[-1]["seconds"] - rows[0]["seconds"]) / options.steps
    length = sum(row["length"] for row in rows[1:]) / options.steps
    return seconds, length, {name.strip("_"): total / len(rows) for name, total in parts.items()}


def trl(options, folder, part=8):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            ends.append(time.perf_counter())

        def on_log(self, args, state, control, logs=None, **kwargs):
            lengths.append(logs.get("completions/mean_length"))

    ends, lengths, answers = [], [], options.prompts * options.group
    part = min(part or answers, answers)
    model = AutoModelForCausalLM.from_pretrained(embedded_model(), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    learn_the_top(model)
    rows = [{"prompt": [{"role": "user", "content": p}]} for p in prompts_of(options.prompts * (options.steps + 1))]
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, report_to="none", save_strategy="no", logging_steps=1,
        per_device_train_batch_size=part, gradient_accumulation_steps=answers // part, num_generations=options.group,
        max_completion_length=options.tokens, max_steps=options.steps + 1, learning_rate=LR, optim="adamw_torch_fused",
        beta=0.0, gradient_checkpointing=False, disable_tqdm=True, dataloader_pin_memory=False, shuffle_dataset=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model, folder, config, Dataset.from_list(rows), processing_class=tokenizer, callbacks=[Clock()]
    )
    trainer.train()
    measured = [length for length in lengths if length is not None][1:]
    return (ends[-1] - ends[0]) / options.steps, sum(measured) / len(measured), {}


def learn_the_top(model):
    """What `freeze` lets learn of a Policy."""
    model.requires_grad_(False)
    for part in (*decoder_layers(model.model)[-TOP:], model.model.norm):
        part.requires_grad_(True)


def trl_at_once(options, folder):
    return trl(options, folder, part=None)


CONTENDERS = {OURS: ours, THEIRS: trl, AT_ONCE: trl_at_once}


def child(name, options):
    session.start(threads=usable_cores())
    found = CONTENDERS[name](options, options.reward_model)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print("result", json.dumps([*found, peak / 2**30]))


def run(name, folder):
    command = [sys.executable, __file__, *sys.argv[1:], "--contender", name, "--reward_model", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: failed\n{done.stderr[-3000:]}")
    seconds, length, parts, peak = json.loads(done.stdout.split("result ")[-1])
    return {"seconds": seconds, "length": length, "parts": parts, "peak_gib": peak}


def ratios(runs):
    """How many times faster than TRL's faster way, run by run, and how much of its smaller way's memory."""
    faster = [min(a["seconds"], b["seconds"]) for a, b in zip(runs[THEIRS], runs[AT_ONCE])]
    smaller = [min(a["peak_gib"], b["peak_gib"]) for a, b in zip(runs[THEIRS], runs[AT_ONCE])]
    return {
        "speed": median(b / a["seconds"] for a, b in zip(runs[OURS], faster)),
        "memory": median(a["peak_gib"] / b for a, b in zip(runs[OURS], smaller)),
    }


def same_parameters():
    """Both let the same number of weights learn."""
    policy, (model, _) = Policy(*load_sft()), load_sft()
    freeze(policy, TOP)
    learn_the_top(model)
    count = [sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (policy, model)]
    assert count[0] == count[1], count
    return count[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="timed ones; one more comes before them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=8, help="a step")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=24, help="of an answer at most")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--reward_model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        child(options.contender, options)
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        save_reward_model(folder)
        trained, runs = same_parameters(), {name: [] for name in CONTENDERS}
        for repeat in range(options.repeats):
            for name in CONTENDERS:
                runs[name].append(found := run(name, folder))
                parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in found["parts"].items())
                print(f"run {repeat + 1}, {name}: {found['seconds']:.2f} s a step, {found['peak_gib']:.2f} GiB, answers of "
                      f"{found['length']:.1f} tokens {f'({parts})' if parts else ''}", flush=True)  # fmt: skip
    found = ratios(runs)
    about = {"date": str(date.today()), "cores": usable_cores(), "machine": platform.machine(), "trained_weights": trained,
             **{name: getattr(options, name) for name in ("steps", "repeats", "prompts", "group", "tokens")}}  # fmt: skip
    write_text(
        ROOT / "out" / "bench" / "grpo_step.json", json.dumps({"about": about, "ratios": found, "runs": runs}, indent=1)
    )
    print(f"{found['speed']:.1f} x as fast as TRL, in {found['memory']:.2f} of its memory")
