"""The other ways to follow a reward, with one budget: DPO, and fine-tuning on the best of 8. Half an hour, for notebook 06.

    python tests/bench/grpo_others.py [--seeds 3] [--prompts 96] [--to FOLDER]

The untrained language model writes 8 answers of at most 24 tokens to each of 96 training prompts, as many as GRPO
writes in 12 steps, and the reward model of notebook 03 scores them. Each way learns from these, two passes, the top
4 layers, lr 1e-4:

dpo     the best answer against the worst
best    supervised fine-tuning on the best answer (rejection sampling)
random  the same on one answer at random: what fine-tuning on own samples does by itself

and is judged as grpo_runs.py judges, on the same held-out prompts; `seconds` are those of sampling and learning. Stopped, it goes on where it was.
"""

import argparse
import datetime
import functools
import json
import time
from pathlib import Path

import torch
from grpo_judges import record_of
from grpo_runs import AT, train_prompts
from pool import prompts, reward
from torch import nn
from two_phases import rounded

from rmtutorial.backbones import load_sft
from rmtutorial.encoding import Encoded
from rmtutorial.files import write_text
from rmtutorial.grpo import GRPOConfig
from rmtutorial.lesson import recorded, session
from rmtutorial.policy import Policy
from rmtutorial.preferences import PreferencePair
from rmtutorial.processes import accelerator_of_run
from rmtutorial.recipe import adamw, batch_order, freeze, lr_schedule
from rmtutorial.reward_functions import rewards_of
from rmtutorial.rollouts import measures, roll_out
from rmtutorial.sampling import sample
from rmtutorial.training import TrainConfig, train_dpo

HERE, GROUP = AT / "others", 8


@functools.cache
def own_samples(seed, n):
    """A dict of lists: n prompts, their token ids `starts`, and of 8 answers to each ids, texts and rewards; kept."""
    path = HERE / f"samples {seed}, {n}.json"
    if not path.is_file():
        lm, tokenizer = load_sft()
        start = time.perf_counter()
        order = torch.randperm(len(train_prompts()), generator=torch.Generator().manual_seed(seed))[:n].tolist()
        asked = [train_prompts()[i] for i in order]
        found = sample(lm, tokenizer, asked, GROUP, GRPOConfig.max_new_tokens, seed=seed)
        ids = [[a.ids[a.start :] for a in group] for group in found.encoded]
        texts = found.texts(tokenizer)
        rewards = rewards_of(reward(), asked, texts).tolist()
        seconds = time.perf_counter() - start
        kept = {
            "seconds": seconds,
            "prompts": asked,
            "starts": found.prompt_ids,
            "ids": ids,
            "texts": texts,
            "rewards": rewards,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(kept))
    return json.loads(path.read_text(encoding="utf-8"))


def best_against_worst(policy, config, samples):
    rewards, pairs = torch.tensor(samples["rewards"]), []
    ends = zip(samples["prompts"], samples["texts"], rewards.argmax(1).tolist(), rewards.argmin(1).tolist())
    for n, (prompt, texts, best, worst) in enumerate(ends):
        if texts[best] != texts[worst]:
            pairs.append(PreferencePair(prompt, texts[best], texts[worst], id=f"own:{n}"))
    train_dpo(policy, pairs, config)


def fine_tune(policy, config, samples, picked):
    """Supervised fine-tuning on one answer a prompt, picked (n,): the mean of -log pi over its tokens, as they were written."""
    chosen = [answers[k] for answers, k in zip(samples["ids"], picked.tolist())]
    examples = [[Encoded(start + answer, len(start))] for start, answer in zip(samples["starts"], chosen)]
    freeze(policy, config.train_top)
    policy.fix_reference()
    batches, optimizer = batch_order(len(examples), config), adamw(policy, config)
    schedule = lr_schedule(optimizer, config, len(batches))
    for batch in batches:
        logprobs = policy.token_logprobs(policy.batch([examples[i] for i in batch]))  # (b, 1, L), 0 behind the end
        loss = -logprobs.sum() / sum(len(chosen[i]) for i in batch)
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def best_of_eight(policy, config, samples):
    fine_tune(policy, config, samples, torch.tensor(samples["rewards"]).argmax(1))


def one_at_random(policy, config, samples):
    generator = torch.Generator().manual_seed(config.seed)
    fine_tune(policy, config, samples, torch.randint(GROUP, (len(samples["ids"]),), generator=generator))


WAYS = {"dpo": best_against_worst, "best": best_of_eight, "random": one_at_random}


def evaluation(way, seed, n):
    """A row as train_grpo's evaluations, after training by this way; kept."""
    path = HERE / f"{way} {seed}, {n}.json"
    if not path.is_file():
        policy, samples, start = Policy(*load_sft()), own_samples(seed, n), time.perf_counter()
        WAYS[way](policy, train_config(seed), samples)
        seconds = samples["seconds"] + time.perf_counter() - start
        accelerator, config = accelerator_of_run(), GRPOConfig(seed=seed)
        rollout = roll_out(policy, prompts(), reward(), config, accelerator, config.eval_group, "held out")
        rewards, found = measures(accelerator, rollout, len(prompts()))
        row = {"seed": seed, "seconds": seconds, **found, "rewards": rewards.tolist(), "answers": rollout.answers}
        write_text(path, json.dumps(row))
        print(f"{way}, seed {seed}: reward {found['reward_mean']:+.2f}, KL {found['kl']:.2f}", flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


def train_config(seed):
    return TrainConfig(epochs=2, lr=1e-4, train_top=4, seed=seed, checkpoint_dir=str(HERE / "checkpoint"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--to", type=Path, default=recorded.FOLDER, help="folder of the JSON file")
    options = parser.parse_args()
    session.start()
    ways = {}
    for way in WAYS:
        rows = [evaluation(way, seed, options.prompts) for seed in range(options.seeds)]
        folder = HERE / f"{way}, {options.seeds} x {options.prompts}"
        folder.mkdir(parents=True, exist_ok=True)
        ways[way] = record_of(rows, prompts(), folder)
    asked = ways["dpo"]["prompts"]
    ways = {way: {key: value for key, value in found.items() if key != "prompts"} for way, found in ways.items()}
    about = {"recorded": datetime.date.today().isoformat(), "samples": [options.prompts, GROUP]}
    found = rounded({**about, "prompts": asked, "ways": ways})
    write_text(options.to / "grpo_others.json", json.dumps(found, ensure_ascii=False) + "\n")
