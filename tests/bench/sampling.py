"""How fast is `sample` beside transformers' `generate`, and beside the linear layers alone? About ten minutes.

    python tests/bench/sampling.py [ROWS ...]       (default: 8 32 64 128 answers, eight to a prompt)

All in one run, in turn, `ROUNDS` times, the best time of each. The end mark is forbidden here, so that all write the same
number of tokens; answers that end early are a further gain of `sample`, which drops them. The linear layers alone (as many
rows, as many steps, the prompts once) are the floor of any sampler. Writes out/bench/sampling.json.
"""

import json
import sys
import time
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from rmtutorial import sampling
from rmtutorial.backbones import load_sft
from rmtutorial.chat import chat_ids
from rmtutorial.lesson import session
from rmtutorial.preferences import load_preferences

OUT = Path(__file__).parents[2] / "out" / "bench" / "sampling.json"
NEW, GROUP, ROUNDS = 48, 8, 3


def generate(lm, tokenizer, prompts):
    messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
    ids = [chat_ids(tokenizer, talk, add_generation_prompt=True) for talk in messages]
    inputs = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    return lm.generate(
        **inputs, min_new_tokens=NEW, max_new_tokens=NEW, do_sample=True, top_k=0, num_return_sequences=GROUP,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def ours(lm, tokenizer, prompts):
    with mock.patch.object(sampling, "end_marks", lambda lm, tokenizer: torch.tensor([-1])):
        return sampling.sample(lm, tokenizer, prompts, GROUP, NEW)


@torch.no_grad()
def linear_alone(lm, tokenizer, prompts):
    """Every product with a weight matrix that the answers need, and nothing else."""
    linears = [module for module in lm.base_model.modules() if isinstance(module, nn.Linear)]
    head, rows = lm.get_output_embeddings(), len(prompts) * GROUP
    read = sum(len(chat_ids(tokenizer, [{"role": "user", "content": p}], True)) for p in prompts)
    for tokens in [read] + (NEW - 1) * [rows]:
        inputs = {width: torch.ones(tokens, width) for width in {linear.in_features for linear in linears}}
        for linear in linears:
            linear(inputs[linear.in_features])
        head(torch.ones(min(tokens, rows), head.in_features))


def best(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    session.start()
    lm, tokenizer = load_sft()
    prompts = sorted({pair.prompt for pair in load_preferences(split="test")})[:16]
    found = []
    for rows in [int(n) for n in sys.argv[1:]] or [8, 32, 64, 128]:
        some = prompts[: rows // GROUP]
        times = {name: [] for name in ("generate", "sample", "linear")}
        for _ in range(ROUNDS):
            for name, function in zip(times, (generate, ours, linear_alone)):
                times[name].append(best(function, lm, tokenizer, some))
        seconds = {name: min(values) for name, values in times.items()}
        row = {
            "rows": rows, "new_tokens": NEW, "seconds": seconds, "tokens_a_second": rows * NEW / seconds["sample"],
            "times_generate": seconds["generate"] / seconds["sample"],
            "share_of_linear": seconds["linear"] / seconds["sample"],
        }  # fmt: skip
        found.append(row)
        print(
            f"{rows:4} answers: {row['tokens_a_second']:.0f} tokens/s, {row['times_generate']:.2f} x generate, "
            f"{row['share_of_linear']:.0%} of the linear layers' speed",
            flush=True,
        )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"threads": torch.get_num_threads(), "runs": found}, indent=1))
