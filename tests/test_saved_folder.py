"""What other libraries find in a saved folder. That they give the same scores, in environments of their own, is shown
by `make interop-test`; here it is read file by file, and by the transformers that is installed.
"""

import json

import pytest
import torch
from tokenizers import pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from conftest import tiny_sft, tiny_tokenizer
from rmtutorial.classifier import Classifier, load_scorer
from rmtutorial.encoding import encode
from rmtutorial.policy import Policy
from rmtutorial.reward_model import RewardModel

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 400, "pad_token_id": 2, "eos_token_id": 2, "bos_token_id": 1,
         "initializer_range": 0.2, "max_position_embeddings": 512}  # fmt: skip
TALKS = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for question, answer in (("Why?", "Because air scatters blue light."), ("Where is the cat?", "On the mat, we see."))
]
TOO_LONG = [{"role": "user", "content": "Why? " * 90}, {"role": "assistant", "content": "Because. " * 20}]


def saved(sft, folder, **arguments):
    """A reward model with a random head, saved; and what is in its two JSON files."""
    rm = RewardModel.from_sft(*sft, **{"layers": None, **arguments})
    torch.manual_seed(1)
    torch.nn.init.normal_(rm.reward_head.weight)
    rm.save_pretrained(folder)
    return rm, *files(folder)


def files(folder):
    return [
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "tokenizer_config")
    ]


def scores(rm, talks):
    return rm.score_batch([(talk[:-1], talk[-1]["content"]) for talk in talks])


def elsewhere(folder, talks, **how):
    """What transformers alone makes of the folder, with special tokens: the tokenizer must add none."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in talks]
    with torch.no_grad():
        return model(**tokenizer(texts, truncation=True, padding=len(talks) > 1, return_tensors="pt", **how)).logits[
            :, 0
        ]


def test_alone_padded_and_too_long_the_scores_are_the_same_elsewhere(sft, tmp_path):
    """Sides, pad token and maximum length come from the folder: nobody passes them."""
    sft[1].padding_side, sft[1].truncation_side = "left", "right"  # as it was loaded; what is saved is what we do
    rm, _, _ = saved(sft, tmp_path, max_length=100)
    expected = scores(rm, [*TALKS, TOO_LONG])
    assert expected.std() > 0.1
    alone = torch.cat([elsewhere(tmp_path, [talk]) for talk in (*TALKS, TOO_LONG)])
    torch.testing.assert_close(alone, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(elsewhere(tmp_path, [*TALKS, TOO_LONG]), expected, atol=1e-4, rtol=0)
    if rm.backbone.config.model_type == "llama":  # GPT-2's positions would shift
        torch.testing.assert_close(
            elsewhere(tmp_path, [*TALKS, TOO_LONG], padding_side="left"), expected, atol=1e-4, rtol=0
        )


def test_absolute_positions_are_said_to_mind_padding_on_the_left(sft, tmp_path, capsys):
    """RewardBench pads on the left whatever the tokenizer says; that cannot be written into a folder."""
    saved(sft, tmp_path)
    assert ("pads on the left" in capsys.readouterr().out) == (sft[0].config.model_type == "gpt2")


def test_the_tokenizer_has_the_names_that_4_x_knows(sft, tmp_path):
    """4.x stops at TokenizersBackend, adds token_type_ids on its own, and at a list of extra special tokens it fails."""
    sft[1].add_special_tokens({"additional_special_tokens": ["<tool>"]})
    sft[0].resize_token_embeddings(len(sft[1]))
    rm, _, tokenizer = saved(sft, tmp_path, max_length=77)
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["model_input_names"] == ["input_ids", "attention_mask"]
    assert (tokenizer["truncation_side"], tokenizer["padding_side"], tokenizer["model_max_length"]) == (
        "left",
        "right",
        77,
    )
    assert tokenizer["additional_special_tokens"] == ["<tool>"] and "extra_special_tokens" not in tokenizer
    assert tokenizer["chat_template"] == rm.tokenizer.chat_template
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert "token_type_ids" not in again("Why?") and "<tool>" in again.all_special_tokens


def test_the_saved_tokenizer_adds_no_token_of_its_own(sft, tmp_path):
    """Llama 2's and Gemma's write a BOS before a text; RewardBench tokenizes the template's text with special tokens."""
    tokenizer = sft[1]
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, tokenizer.bos_token_id)]
    )
    rm, _, _ = saved(sft, tmp_path)
    torch.testing.assert_close(elsewhere(tmp_path, TALKS), scores(rm, TALKS), atol=1e-4, rtol=0)
    assert tokenizer("Why?")["input_ids"][0] == tokenizer.bos_token_id  # the one that was given is left alone


def test_config_has_rope_theta_beside_rope_parameters(tmp_path):
    """4.x reads rope_theta, finds none, takes 10,000, and gives other scores without a word."""
    config = LlamaConfig(**SIZES, rope_parameters={"rope_type": "default", "rope_theta": 123_456.0})
    _, found, _ = saved((LlamaForCausalLM(config).eval(), tiny_tokenizer(True)), tmp_path)
    assert found["rope_theta"] == found["rope_parameters"]["rope_theta"] == 123_456.0
    assert found["torch_dtype"] == found["dtype"] == "float32"
    assert "rope_scaling" not in found and found["problem_type"] == "regression"


@pytest.mark.parametrize(
    "make, old",
    [
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters={
            "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64})),
         {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                              "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
        (lambda: GPTNeoXForCausalLM(GPTNeoXConfig(
            **{k: v for k, v in SIZES.items() if k != "num_key_value_heads"},
            rope_parameters={"rope_type": "default", "rope_theta": 7e4, "partial_rotary_factor": 0.5})),
         {"rotary_emb_base": 7e4, "rotary_pct": 0.5}),
        (lambda: Phi3ForCausalLM(Phi3Config(**SIZES, original_max_position_embeddings=400, rope_parameters={
            "rope_type": "longrope", "rope_theta": 7e4, "short_factor": [1.5] * 4, "long_factor": [8.0] * 4,
            "original_max_position_embeddings": 400})),
         {"rope_theta": 7e4, "rope_scaling": {"type": "longrope", "short_factor": [1.5] * 4, "long_factor": [8.0] * 4},
          "original_max_position_embeddings": 400}),
        (lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=64)),
         {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}),
    ],
    ids=["llama3", "gpt_neox", "longrope", "gemma3"],
)  # fmt: skip
def test_rotary_settings_are_there_under_both_names(make, old, tmp_path, capsys):
    """And 5.x still reads what it had."""
    torch.manual_seed(0)
    rm, found, _ = saved((make().eval(), tiny_tokenizer(True)), tmp_path, max_length=300)
    assert {name: found.get(name) for name in old} == old
    assert "use 5.x" not in capsys.readouterr().out
    read = AutoConfig.from_pretrained(tmp_path).rope_parameters
    assert all(read[name] == value for name, value in rm.backbone.config.rope_parameters.items())
    torch.testing.assert_close(elsewhere(tmp_path, TALKS), scores(rm, TALKS), atol=1e-4, rtol=0)


def test_what_4_x_computes_otherwise_is_said(tmp_path, capsys):
    """4.51 stretches YaRN by another length; no spelling of the config helps."""
    rope = {"rope_type": "yarn", "rope_theta": 5e4, "factor": 4.0, "original_max_position_embeddings": 64}
    saved((LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=rope)).eval(), tiny_tokenizer(True)), tmp_path)
    assert "YaRN" in (out := capsys.readouterr().out) and "use 5.x" in out and str(tmp_path) in out


def test_a_tokenizer_that_is_read_back_otherwise_is_said(tmp_path, capsys):
    """transformers 5 reads every tokenizer of a Qwen2 model as Qwen's own, which splits words in its own way."""
    tokenizer = tiny_tokenizer(True)
    tokenizer._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    saved((Qwen2ForCausalLM(Qwen2Config(**SIZES)).eval(), tokenizer), tmp_path)
    assert "Qwen2Tokenizer, which makes other tokens" in capsys.readouterr().out


def test_left_over_files_of_other_tools_go(sft, tmp_path):
    """An adapter would be added to the new weights, other weights might be read in their place; a README stays."""
    stale = ("adapter_config.json", "adapter_model.safetensors", "pytorch_model.bin", "tokenizer.model", "modules.json",
             "config_sentence_transformers.json", "tekken.json", "special_tokens_map.json", "model-00001-of-00002.safetensors")  # fmt: skip
    for name in (*stale, "README.md"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    rm, _, _ = saved(sft, tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    assert not there & set(stale) and "README.md" in there
    torch.testing.assert_close(elsewhere(tmp_path, TALKS), scores(rm, TALKS), atol=1e-4, rtol=0)


def test_a_policy_is_saved_under_both_names_and_keeps_its_tokens(sft, tmp_path):
    """It writes elsewhere: its tokenizer's own BOS, sides and maximum length stay."""
    policy = Policy(*sft)
    tokenizer = policy.tokenizer
    tokenizer.padding_side, tokenizer.model_max_length = "left", 99
    policy.save_pretrained(tmp_path)
    config, found = files(tmp_path)
    assert found["tokenizer_class"] == "PreTrainedTokenizerFast" and found["model_input_names"] == [
        "input_ids",
        "attention_mask",
    ]
    assert (found["padding_side"], found["model_max_length"]) == ("left", 99)
    assert config.get("rope_theta") == (10_000.0 if config["model_type"] == "llama" else None)
    assert AutoTokenizer.from_pretrained(tmp_path)("Why?")["input_ids"] == tokenizer("Why?")["input_ids"]


def foreign(folder, pad, tokenizer_pad, template=True):
    """A reward model as another tool saves one: its config and its tokenizer need not agree on the pad token."""
    torch.manual_seed(0)
    model, tokenizer = tiny_sft("llama")
    model.config.pad_token_id, model.config.num_labels = pad, 1
    shell = AutoModelForSequenceClassification.from_config(model.config).eval()
    torch.nn.init.normal_(shell.score.weight)
    shell.save_pretrained(folder)
    tokenizer.pad_token = tokenizer_pad
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    return shell, tokenizer


@pytest.mark.parametrize("pad", [None, 0, 2], ids=["none", "another", "the end token"])
@pytest.mark.parametrize("tokenizer_pad", [None, "<|im_end|>", "<|endoftext|>"])
def test_a_foreign_model_is_pooled_as_its_config_says(tmp_path, pad, tokenizer_pad, capsys):
    """transformers skips the config's pad tokens at the end, whatever the tokenizer pads with; here and when saved anew."""
    shell, tokenizer = foreign(tmp_path / "theirs", pad, tokenizer_pad)
    rm = RewardModel.from_pretrained(tmp_path / "theirs")
    ids = [encode(rm.tokenizer, talk[:-1], talk[-1]["content"], 999).ids for talk in TALKS]
    with torch.no_grad():
        expected = torch.cat([shell(torch.tensor([row])).logits[0] for row in ids])
    assert ids[0][-1] == tokenizer.eos_token_id
    torch.testing.assert_close(scores(rm, TALKS), expected, atol=1e-4, rtol=0)
    classifier = Classifier(AutoModelForSequenceClassification.from_pretrained(tmp_path / "theirs"), rm.tokenizer)
    encoded = [classifier.encode(talk[:-1], [talk[-1]["content"]]) for talk in TALKS]
    torch.testing.assert_close(classifier.score_encoded(encoded)[:, 0], expected, atol=1e-4, rtol=0)
    rm.save_pretrained(tmp_path / "ours")
    assert ("no pad_token_id" in capsys.readouterr().out) == (pad is None)
    alone = torch.cat([elsewhere(tmp_path / "ours", [talk]) for talk in TALKS])
    torch.testing.assert_close(alone, expected, atol=1e-4, rtol=0)
    if pad is not None:
        torch.testing.assert_close(elsewhere(tmp_path / "ours", TALKS), expected, atol=1e-4, rtol=0)


def test_a_foreign_model_reads_as_much_as_its_tokenizer_says(tmp_path):
    """Not our default of 1,024 tokens: transformers would cut elsewhere."""
    _, tokenizer = foreign(tmp_path, 2, "<|im_end|>")
    assert RewardModel.from_pretrained(tmp_path).max_length == 256  # all positions
    tokenizer.model_max_length = 40
    tokenizer.save_pretrained(tmp_path)
    assert load_scorer(tmp_path).max_length == 40
