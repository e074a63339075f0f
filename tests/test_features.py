"""The features of frozen layers: computed once, the same results, forgotten when anything changes."""

import copy
import io
from types import SimpleNamespace

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from conftest import tiny_sft
from rmtutorial import features
from rmtutorial.encoding import encode_pairs
from rmtutorial.evaluation import evaluate
from rmtutorial.features import FeatureCache, frozen_layers, pooled_features
from rmtutorial.intervals import units
from rmtutorial.probe import train_head
from rmtutorial.recipe import TrainConfig, freeze
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model


@pytest.fixture(params=["llama", "gpt2", "qwen3"])
def rm(request):
    """A tiny reward model of four layers with a random head; Qwen3 lists the kind of every layer."""
    if request.param == "qwen3":
        model, tokenizer = tiny_sft("llama")
        config = Qwen3Config(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
                             num_attention_heads=4, num_key_value_heads=2, head_dim=8, initializer_range=0.2)  # fmt: skip
        model = Qwen3ForCausalLM(config).eval()
        model.config.pad_token_id = tokenizer.pad_token_id
        sft = model, tokenizer
    else:
        sft = tiny_sft(request.param)
    rm = RewardModel.from_sft(*sft, layers=None)
    torch.manual_seed(1)
    torch.nn.init.normal_(rm.reward_head.weight, std=33**-0.5)
    return rm


@pytest.mark.parametrize("train_top", [0, 1, 3])
@pytest.mark.parametrize("memory", [10**9, 0], ids=["memory", "file"])
def test_rewards_and_gradients_from_the_cache_are_those_without_it(rm, pairs, train_top, memory):
    """Layers below the cut give the same states every time, so the layers above may start from a copy."""
    freeze(rm, train_top)
    examples = rm.encode_pairs(pairs)
    cache = FeatureCache(memory).belongs_to(rm)
    expected = rm(rm.batch(examples))
    gradients = torch.autograd.grad(expected.square().sum(), [p for p in rm.parameters() if p.requires_grad])
    for order in (list(range(6)), [5, 0, 3], [1, 2, 4]):  # computed, then read in other batches
        rewards = rm(cache.batch(rm, [examples[i] for i in order]))
        torch.testing.assert_close(rewards, expected[order], atol=1e-5, rtol=0)
    rewards = rm(cache.batch(rm, examples))
    again = torch.autograd.grad(rewards.square().sum(), [p for p in rm.parameters() if p.requires_grad])
    for a, b in zip(again, gradients):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert (
        (cache.bytes_in_memory, cache.bytes_in_file)[memory == 0]
        > 0
        == (cache.bytes_in_file, cache.bytes_in_memory)[memory == 0]
    )


@pytest.mark.parametrize("train_top", [0, 2])
def test_training_with_and_without_the_cache_ends_in_the_same_weights(rm, pairs, train_top):
    """To 1e-5 after three epochs, and the history is the same."""
    settings = {"epochs": 3, "batch_size": 2, "lr": 3e-4, "head_lr": 3e-3, "train_top": train_top}
    other = copy.deepcopy(rm)
    history = train_reward_model(rm, pairs, TrainConfig(cache=True, **settings), pairs[:2])
    plain = train_reward_model(other, pairs, TrainConfig(cache=False, **settings), pairs[:2])
    for p, q in zip(rm.parameters(), other.parameters()):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=0)
    for a, b in zip(history.evaluations, plain.evaluations, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    assert [row["tokens"] for row in history.steps] == [row["tokens"] for row in plain.steps]


def test_the_frozen_layers_run_once_for_each_pair(rm, pairs, monkeypatch):
    """Three epochs and four evaluations, and the lowest layer has seen every example once."""
    seen = []
    layer = features.decoder_layers(rm.backbone)[0]
    layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    run = layer.forward
    ran = []
    monkeypatch.setattr(layer, "forward", lambda hidden, *a, **k: ran.append(hidden.shape[1]) or run(hidden, *a, **k))
    config = TrainConfig(epochs=3, batch_size=2, train_top=2)
    history = train_reward_model(rm, pairs, config, pairs[:2])
    assert sum(ran) == history.steps[-1]["tokens"] / 3
    assert sum(seen) > sum(ran)  # it was passed in later epochs, without running


def changed(rm, what):
    if what == "weights":
        with torch.no_grad():
            rm.backbone.get_input_embeddings().weight[7] += 1
    elif what == "layers":
        freeze(rm, 1)
    elif what == "pooling":
        freeze(rm, 0)
        rm.pooling = "mean"


@pytest.mark.parametrize("what", ["weights", "layers", "pooling"])
def test_another_model_makes_the_cache_forget(rm, pairs, what):
    """A feature of yesterday's weights would be a silent error."""
    freeze(rm, 2)
    cache = FeatureCache().belongs_to(rm)
    examples = rm.encode_pairs(pairs)
    cache.batch(rm, examples)
    assert len(cache.belongs_to(rm)) == len(pairs)
    changed(rm, what)
    assert len(cache.belongs_to(rm)) == 0
    torch.testing.assert_close(rm(cache.batch(rm, examples)), rm(rm.batch(examples)), atol=1e-5, rtol=0)


def test_evaluation_does_not_take_another_models_features(rm, pairs):
    """The cache of one model, given to the evaluation of another: computed anew, not read."""
    other, cache = copy.deepcopy(rm), FeatureCache()
    freeze(rm, 2)
    evaluate(rm, pairs, cache=cache)
    with torch.no_grad():
        for p in features.decoder_layers(other.backbone)[0].parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
    freeze(other, 2)
    assert evaluate(other, pairs, cache=cache).margin == pytest.approx(evaluate(other, pairs).margin, abs=1e-5)
    assert evaluate(rm, pairs).margin != pytest.approx(evaluate(other, pairs).margin, abs=1e-3)


@pytest.mark.parametrize("train_top", [0, 2])
def test_features_made_in_bf16_are_not_read_in_float32(rm, pairs, train_top):
    """Training in bf16, then evaluating without: other examples to the cache."""
    cache = FeatureCache()
    freeze(rm, train_top)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        evaluate(rm, pairs, cache=cache)
    assert evaluate(rm, pairs, cache=cache).margin == pytest.approx(evaluate(rm, pairs).margin, abs=1e-5)


@pytest.mark.parametrize("train_top", [0, 2])
def test_a_full_disk_costs_time_and_not_the_run(rm, pairs, train_top, monkeypatch):
    """What does not fit is computed anew each time; nothing is promised that is not there."""
    settings = {"epochs": 3, "batch_size": 2, "lr": 3e-4, "train_top": train_top}
    other = copy.deepcopy(rm)
    train_reward_model(other, pairs, TrainConfig(cache=False, **settings))
    monkeypatch.setattr(features.shutil, "disk_usage", lambda folder: SimpleNamespace(free=features.SPARE))
    cache = FeatureCache(memory=0)
    train_reward_model(rm, pairs, TrainConfig(**settings), cache=cache)
    assert len(cache) == 0 and cache.file is None
    for p, q in zip(rm.parameters(), other.parameters()):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=0)


def test_a_write_that_fails_costs_time_and_not_the_run(rm, pairs):
    """A quota does not show in the free space: half of an example was written when the disk said no."""

    class Full(io.BytesIO):
        def write(self, data):
            if self.tell() > 5000:
                raise OSError("disk quota exceeded")
            return super().write(data[: len(data) // 2]) if self.tell() > 3000 else super().write(data)

    cache = FeatureCache(memory=0)
    freeze(rm, 2)
    cache.belongs_to(rm)
    cache.file = Full()
    expected = evaluate(rm, pairs).margin
    for _ in range(2):
        assert evaluate(rm, pairs, cache=cache).margin == pytest.approx(expected, abs=1e-5)
    assert len(cache) < len(pairs)


def test_another_text_template_or_cut_is_another_example(rm, pairs):
    """Known by its tokens: nothing else has to be watched."""
    freeze(rm, 2)
    cache = FeatureCache().belongs_to(rm)
    cache.batch(rm, rm.encode_pairs(pairs[:2]))
    cache.batch(rm, encode_pairs(rm.tokenizer, pairs[:2], max_length=12))
    rm.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}|{% endfor %}"
    cache.batch(rm, rm.encode_pairs(pairs[:2]))
    assert len(cache) == 6


def test_frozen_layers_counts_from_the_bottom(rm):
    """Up to the first layer that learns; trained embeddings leave nothing to keep."""
    for top in range(5):
        freeze(rm, top)
        assert frozen_layers(rm.backbone) == 4 - top
    freeze(rm, 2)
    rm.backbone.get_input_embeddings().requires_grad_(True)
    assert frozen_layers(rm.backbone) == 0


def test_one_cache_serves_several_runs(rm, pairs):
    """Move a slider, train again: the second run computes nothing below the head."""
    cache = FeatureCache()
    head = rm.reward_head.weight.detach().clone()
    train_reward_model(rm, pairs, TrainConfig(train_top=0), cache=cache)
    rm.reward_head.weight.data.copy_(head)
    layer = features.decoder_layers(rm.backbone)[0]
    hook = layer.register_forward_pre_hook(lambda *_: pytest.fail("the backbone ran"))
    train_reward_model(rm, pairs, TrainConfig(train_top=0, head_lr=0.1), cache=cache)
    hook.remove()


def test_train_head_is_train_reward_model_with_a_frozen_backbone(rm, pairs):
    """Another loop, the same optimizer, order and schedule: the same weight and the same history, to 1e-5."""
    settings = TrainConfig(epochs=3, batch_size=2, head_lr=3e-3, train_top=0, weight_decay=0.1, centering=0.01)
    torch.nn.init.zeros_(rm.reward_head.weight)
    states = pooled_features(rm, pairs)  # (6, 2, H)
    w, history = train_head(states, settings, states[:2], groups=units(pairs))
    slow = train_reward_model(rm, pairs, settings, pairs[:2])
    torch.testing.assert_close(w, rm.reward_head.weight[0].detach(), atol=1e-5, rtol=0)
    for a, b in zip(history.steps, slow.steps, strict=True):
        assert {k: v for k, v in b.items() if k not in ("tokens", "seconds")} == pytest.approx(
            {k: v for k, v in a.items() if k != "seconds"}, abs=1e-4
        )
    assert history.evaluations[-1] == pytest.approx(slow.evaluations[-1], abs=1e-5)


def test_pooled_features_are_what_the_head_reads(rm, pairs):
    """Features times the head's weight are the rewards that the model gives."""
    states = pooled_features(rm, pairs)
    r_chosen, r_rejected = rm.score_pairs(pairs)
    torch.testing.assert_close(states @ rm.reward_head.weight[0].detach(), torch.stack([r_chosen, r_rejected], 1))
    assert evaluate(rm, pairs).n == len(states)


def test_features_of_another_shape_are_refused():
    """(pairs, hidden size), the differences already taken, would be read as something else."""
    with pytest.raises(ValueError, match=r"\(6, 32\)"):
        train_head(torch.zeros(6, 32))
