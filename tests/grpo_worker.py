"""One process of a GRPO run: python grpo_worker.py SFT OUT SETTINGS STEP; in STEP (0: never) its second process is stopped.

Here the random numbers of a prompt depend on the prompt, not on which process has it, so that runs can be compared.
Started by test_processes.py.
"""

import ast
import signal
import sys
import zlib
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from rmtutorial import rollouts
from rmtutorial.backbones import load_sft
from rmtutorial.grpo import GRPOConfig, train_grpo
from rmtutorial.policy import Policy
from rmtutorial.sampling import Samples

PROMPTS = ["Why is the sky blue?", "Where is the cat?", "Is red light blue?", "Who sat?", "See the mat?"]
sample, rewarded = rollouts.sample, []


def sample_each(lm, tokenizer, prompts, group, max_new_tokens, temperature, seed, states_below):
    """One prompt after the other, each with a seed of its own and of how many rollouts there were."""
    seeds = [zlib.crc32(repr((prompt, len(rewarded))).encode()) for prompt in prompts]
    each = [
        sample(lm, tokenizer, [p], group, max_new_tokens, temperature, s, states_below) for p, s in zip(prompts, seeds)
    ]
    joined = {
        name: torch.cat([getattr(one, name) for one in each]) for name in ("ids", "lengths", "logprobs", "finished")
    }
    return Samples(prompts, [one.prompt_ids[0] for one in each], **joined, states=[one.states[0] for one in each])


def letters(prompts, answers):
    rewarded.append(1)
    if stop and len(rewarded) == stop + 1 and Accelerator().process_index == 1:  # the first rollout is an evaluation
        signal.raise_signal(signal.SIGINT)
    return [float(answer.count("e")) for answer in answers]


sft, out, settings, stop = sys.argv[1:]
out, stop = Path(out), int(stop)
rollouts.sample = sample_each
policy = Policy(*load_sft(sft))
config = GRPOConfig(checkpoint_dir=str(out / "checkpoint"), **ast.literal_eval(settings))
try:
    history = train_grpo(policy, PROMPTS, letters, config, held_out=PROMPTS[:3])
except KeyboardInterrupt as stopped:
    print(f"process {Accelerator().process_index}: {stopped}", flush=True)
    sys.exit()
out.mkdir(exist_ok=True)
save_file({name: p.contiguous() for name, p in policy.named_parameters() if p.requires_grad},
          out / f"weights{Accelerator().process_index or ''}.safetensors")  # fmt: skip
if Accelerator().is_main_process:
    history.save(out / "history.json")
