"""The losses of DPO's family as one loop trains them, and what each pulls at which answer."""

import math

import pytest
import torch

from conftest import tiny_sft
from rmtutorial.intervals import units
from rmtutorial.lesson.family import FAMILY, answer_lengths, pulls, train_policy
from rmtutorial.policy import Policy
from rmtutorial.recipe import TrainConfig, freeze
from rmtutorial.training import train_dpo

CONFIG = TrainConfig(epochs=3, batch_size=4, lr=3e-3, train_top=2)


@pytest.fixture
def policy():
    return Policy(*tiny_sft("llama"), beta=0.1)


def trained(policy, pairs, name, config=CONFIG):
    freeze(policy, config.train_top)
    policy.fix_reference()
    encoded = policy.encode_pairs(pairs)
    steps = train_policy(policy, encoded, config, FAMILY[name], units(pairs))
    return steps, policy.score_encoded(encoded) / policy.beta  # (n, 2) changes of log pi


def test_with_dpos_loss_the_loop_is_train_dpo(policy, pairs):
    """Same order, same steps, same weights: what the notebook shows is what the package does."""
    history = train_dpo(policy, pairs, CONFIG)
    weights = [p.detach().clone() for p in policy.parameters()]
    policy.reset()
    steps, _ = trained(policy, pairs, "DPO")
    assert [row["loss"] for row in steps] == pytest.approx([row["loss"] for row in history.steps], abs=1e-5)
    for a, b in zip(policy.parameters(), weights):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", FAMILY)
def test_each_loss_learns_the_order_of_its_pairs(policy, pairs, name):
    """Twenty passes over six pairs: the chosen answers gain on the rejected ones, by its own reward."""
    steps, change = trained(policy, pairs, name, TrainConfig(epochs=20, batch_size=6, lr=3e-3, train_top=2))
    assert (change[:, 0] - change[:, 1]).mean() > 0.5
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_at_the_reference_dpo_starts_at_ln_2_and_ipo_at_the_square_of_its_goal(policy, pairs):
    """Log-ratios of 0: -log sigmoid(0), and (0 - 1 / (2 * 0.1))^2 = 25; cDPO and rDPO start where DPO does."""
    first = {}
    for name in ("DPO", "cDPO", "rDPO", "IPO"):
        steps, _ = trained(policy, pairs, name)
        first[name] = steps[0]["loss"]
        policy.reset()
    assert [first[name] for name in ("DPO", "cDPO", "rDPO")] == pytest.approx([math.log(2)] * 3, abs=1e-5)
    assert first["IPO"] == pytest.approx(25, abs=1e-3)


def test_only_an_sft_term_pulls_harder_at_the_chosen_answer_than_at_the_rejected_one():
    """Four answers of equal length: the pulls of DPO, IPO, cDPO, rDPO and SimPO are equal and opposite."""
    pi, ref, tokens = torch.tensor([[-9.0, -12.0]]), torch.tensor([[-10.0, -11.0]]), torch.full((1, 2), 4.0)
    for name, loss in FAMILY.items():
        (up, down) = pulls(loss, pi, ref, tokens)[0].tolist()
        assert up > 0 > down
        assert (up == pytest.approx(-down)) == (name != "DPO + SFT")


def test_pulls_are_those_of_each_pair_alone():
    """Not a share of a batch's mean: DPO's at a margin of 0 is beta / 2, whatever stands beside it."""
    zero = torch.zeros(3, 2)
    torch.testing.assert_close(pulls(FAMILY["DPO"], zero, zero, zero + 1), torch.tensor([[0.05, -0.05]] * 3))


def test_answers_are_counted_with_their_end_mark(policy, pairs):
    """What log pi sums over."""
    encoded = policy.encode_pairs(pairs)
    n = answer_lengths(encoded)
    assert n.shape == (6, 2) and n[0, 0] == len(encoded[0][0].ids) - encoded[0][0].start
    assert (policy.token_logprobs(policy.batch(encoded[:1])) != 0).sum(-1)[0].tolist() == n[0].tolist()
