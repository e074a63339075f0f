"""Memory: against numbers by hand, real models, and what autograd keeps."""

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from rmtutorial.memory import SHAPES, WAYS, Shape, activation_bytes, devices_needed, training_bytes

TOY = Shape(layers=2, hidden=8, mlp=16, heads=4, kv_heads=2, vocabulary=10)


def test_a_toy_is_counted_by_hand():
    """K = 8 / 4 * 2 = 4. A layer: 64 + 32 + 32 + 64 + 3 * 128 = 576 in matrices, 16 in norms; 10 * 8 embeddings, 8 + 8."""
    assert (TOY.kv, TOY.in_matrices, TOY.weights) == (4, 1152, 80 + 2 * 576 + 2 * 16 + 16)
    assert TOY.adapter(rank=1) == 2 * (16 + 12 + 12 + 16 + 24 + 24 + 24)


def test_real_models_have_as_many_weights_as_their_cards_say():
    """Totals of the language models, less an LM head of its own (8B, 70B), plus the reward head."""
    totals = {"135M": 134_515_008, "1B": 1_235_814_400, "8B": 8_030_261_248, "70B": 70_553_706_496}
    for name, total in totals.items():
        shape = SHAPES[name]
        lm_head = shape.vocabulary * shape.hidden if name in ("8B", "70B") else 0
        assert shape.weights == total - lm_head + shape.hidden


def test_each_way_is_counted_by_hand():
    """The toy has 1280 weights: 8 of them the head, 1152 in matrices; LoRA of rank 1 adds 256."""
    parts = {way: list(training_bytes(TOY, way, tokens=0, rank=1).values())[:3] for way in WAYS}
    assert parts["full, fp32"] == [5120, 5120, 10_240]
    assert parts["full, bf16"] == [2560, 2560, 5120]
    assert parts["LoRA, bf16"] == [2 * 1272 + 4 * 264, 4 * 264, 8 * 264]
    assert parts["QLoRA, 4 bit"] == [pytest.approx(2 * 120 + 4 * 264 + 1152 * 4.127 / 8), 4 * 264, 8 * 264]
    with pytest.raises(ValueError, match="'lora': choose full, fp32"):
        training_bytes(TOY, "lora")


def test_activations_are_counted_by_hand():
    """A layer of the toy keeps 8*8 + 2*4 + 4*16 = 136 numbers a token; with checkpointing 2*8 and one layer."""
    assert activation_bytes(TOY, tokens=3, size=2, checkpointing=False) == 2 * 3 * 2 * 136
    assert activation_bytes(TOY, tokens=3, size=2) == 2 * 3 * (16 + 136)
    assert training_bytes(TOY, "full, fp32", tokens=3)["activations"] == 4 * 3 * (16 + 136)


def test_activations_are_those_that_autograd_keeps():
    """Each storage that the backward pass of a real layer needs, once; weights and what does not grow with T left out."""

    def kept(tokens):
        found = {}

        def pack(tensor):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()  # held, so no address comes twice
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            states = torch.randn(1, tokens, 64, requires_grad=True)
            model(inputs_embeds=states, use_cache=False).last_hidden_state.sum()
        return sum(storage.nbytes() for storage in found.values())

    config = dict(hidden_size=64, intermediate_size=192, num_attention_heads=4, num_key_value_heads=4, vocab_size=10)
    sizes = {}
    for layers in (1, 3):
        model = LlamaModel(LlamaConfig(num_hidden_layers=layers, attn_implementation="sdpa", **config))
        sizes[layers] = kept(256) - kept(128)  # 128 tokens' worth, without the weights
    shape = Shape(2, 64, 192, 4, 4, 10)
    counted = activation_bytes(shape, tokens=128, size=4, checkpointing=False)
    assert sizes[3] - sizes[1] == pytest.approx(counted, rel=0.15)


def test_devices_are_rounded_up():
    """14.4 of 16 GB are given to training: 14 GB fit on one, 15 need two."""
    assert [devices_needed(total, 16e9) for total in (14e9, 15e9, 144e9)] == [1, 2, 10]
