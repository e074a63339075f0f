"""Models, tokenizers and folders that cannot be used: named, with what to do, before any work; and those that can."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BloomConfig,
    BloomForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTJConfig,
    GPTJForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from conftest import tiny_sft, tiny_tokenizer
from rmtutorial.backbones import ModelNotAvailable, load_sft
from rmtutorial.classifier import Classifier, load_scorer
from rmtutorial.encoding import Encoded, encode
from rmtutorial.policy import Policy
from rmtutorial.preferences import PreferencePair
from rmtutorial.recipe import freeze
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_dpo, train_reward_model

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400, "pad_token_id": 2,
         "eos_token_id": 2, "bos_token_id": 1, "initializer_range": 0.2}  # fmt: skip
LLAMA = {**SIZES, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 512}


def with_head(model, **arguments):
    rm = RewardModel.from_sft(model.eval(), tiny_tokenizer(True), layers=None, **arguments)
    torch.manual_seed(1)
    torch.nn.init.normal_(rm.reward_head.weight)
    return rm


# Models.


class PeftModel(nn.Module):
    """As peft's: a module around the model."""


@pytest.mark.parametrize("make", [lambda *sft: RewardModel.from_sft(*sft, layers=None), Policy], ids=["RM", "policy"])
@pytest.mark.parametrize(
    "break_it, words",
    [
        (lambda model: PeftModel(), "PeftModel is no model of transformers.*merge_and_unload"),
        (lambda model: model.model.layers[0].mlp.add_module("up_proj", nn.ModuleDict({"base_layer": nn.Linear(2, 2)})) or model,
         "LoRA.*merge_and_unload"),
        (lambda model: setattr(model, "hf_quantizer", SimpleNamespace()) or model, "quantized weights"),
        (lambda model: T5ForConditionalGeneration(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=400)),
         "encoder and a decoder: use a decoder such as"),
    ],
    ids=["peft", "LoRA inside", "quantized", "T5"],
)  # fmt: skip
def test_what_is_no_plain_language_model_is_refused_by_name(make, break_it, words):
    """A KeyError from a state dict says nothing about adapters."""
    model, tokenizer = tiny_sft("llama")
    with pytest.raises(ValueError, match=words):
        make(break_it(model), tokenizer)


@pytest.mark.parametrize(
    "model",
    [
        lambda: BloomForCausalLM(BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=400)),
        lambda: GPTJForCausalLM(GPTJConfig(n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4, vocab_size=400)),
        lambda: OPTForCausalLM(OPTConfig(hidden_size=32, ffn_dim=32, num_hidden_layers=2, num_attention_heads=4,
                                         word_embed_proj_dim=32, vocab_size=400)),
        lambda: FalconForCausalLM(FalconConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=400)),
        lambda: CohereForCausalLM(CohereConfig(**LLAMA)),
    ],
    ids=["no positions", "attention of its own", "blocks deeper", "fused heads", "no class for the head"],
)  # fmt: skip
def test_a_decoder_that_cannot_be_packed_trained_or_saved_is_refused_at_construction(model):
    """Not by a tensor size in the first step, and not when the trained model is saved: the run would be lost."""
    with pytest.raises((ValueError, NotImplementedError), match=r"use a decoder .*such as Llama"):
        RewardModel.from_sft(model().eval(), tiny_tokenizer(True), layers=None)


def test_positions_that_depend_on_the_longest_text_are_refused_with_the_length_that_works():
    """LongRoPE takes other factors for the whole batch as soon as one text in it is long."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4, "rope_theta": 1e4}
    rope["original_max_position_embeddings"] = 96
    model = Phi3ForCausalLM(Phi3Config(**LLAMA, original_max_position_embeddings=96, rope_parameters=rope))
    with pytest.raises(NotImplementedError, match=r"rotary.*max_length=96"):
        with_head(model)
    rm = with_head(model, max_length=96)
    alone = rm.score("Why?", "Because.")
    assert rm.score_batch([("Why?", "Because."), ("Why?", "long " * 100)])[0].item() == pytest.approx(alone, abs=1e-5)


def test_a_foreign_model_with_such_positions_is_scored_one_text_at_a_time(tmp_path):
    """What transformers gives for the text alone, whatever stands beside it."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4, "rope_theta": 1e4}
    rope["original_max_position_embeddings"] = 96
    with_head(Phi3ForCausalLM(Phi3Config(**LLAMA, original_max_position_embeddings=96, rope_parameters=rope)),
              max_length=96).save_pretrained(tmp_path)  # fmt: skip
    for name, change in (("config.json", {"rmtutorial": None}), ("tokenizer_config.json", {"model_max_length": 512})):
        content = json.loads((tmp_path / name).read_text(encoding="utf-8"))
        (tmp_path / name).write_text(json.dumps({**content, **change}), encoding="utf-8")
    scorer = load_scorer(tmp_path)
    short, long = scorer.encode("Why?", ["Because."]), scorer.encode("Why?", ["long " * 100])
    assert isinstance(scorer, Classifier) and len(long[0].ids) > 200
    rewards = scorer.score_encoded([short, long])
    torch.testing.assert_close(rewards, torch.cat([scorer.score_encoded([one]) for one in (short, long)]))
    assert (rewards[0] - rewards[1]).abs() > 0.1


@pytest.mark.parametrize(
    "model",
    [
        lambda: MistralForCausalLM(MistralConfig(**LLAMA, sliding_window=24)),
        lambda: Gemma3ForCausalLM(Gemma3TextConfig(**LLAMA, head_dim=8, sliding_window=24)),
    ],
    ids=["every layer", "some layers"],
)
def test_a_sliding_window_is_kept_in_packed_answers(model, tmp_path):
    """Pairs longer than the window were refused in the middle of a run; now they score and learn as in transformers."""
    torch.manual_seed(0)
    rm = with_head(model())
    pair = PreferencePair("Why is the sky blue? " * 3, "Because air scatters blue light. " * 3, "It is. " * 8)
    assert len(encode(rm.tokenizer, pair.prompt, pair.chosen, 999).ids) > 2 * 24
    rm.save_pretrained(tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    for answers in rm.encode_pairs([pair]):
        with torch.no_grad():
            expected = torch.cat([theirs(torch.tensor([answer.ids])).logits[0] for answer in answers])
        torch.testing.assert_close(rm.score_encoded([answers])[0], expected, atol=1e-4, rtol=0)
    history = train_reward_model(rm, [pair] * 2, TrainConfig(epochs=1, train_top=1))
    assert len(history.steps) == 1


# Tokenizers.


def test_a_tokenizer_without_an_end_token_is_refused():
    """Nothing would divide prompt and answer, and a batch could not be padded elsewhere."""
    model, tokenizer = tiny_sft("gpt2")
    tokenizer.eos_token = tokenizer.pad_token = None
    for make in (lambda: RewardModel.from_sft(model, tokenizer, layers=None), lambda: Policy(model, tokenizer)):
        with pytest.raises(ValueError, match=r"no end token.*eos_token"):
            make()


def test_a_missing_pad_token_becomes_the_end_token(tmp_path):
    """Given in memory, not by load_sft; so that the saved model takes a batch."""
    model, tokenizer = tiny_sft("gpt2")
    tokenizer.pad_token = model.config.pad_token_id = None
    rm = RewardModel.from_sft(model, tokenizer, layers=None)
    assert rm.pad_id == rm.tokenizer.pad_token_id == tokenizer.eos_token_id and tokenizer.pad_token is None


def test_tokens_without_a_row_of_the_embedding_are_refused_with_both_sizes():
    """An IndexError of torch names neither; resizing is what was forgotten."""
    model, tokenizer = tiny_sft("llama")
    size = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    for make in (lambda: RewardModel.from_sft(model, tokenizer, layers=None), lambda: Policy(model, tokenizer)):
        with pytest.raises(
            ValueError, match=rf"up to {size} \('<tool>'\).*{size} rows.*resize_token_embeddings\({size + 1}\)"
        ):
            make()


def test_a_foreign_token_without_a_row_is_refused_only_where_it_occurs():
    """transformers scores other texts, so we do."""
    model, tokenizer = tiny_sft("llama")
    rm = RewardModel.from_sft(model, tokenizer, layers=None)
    rm.tokenizer.add_tokens(["<tool>"])
    assert rm.score("Why?", "Because.") == 0
    with pytest.raises(ValueError, match=r"'<tool>' has the id .*resize_token_embeddings"):
        rm.score("Why?", "use <tool>")
    two = [PreferencePair("Why?", "a", "b"), PreferencePair("Why?", "a", "<tool>")]
    padded = Classifier(AutoModelForSequenceClassification.from_config(rm.backbone.config), rm.tokenizer)
    for scorer in (rm, padded):
        with pytest.raises(ValueError, match="pair 2: token '<tool>'"):
            scorer.encode_pairs(two)


# Precision.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_reward_model_made_of_coarse_weights_learns_in_float32(dtype, pairs):
    """In bf16 a step of 1e-4 on a weight of 0.1 is rounded away, and close answers tie."""
    model, tokenizer = tiny_sft("llama")
    rm = RewardModel.from_sft(model.to(dtype), tokenizer, layers=None)
    before = {name: p.detach().clone() for name, p in rm.backbone.named_parameters()}
    train_reward_model(rm, pairs, TrainConfig(epochs=2, batch_size=2, train_top=1))
    learned = [(p != before[name]).float().mean() for name, p in rm.backbone.named_parameters() if p.requires_grad]
    assert min(learned) > 0.9 and {p.dtype for p in rm.parameters()} == {torch.float32}
    assert model.dtype == dtype
    assert len({rm.score("Why?", f"answer {i}") for i in range(30)}) == 30


def test_training_coarse_weights_is_refused_before_the_first_step(pairs):
    """A policy is trained as it is given, and a model may be turned to bf16 afterwards; frozen parts may stay so."""
    model, tokenizer = tiny_sft("llama")
    with pytest.raises(ValueError, match=r"bfloat16 would hardly move.*float32"):
        train_dpo(Policy(model.to(torch.bfloat16), tokenizer), pairs, TrainConfig(epochs=1, train_top=1))
    rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None)
    freeze(rm, 0)
    rm.backbone.to(torch.bfloat16)
    train_reward_model(rm, pairs, TrainConfig(epochs=1, train_top=0))


def test_a_head_that_is_read_in_bf16_makes_no_ties(tmp_path):
    """The backbone saves memory; the head is one row."""
    rm = with_head(LlamaForCausalLM(LlamaConfig(**LLAMA)))
    rm.save_pretrained(tmp_path)
    again = RewardModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert (again.backbone.dtype, again.reward_head.weight.dtype) == (torch.bfloat16, torch.float32)


# Folders.

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1234567\n"
LOADERS = pytest.mark.parametrize("load", [load_sft, RewardModel.from_pretrained, load_scorer])


@pytest.fixture
def folder(tmp_path):
    """A whole model and tokenizer, which each test damages."""
    with_head(LlamaForCausalLM(LlamaConfig(**LLAMA))).save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


@LOADERS
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_git_lfs_pointer_is_called_so(folder, load, name):
    """git clone without LFS leaves a text of three lines where the weights should be."""
    (folder / name).write_text(POINTER, encoding="utf-8")
    with pytest.raises(ModelNotAvailable, match=rf"{name} is a Git LFS pointer.*git lfs pull"):
        load(folder)


@LOADERS
@pytest.mark.parametrize("size", [0, 4, 3000, -1])
def test_weights_that_are_not_whole_are_named_with_what_to_do(folder, load, size):
    """A download that stopped: in the header's length, in the header, in the tensors."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(
        ValueError, match=r"model\.safetensors: the weights are not whole \(\d+ bytes\); download or copy"
    ):
        load(folder)


@LOADERS
@pytest.mark.parametrize("alone", [True, False], ids=["adapter alone", "beside a model"])
def test_a_lora_folder_is_called_so(folder, load, alone):
    """Without peft transformers would read the model beside it and leave the adapter out, without a word."""
    if alone:
        for path in folder.iterdir():
            path.unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}', encoding="utf-8")
    with pytest.raises(ModelNotAvailable, match=r"LoRA adapter .* for owner/base.*merge_and_unload"):
        load(folder)


@LOADERS
@pytest.mark.parametrize("name, content", [
    ("config.json", '{"model_type": "llama", "hidden_size": "many"}'), ("config.json", "[]"),
    ("tokenizer.json", '{"version": "1.0"}'), ("tokenizer_config.json", "{"),
])  # fmt: skip
def test_any_broken_file_names_the_folder(folder, load, name, content):
    """tokenizers raises plain Exceptions, a config TypeErrors: the command line would show a traceback."""
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises((ModelNotAvailable, FileNotFoundError)) as error:
        load(folder)
    assert str(folder) in str(error.value)


def test_an_encoder_reads_no_more_than_it_has_positions(tmp_path):
    """RoBERTa's begin behind the padding's: of 34 there are 32, and one more is an IndexError of torch."""
    config = RobertaConfig(
        **{**SIZES, "pad_token_id": 1}, intermediate_size=32, max_position_embeddings=34, num_labels=1
    )
    scorer = Classifier(RobertaForSequenceClassification(config).eval(), tiny_tokenizer(True))
    encoded = scorer.encode("Why is the sky blue? " * 20, ["Because."])
    assert isinstance(encoded[0], Encoded) and scorer.score_encoded([encoded]).isfinite().all()
