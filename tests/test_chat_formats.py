"""Chat formats of real models: the text each writes, and the token that each rule reads."""

import pytest
import torch

from conftest import tiny_tokenizer
from rmtutorial.lesson.chat_formats import (
    FORMATS,
    before_first_pad,
    right_most_not_pad,
    tokenizer_like,
    what_is_read,
)

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "It is."}]
TEXTS = {
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nIt is.<|eot_id|>",
    "Qwen 2.5": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nIt is.<|im_end|>\n",
    "Qwen 3": "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nIt is.<|im_end|>\n",
    "Gemma 3": "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\nIt is.<end_of_turn>\n",
    "Mistral 0.3": "<s>[INST] Why?[/INST] It is.</s>",
    "SmolLM2": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nIt is.<|im_end|>\n",
    "GPT-2": "Why?<|endoftext|>It is.",
}


@pytest.fixture(scope="module")
def base():
    return tiny_tokenizer(chat=True)


def test_each_template_writes_the_text_of_its_model(base):
    """Written out by hand from the originals."""
    for name, text in TEXTS.items():
        assert tokenizer_like(base, FORMATS[name]).apply_chat_template(CHAT, tokenize=False) == text
    assert TEXTS.keys() == FORMATS.keys()


def test_control_tokens_are_single_tokens(base):
    """<|eot_id|> is one id, as in the real tokenizer, and the tokenizer that was given stays as it was."""
    before = len(base)
    for chat_format in FORMATS.values():
        tokenizer = tokenizer_like(base, chat_format)
        for token in filter(None, (chat_format.bos, chat_format.eos, chat_format.pad)):
            assert len(tokenizer(token, add_special_tokens=False).input_ids) == 1
    assert len(base) == before


def test_the_text_of_a_template_gets_a_second_bos_where_the_tokenizer_adds_one(base):
    """Llama 3, Gemma and Mistral write BOS in the template and add it to every text."""
    found = {name: what_is_read(base, f, "Why?", "It is.")["BOS"] for name, f in FORMATS.items()}
    assert {name for name, count in found.items() if count.endswith("x 2")} == {"Llama 3", "Gemma 3", "Mistral 0.3"}
    assert found["Qwen 2.5"] == "none" and found["GPT-2"] == "<|endoftext|> x 0"
    assert found["SmolLM2"] == "<|im_start|> x 1"


def test_which_token_each_rule_reads(base):
    """Where pad is EOS: the end mark is skipped, and before the fix the question's last token was read."""
    llama, qwen, mistral = (
        what_is_read(base, FORMATS[n], "Why?", "It is.") for n in ("Llama 3", "Qwen 3", "Mistral 0.3")
    )
    keys = ("last by mask", "right-most not pad", "before first pad")
    assert [llama[k] for k in keys] == ["'<|eot_id|>'", "'.'", "'?'"]
    assert [qwen[k] for k in keys] == ["'\\n'"] * 3
    assert [mistral[k] for k in keys] == ["'</s>'", "'.'", "'.'"]


def test_the_two_rules_on_ids():
    """7 is pad: 1 2 7 3 7 7 is read at 3 (place 3) by the new rule, at 2 (place 1) by the old one."""
    ids = torch.tensor([1, 2, 7, 3, 7, 7])
    assert (right_most_not_pad(ids, 7), before_first_pad(ids, 7)) == (3, 1)
    assert (right_most_not_pad(ids[:2], 7), before_first_pad(ids[:2], 7)) == (1, -1)
    assert right_most_not_pad(ids[4:], 7) == -1
