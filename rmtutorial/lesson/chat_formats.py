"""How chat models write a conversation, and which token of it a reward model then reads.

Control tokens and defaults are those of tokenizer_config.json and tokenizer.json of the repository named. The templates
are our own short form of each model's: the same text for turns of user and assistant, without system turn or tools.
Sources: the model repositories; github.com/huggingface/trl, trl/chat_templates (the originals of Llama 3, Qwen 2.5,
Qwen 3, Gemma 3 and Mistral 0.3, read in November 2026).
"""

import copy
import re
from dataclasses import dataclass

import torch
from tokenizers import processors

from rmtutorial.encoding import PLAIN_TEMPLATE

CHATML = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
CONTROL = re.compile(r"<[^<>\s]+>|\[/?INST\]")  # what is one token in these templates


def each(turn, before=""):
    """A template that writes `before` once, then each message m by `turn`."""
    return before + "{% for m in messages %}" + turn + "{% endfor %}"


@dataclass(frozen=True)
class ChatFormat:
    """A model's control tokens, whether its tokenizer puts BOS before every text, and how it writes turns."""

    repository: str
    bos: str | None
    eos: str
    pad: str | None
    adds_bos: bool
    template: str


FORMATS = {
    "Llama 3": ChatFormat(
        "meta-llama/Meta-Llama-3-8B-Instruct", "<|begin_of_text|>", "<|eot_id|>", None, True,
        each(
            "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] + '<|eot_id|>' }}",
            "{{ bos_token }}",
        ),
    ),
    "Qwen 2.5": ChatFormat(
        "Qwen/Qwen2.5-7B-Instruct", None, "<|im_end|>", "<|endoftext|>", False,
        each(
            CHATML,
            "{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}",
        ),
    ),
    "Qwen 3": ChatFormat(
        "Qwen/Qwen3-8B", None, "<|im_end|>", "<|endoftext|>", False,
        each(
            "{% set thought = '<think>\n\n</think>\n\n' if loop.last and m['role'] == 'assistant' else '' %}"
            "{{ '<|im_start|>' + m['role'] + '\n' + thought + m['content'] + '<|im_end|>\n' }}"
        ),
    ),
    "Gemma 3": ChatFormat(
        "google/gemma-3-4b-it", "<bos>", "<eos>", "<pad>", True,
        each(
            "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
            "{{ '<start_of_turn>' + role + '\n' + m['content'] + '<end_of_turn>\n' }}",
            "{{ bos_token }}",
        ),
    ),
    "Mistral 0.3": ChatFormat(
        "mistralai/Mistral-7B-Instruct-v0.3", "<s>", "</s>", None, True,
        each(
            "{{ '[INST] ' + m['content'] + '[/INST]' if m['role'] == 'user' else ' ' + m['content'] + eos_token }}",
            "{{ bos_token }}",
        ),
    ),
    "SmolLM2": ChatFormat(
        "HuggingFaceTB/SmolLM2-135M-Instruct", "<|im_start|>", "<|im_end|>", "<|im_end|>", False,
        each(
            CHATML,
            "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}",
        ),
    ),
    "GPT-2": ChatFormat("openai-community/gpt2", "<|endoftext|>", "<|endoftext|>", None, False, PLAIN_TEMPLATE),
}  # fmt: skip


def tokenizer_like(base, chat_format):
    """A copy of the tokenizer `base` with the control tokens, defaults and template of another model.

    Words are still cut as `base` cuts them; what is asked here, where texts begin and end, does not depend on that.
    """
    tokenizer = copy.deepcopy(base)
    control = CONTROL.findall(chat_format.template)
    named = [token for token in (chat_format.bos, chat_format.eos, chat_format.pad) if token]
    control = [token for token in dict.fromkeys([*named, *control]) if "think>" not in token]  # text in Qwen 3
    tokenizer.add_special_tokens({"additional_special_tokens": control})
    tokenizer.bos_token, tokenizer.eos_token = chat_format.bos, chat_format.eos
    tokenizer.pad_token, tokenizer.chat_template = chat_format.pad, chat_format.template
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
    if chat_format.adds_bos:
        number = tokenizer.convert_tokens_to_ids(chat_format.bos)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{chat_format.bos} $A", special_tokens=[(chat_format.bos, number)]
        )
    return tokenizer


def right_most_not_pad(ids, pad):
    """Position that transformers reads since its pull request 35911, in ids (T,); -1: every token is pad."""
    return int((torch.arange(len(ids)) * (ids != pad)).argmax()) if (ids != pad).any() else -1


def before_first_pad(ids, pad):
    """Position that transformers read before it: the token in front of the first pad, -1 (the last) where there is none."""
    return int((ids == pad).int().argmax()) - 1


def what_is_read(base, chat_format, question, answer):
    """Which tokens of one chat are read, by which rule: a dict of texts; where a model has no pad token, EOS is taken.

    "BOS" says how often it stands at the start, if the rendered text is tokenized with the tokenizer's defaults.
    """
    tokenizer = tokenizer_like(base, chat_format)
    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]  # (T,)
    default = tokenizer(text).input_ids
    starts = 0
    while chat_format.bos and default[starts] == tokenizer.bos_token_id:
        starts += 1
    pad = tokenizer.convert_tokens_to_ids(chat_format.pad or chat_format.eos)
    read = lambda at: repr(tokenizer.decode(ids[at]))  # noqa: E731
    return {
        "BOS": f"{chat_format.bos} x {starts}" if chat_format.bos else "none",
        "EOS": chat_format.eos,
        "pad": chat_format.pad or "none",
        "ends in": "  ".join(map(read, range(-2, 0))),
        "last by mask": read(-1),
        "right-most not pad": read(right_most_not_pad(ids, pad)),
        "before first pad": read(before_first_pad(ids, pad)),
    }
