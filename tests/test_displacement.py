"""What DPO does to both answers of a pair, what models still write, what a step keeps in memory: each by another route."""

import math

import pytest
import torch

from conftest import moved, plain_logprob, tiny_sft
from rmtutorial.encoding import Encoded
from rmtutorial.lesson.cost import MIB, forward_passes, kept_for_backward, training_memory
from rmtutorial.lesson.displacement import (
    by_kind,
    changes,
    displacement_table,
    gradient_cosines,
    similarity,
    thirds,
)
from rmtutorial.lesson.writing import guessing, nats_per_token
from rmtutorial.policy import Policy
from rmtutorial.preferences import PreferencePair
from rmtutorial.recipe import freeze
from rmtutorial.reward_model import RewardModel


@pytest.fixture
def policy():
    return Policy(*tiny_sft("llama"), beta=0.2)


def test_changes_are_log_ratios(policy, pairs):
    """log pi after, less log pi before, of each answer: beta does not enter."""
    encoded = policy.encode_pairs(pairs)
    before = policy.logprobs_encoded(encoded)
    moved(policy)
    torch.testing.assert_close(changes(policy, encoded), policy.logprobs_encoded(encoded) - before, atol=1e-3, rtol=0)


def test_similarity_counts_matching_blocks_of_tokens():
    """1 2 3 4 against 1 2 9 4: blocks [1 2] and [4], so 2 * 3 / 8; the end mark counts for nothing."""

    def answer(*tokens):
        return Encoded([7, 7, *tokens, 0], 2)

    rows = [[answer(1, 2, 3, 4), answer(1, 2, 9, 4)], [answer(1, 2), answer(1, 2)], [answer(1), answer(2)]]
    assert similarity(rows).tolist() == [0.75, 1.0, 0.0]


def test_thirds_are_by_rank():
    """Seven values: three, two, two, from the least."""
    assert [some.tolist() for some in thirds(torch.tensor([5.0, 1.0, 3.0, 2.0, 7.0, 6.0, 4.0]))] == [
        [1, 3, 2],
        [6, 0],
        [5, 4],
    ]


def test_the_table_counts_what_fell():
    """By hand: chosen -1, +3, -2, 0, rejected -2, +4, -1, -1; a tie falls not."""
    change = torch.tensor([[-1.0, -2.0], [3.0, 4.0], [-2.0, -1.0], [0.0, -1.0]])
    table = displacement_table(change, {"all": torch.arange(4), "first": torch.tensor([0, 1])}, ["a", "b", "c", "d"])
    assert table.loc["all", ["chosen", "rejected", "chosen fell", "right"]].tolist() == [0, 0, 0.5, 0.5]
    assert table.loc["first", "pairs"] == 2 and table.loc["first", "low"] == -1 and table.loc["first", "high"] == 3


def test_twins_of_a_mirror_set_pull_against_each_other(policy):
    """What the two gradients share is an answer's own probability, and that has opposite signs in them."""
    freeze(policy, 2)
    policy.fix_reference()
    one, other = "On the mat.", "Because air scatters blue light."
    rows = [("Where is the cat?", one, other), ("Why is the sky blue?", other, one)]
    pairs = [PreferencePair(*row, group="g", kind="mirror") for row in rows] + [
        PreferencePair("Is red light blue?", "No.", "Yes.")
    ]
    cosines = gradient_cosines(policy, policy.encode_pairs(pairs))
    torch.testing.assert_close(cosines.diagonal(), torch.ones(3))
    assert cosines[0, 1] < -0.3 and cosines[0, 1] < cosines[0, 2]
    assert {kind: rows.tolist() for kind, rows in by_kind(pairs[:2]).items()} == {"mirror": [0, 1]}


def test_nats_per_token_are_those_of_plain_forwards(policy, pairs):
    """- log pi(y|x) of all answers of an example over their tokens; a reward model of all layers writes as the model does."""
    encoded = policy.encode_pairs(pairs)
    by_hand = [
        -sum(plain_logprob(policy.lm, y).item() for y in both) / sum(len(y.ids) - y.start for y in both)
        for both in encoded
    ]
    found = nats_per_token(policy, policy.lm.get_output_embeddings(), encoded)
    assert found.tolist() == pytest.approx(by_hand, abs=1e-4)
    rm = RewardModel.from_sft(policy.lm, policy.tokenizer, layers=None)
    same = nats_per_token(rm, policy.lm.get_output_embeddings(), encoded)
    torch.testing.assert_close(same, found, atol=1e-4, rtol=0)
    cut = RewardModel.from_sft(policy.lm, policy.tokenizer, layers=2)
    assert (nats_per_token(cut, policy.lm.get_output_embeddings(), encoded) - found).abs().max() > 0.1
    assert guessing(49_152) == pytest.approx(math.log(2) * math.log2(49_152))


def test_logits_are_kept_once_for_every_answer_token(policy, pairs):
    """M V numbers of 4 bytes for the policy, none for a reward model; what is below the trained layers is not kept."""
    encoded = policy.encode_pairs(pairs)
    M = sum(len(y.ids) - y.start for both in encoded for y in both)
    freeze(policy, 2)
    policy.fix_reference()
    activations, logits = kept_for_backward(policy, encoded)
    assert logits == 4 * M * policy.lm.config.vocab_size
    freeze(policy, 1)
    policy.fix_reference()
    fewer, _ = kept_for_backward(policy, encoded)
    assert fewer < 0.7 * activations
    rm = RewardModel.from_sft(policy.lm, policy.tokenizer, layers=None)
    freeze(rm, 2)
    torch.nn.init.normal_(rm.reward_head.weight)
    kept, none = kept_for_backward(rm, encoded)
    assert none == 0 and kept == pytest.approx(activations, rel=0.2)


def test_memory_at_equal_depth_differs_by_reference_and_logits(policy, pairs):
    """Weights: a head more for the reward model. The second copy is of what learns alone."""
    encoded = policy.encode_pairs(pairs)
    rm = RewardModel.from_sft(policy.lm, policy.tokenizer, layers=None)
    freeze(rm, 2)
    freeze(policy, 2)
    policy.fix_reference()
    of_rm, of_dpo = training_memory(rm, encoded), training_memory(policy, encoded)
    assert (of_rm["weights"] - of_dpo["weights"]) * MIB == pytest.approx(4 * 32)
    assert of_dpo["AdamW"] == 2 * of_dpo["gradients"] == 2 * of_dpo["reference"]
    assert of_rm["reference"] == of_rm["logits"] == 0 < of_dpo["logits"]
    assert (forward_passes(rm), forward_passes(policy), forward_passes(policy, known=False)) == (2, 2, 4)
