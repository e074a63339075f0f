"""Save three reward models, and write down what they give for texts of every kind: what others must give, too.

In the project's environment: python tests/interop/make_folders.py out/interop
"""

import json
import sys
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import tiny_tokenizer
from rmtutorial.backbones import load_sft
from rmtutorial.chat import chat_ids
from rmtutorial.policy import Policy
from rmtutorial.preferences import load_preferences
from rmtutorial.reward_model import RewardModel

LONG = "The cat sat on the mat. Why is the sky blue? " * 60


def tiny_qwen():
    tokenizer = tiny_tokenizer(chat=True)
    config = Qwen3Config(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=3,
                         num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=2048,
                         initializer_range=0.2, rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
                         pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)  # fmt: skip
    return Qwen3ForCausalLM(config).eval(), tokenizer


def tiny_gpt2():
    tokenizer = tiny_tokenizer(chat=False)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=64, n_layer=3, n_head=4, n_positions=1024,
                        initializer_range=0.2, eos_token_id=tokenizer.eos_token_id)  # fmt: skip
    return GPT2LMHeadModel(config).eval(), tokenizer


def models():
    """(name, reward model, does padding on the left leave its scores alone?), heads random."""
    torch.manual_seed(0)
    for name, sft, layers, max_length in (
        ("default", load_sft(layers=16), 16, 512),
        ("gpt2", tiny_gpt2(), None, 512),
        ("qwen", tiny_qwen(), None, 512),
    ):
        rm = RewardModel.from_sft(*sft, layers=layers, max_length=max_length)
        torch.nn.init.normal_(rm.reward_head.weight, std=rm.backbone.config.hidden_size**-0.5)
        yield name, rm, name != "gpt2"


def talks(pair):
    start = [{"role": "user", "content": pair.prompt}]
    return [[*start, {"role": "assistant", "content": answer}] for answer in (pair.chosen, pair.rejected)]


def main(out):
    pairs = load_preferences(split="test")[:8]
    conversations = [talk for pair in pairs for talk in talks(pair)]
    conversations.append([*conversations[0], {"role": "user", "content": "And why?"}, conversations[1][1]])
    conversations.append([{"role": "user", "content": LONG}, {"role": "assistant", "content": LONG}])  # too long
    for name, rm, left in models():
        folder = out / "models" / name
        rm.save_pretrained(folder)
        rewards = rm.score_batch([(talk[:-1], talk[-1]["content"]) for talk in conversations])
        expected = {"folder": str(folder.resolve()), "left": left, "max_length": rm.max_length, "last_is_too_long": True,
                    "conversations": conversations, "rewards": rewards.tolist(),
                    "ids": [chat_ids(rm.tokenizer, talk)[-rm.max_length :] for talk in conversations]}  # fmt: skip
        (out / f"{name}.json").write_text(json.dumps(expected), encoding="utf-8")
    rows = [dict(zip(("chosen", "rejected"), talks(pair))) for pair in pairs]  # as RewardBench reads a local file
    (out / "pairs.json").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Policy(*tiny_qwen()).save_pretrained(out / "models" / "policy")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
