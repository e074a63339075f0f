"""Closed forms against autograd, and the gradient ledger against sums over parameters."""

import copy
import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from conftest import moved, plain_dpo_loss, tiny_sft
from rmtutorial.gradients import (
    gradient_ledger,
    logit_gradients,
    part_of,
    reward_gradients,
    state_gradients,
    tied_head,
    total_norm,
)
from rmtutorial.losses import bradley_terry_loss, dpo_loss, sequence_logprobs
from rmtutorial.policy import Policy
from rmtutorial.recipe import freeze
from rmtutorial.reward_model import RewardModel


@pytest.fixture
def rm(sft):
    rm = RewardModel.from_sft(*sft, layers=None)
    torch.manual_seed(1)
    torch.nn.init.normal_(rm.reward_head.weight)
    return rm


def rm_loss(rm, pairs):
    return bradley_terry_loss(*rm(rm.batch(rm.encode_pairs(pairs))).unbind(1))


def dpo(sft, pairs):
    """(policy model, reference, DPO loss), everything but the reference trainable."""
    lm, tokenizer = sft
    reference = copy.deepcopy(lm).requires_grad_(False)
    encoded = Policy(lm, tokenizer).encode_pairs(pairs)
    return lm, reference, plain_dpo_loss(lm, reference, encoded, 0.1)


def test_reward_gradients_are_those_of_autograd():
    """dL/dr = -+ sigmoid(-delta) / B."""
    rewards = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0]], requires_grad=True)
    bradley_terry_loss(*rewards.unbind(1)).backward()
    closed = torch.stack(reward_gradients(*rewards.detach().unbind(1)), dim=1)
    torch.testing.assert_close(rewards.grad, closed, atol=1e-7, rtol=1e-5)


def test_logit_gradients_of_dpo_are_those_of_autograd_and_zero_on_prompt_tokens():
    """dL/dlogits = -+ beta sigmoid(-delta)/B (one-hot - softmax) before answer tokens, exactly 0 elsewhere."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 7, 11, generator=generator).requires_grad_()  # 2 chosen, 2 rejected
    labels = torch.randint(11, (4, 7), generator=generator)
    mask = torch.tensor(
        [[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]]
    ).bool()
    reference = torch.tensor([-9.0, -5.0, -6.0, -12.0])
    logprobs = sequence_logprobs(logits, labels, mask)
    dpo_loss(logprobs[:2], logprobs[2:], reference[:2], reference[2:], beta=0.3).backward()
    rewards = 0.3 * (logprobs.detach() - reference)
    weight = 0.3 * torch.cat(reward_gradients(rewards[:2], rewards[2:]))
    closed = logit_gradients(logits.detach(), labels, mask, weight)
    torch.testing.assert_close(logits.grad, closed, atol=1e-7, rtol=1e-5)
    prompts = ~torch.cat([mask[:, 1:], torch.zeros(4, 1, dtype=torch.bool)], dim=1)
    assert (closed[prompts] == 0).all() and (logits.grad[prompts] == 0).all() and (closed[~prompts] != 0).all()


def test_the_rm_ledger_has_a_reward_head_and_no_lm_head(rm, pairs):
    """Everything up to the head gets a gradient; there is no LM head that could."""
    ledger = gradient_ledger(rm, rm_loss(rm, pairs))
    assert ledger.index[0] == "embeddings" and [*ledger.index[-2:]] == ["final norm", "reward head"]
    assert (ledger["gradient"] > 0).all() and ledger["trained"].all()
    assert ledger["parameters"].sum() == sum(p.numel() for p in rm.parameters())


def test_the_dpo_ledger_has_an_lm_head_and_an_untouched_reference(sft, pairs):
    """At the LM head, which is the embedding matrix here, the gradient enters; at the reference none arrives."""
    lm, reference, loss = dpo(sft, pairs)
    ledger = gradient_ledger(lm, loss, reference)
    assert "reward head" not in ledger.index
    assert ledger.loc["LM head", "parameters"] == 0 and tied_head(lm)
    assert ledger.loc["LM head", "gradient"] == ledger.loc["embeddings", "gradient"] > 0
    assert math.isnan(ledger.loc["reference", "gradient"]) and not ledger.loc["reference", "trained"]
    assert ledger.loc["reference", "parameters"] == ledger["parameters"].drop("reference").sum()


@pytest.mark.parametrize("which", ["rm", "dpo"])
def test_the_ledger_sums_to_the_total_norm(sft, rm, pairs, which):
    """sqrt(sum of squares over parts) = the norm that clip_grad_norm_ reports; shares sum to 1."""
    model, loss, reference = (rm, rm_loss(rm, pairs), None)
    if which == "dpo":
        model, reference, loss = dpo(sft, pairs)
    loss.backward(retain_graph=True)
    expected = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf).item()
    ledger = gradient_ledger(model, loss, reference)
    assert total_norm(ledger) == pytest.approx(expected, rel=1e-5)
    assert ledger["share"][ledger["parameters"] > 0].sum() == pytest.approx(1)


def test_embeddings_hear_of_dpo_through_the_head_in_every_row(sft, pairs):
    """RM: a gradient only in the rows of tokens that were read. DPO, tied: softmax pushes all V rows."""
    rm = RewardModel.from_sft(*sft, layers=None)
    torch.nn.init.ones_(rm.reward_head.weight)
    rm_loss(rm, pairs).backward()
    read = {i for both in rm.encode_pairs(pairs) for answer in both for i in answer.ids}
    rows = rm.backbone.get_input_embeddings().weight.grad.norm(dim=1).nonzero()[:, 0].tolist()
    assert set(rows) <= read and len(rows) < rm.backbone.config.vocab_size / 2
    lm, _, loss = dpo(sft, pairs)
    loss.backward()
    assert (lm.get_input_embeddings().weight.grad.norm(dim=1) > 0).all()


def test_an_untied_lm_head_has_a_row_of_its_own():
    """Then the embeddings hear of DPO only through the backbone."""
    config = LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                         tie_word_embeddings=False)  # fmt: skip
    lm = LlamaForCausalLM(config)
    ids = torch.tensor([[1, 2, 3, 4]])
    loss = -sequence_logprobs(lm(input_ids=ids).logits, ids, torch.tensor([[0, 0, 1, 1]]).bool()).mean()
    ledger = gradient_ledger(lm, loss)
    assert not tied_head(lm) and ledger.loc["LM head", "parameters"] == 40 * 16
    assert ledger.loc["LM head", "gradient"] != ledger.loc["embeddings", "gradient"]


def test_no_gradient_and_a_gradient_of_zero_are_told_apart(sft, pairs):
    """A zero head: the blocks get a gradient, and it is exactly 0. A frozen backbone gets none."""
    rm = RewardModel.from_sft(*sft, layers=None)
    ledger = gradient_ledger(rm, rm_loss(rm, pairs))
    assert (ledger["gradient"].drop("reward head") == 0).all() and ledger.loc["reward head", "gradient"] > 0
    freeze(rm, 0)
    ledger = gradient_ledger(rm, rm_loss(rm, pairs))
    assert ledger["gradient"].drop("reward head").isna().all() and ledger.loc["reward head", "share"] == 1
    rm.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter learns"):
        gradient_ledger(rm, torch.zeros(()))


def test_frozen_lower_layers_and_a_cut_backbone(sft, pairs):
    """Frozen: listed, without gradient. Cut off: not listed at all."""
    rm = RewardModel.from_sft(*sft, layers=3)
    torch.nn.init.ones_(rm.reward_head.weight)
    freeze(rm, 1)
    ledger = gradient_ledger(rm, rm_loss(rm, pairs))
    assert not any("block 4" in part for part in ledger.index)
    assert (
        ledger["gradient"].isna().tolist() == [True] * 5 + [False] * 4
    )  # embeddings, blocks 1 and 2; block 3, norm, head


@pytest.mark.parametrize(
    "name, part",
    [
        ("model.layers.11.post_attention_layernorm.weight", "block 12 MLP"),
        ("backbone.layers.0.input_layernorm.weight", "block 1 attention"),
        ("transformer.h.3.ln_1.bias", "block 4 attention"),
        ("transformer.h.3.ln_2.bias", "block 4 MLP"),
        ("transformer.wpe.weight", "embeddings"),
        ("model.norm.weight", "final norm"),
        ("score.weight", "reward head"),
    ],
)
def test_parts_are_known_by_name(name, part):
    """A block's norm goes with what it feeds."""
    assert part_of(name) == part


def test_a_reward_model_is_pulled_at_two_tokens_and_a_policy_before_every_answer_token(rm, pairs):
    """dL/dh: for pooling "last" only the two scored states; for DPO the states that predict answer tokens."""
    batch = rm.batch(rm.encode_pairs(pairs[:1]))
    assert torch.equal(state_gradients(rm, batch) > 0, batch.pool[0].max(0).values > 0)
    policy = moved(Policy(*tiny_sft("llama")))
    batch = policy.batch(policy.encode_pairs(pairs[:1]))
    pulled = (state_gradients(policy, batch) > 0).nonzero()[:, 0].tolist()
    assert pulled == sorted(set(batch.predict[0].tolist()))
    assert min(pulled) == policy.encode_pairs(pairs[:1])[0][0].start - 1
