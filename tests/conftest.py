"""Tiny random models and a tiny tokenizer: every claim of the course can be checked on them in milliseconds."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rmtutorial.backbones import CHAT_TEMPLATE
from rmtutorial.losses import dpo_loss, sequence_logprobs
from rmtutorial.preferences import PreferencePair
from rmtutorial.recipe import freeze

WORDS = "The cat sat on the mat. Why is the sky blue? Because air scatters blue light more than red light, we see it."


def tiny_tokenizer(chat):
    """Byte-level BPE, as SmolLM2 and GPT-2 have; with a chat template (pad == EOS, as SmolLM2) or without."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    eos = "<|im_end|>" if chat else "<|endoftext|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, bos_token=special[1] if chat else eos)
    fast.pad_token = eos
    fast.chat_template = CHAT_TEMPLATE if chat else None
    return fast


def tiny_sft(name, layers=4):
    """(model, tokenizer) like `load_sft` gives, random, hidden size 32."""
    tokenizer = tiny_tokenizer(chat=name == "llama")
    torch.manual_seed(0)
    common = {"vocab_size": len(tokenizer), "initializer_range": 0.2, "pad_token_id": tokenizer.pad_token_id,
              "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}  # fmt: skip
    if name == "llama":
        config = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4,
                             num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, **common)  # fmt: skip
        return LlamaForCausalLM(config).eval(), tokenizer
    config = GPT2Config(n_embd=32, n_layer=layers, n_head=4, n_positions=128, **common)
    return GPT2LMHeadModel(config).eval(), tokenizer


@pytest.fixture(params=["llama", "gpt2"])
def sft(request):
    """A tiny Llama with a chat template, then a tiny GPT-2 without one."""
    return tiny_sft(request.param)


@pytest.fixture
def pairs():
    """Six pairs of different lengths; two share their prompt."""
    rows = [
        ("Why is the sky blue?", "Because air scatters blue light more.", "It is."),
        ("Why is the sky blue?", "Air scatters blue light.", "Because air is blue, we see it, the cat sat on the mat."),
        ("Where is the cat?", "On the mat.", "On the red mat in the blue light, we see."),
        ("Is red light blue?", "No.", "Yes, it is blue."),
        ("The cat sat.\n\nWho sat?", "The cat sat on the mat, more or less.", "The mat sat."),
        ("See the mat?", "We see it.", "We see the sky."),
    ]
    return [PreferencePair(*row, id=f"p{i}", group=f"g{max(i, 1)}", axis="ab"[i % 2]) for i, row in enumerate(rows)]


def plain_logprob(lm, answer):
    """log pi(y|x) of one Encoded answer, alone in a batch, by the function of the losses."""
    ids = torch.tensor([answer.ids])
    mask = torch.arange(len(answer.ids))[None] >= answer.start
    return sequence_logprobs(lm(input_ids=ids).logits, ids, mask)


def plain_dpo_loss(lm, reference, encoded, beta):
    """Rafailov et al. (2023), eq. 7: four forwards a pair, nothing packed, nothing cached."""
    rows = [[plain_logprob(model, answer) for model in (lm, reference) for answer in both] for both in encoded]
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = (torch.cat(column) for column in zip(*rows))
    return dpo_loss(policy_chosen, policy_rejected, ref_chosen.detach(), ref_rejected.detach(), beta)


def moved(policy, seed=0):
    """A policy that is no longer its reference: the weights that learn get noise."""
    freeze(policy, 2)
    policy.fix_reference()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in policy.parameters():
            if p.requires_grad:
                p += 0.05 * torch.randn(p.shape, generator=generator)
    return policy
