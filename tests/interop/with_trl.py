"""Two steps of TRL's GRPOTrainer with the saved folder as its reward, and the rewards that it saw.

python with_trl.py out/interop/qwen.json out/interop/models/policy seen.json: the parent compares them with ours.
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer


def main(expected_file, policy, seen_file):
    folder = json.loads(Path(expected_file).read_text(encoding="utf-8"))["folder"]
    prompts = [
        [{"role": "user", "content": text}]
        for text in ("Why is the sky blue?", "Where is the cat?", "Why?", "Who sat?")
    ]
    settings = GRPOConfig(output_dir=str(Path(seen_file).parent / "grpo"), max_steps=2, per_device_train_batch_size=4,
                          num_generations=2, max_completion_length=12, report_to=[], use_cpu=True, bf16=False,
                          save_strategy="no", logging_steps=1, disable_tqdm=True)  # fmt: skip
    trainer = GRPOTrainer(
        model=policy, reward_funcs=folder, args=settings, train_dataset=Dataset.from_dict({"prompt": prompts})
    )
    (reward,), seen = trainer.reward_funcs, []

    def watch(module, args, inputs, output):
        for ids, mask, logit in zip(inputs["input_ids"], inputs["attention_mask"], output.logits[:, 0]):
            seen.append([ids[mask.bool()].tolist(), logit.item()])

    reward.register_forward_hook(watch, with_kwargs=True)
    trainer.train()
    assert trainer.state.global_step == 2 and next(reward.parameters()).dtype == torch.float32
    Path(seen_file).write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
