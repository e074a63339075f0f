"""DPO's derivation in numbers: the optimum by hand, a tabular reward model and tabular DPO on the same comparisons."""

import math

import pytest
import torch

from rmtutorial.lesson.tabular import (
    best_policy,
    comparisons_of,
    fit_policy,
    fit_reward,
    kl,
    log_partition,
    objective,
    sampled_comparisons,
)
from rmtutorial.lesson.widgets.tabular import optimum_explorer

STRENGTHS = torch.tensor([1, 2, 4, 8])
REFERENCE = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
REWARD = STRENGTHS.double().log()


def test_the_optimum_by_hand():
    """beta 0.5: e^(r / beta) = s^2, so pi* ~ 0.4 1, 0.3 4, 0.2 16, 0.1 64 = 0.4, 1.2, 3.2, 6.4; Z is their sum, 11.2."""
    weights = torch.tensor([0.4, 1.2, 3.2, 6.4], dtype=torch.float64)
    torch.testing.assert_close(best_policy(REFERENCE, REWARD, 0.5), weights / 11.2)
    assert log_partition(REFERENCE, REWARD, 0.5).item() == pytest.approx(math.log(11.2))


@pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
def test_the_maximum_is_beta_log_z_and_other_policies_miss_it_by_beta_kl(beta):
    """J(pi) = beta log Z - beta KL(pi, pi*) for every pi: so pi* is the maximum, and the only one."""
    best, most = best_policy(REFERENCE, REWARD, beta), beta * log_partition(REFERENCE, REWARD, beta)
    torch.testing.assert_close(objective(best, REFERENCE, REWARD, beta), most)
    for seed in range(20):
        other = torch.rand(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        other = other / other.sum()
        torch.testing.assert_close(objective(other, REFERENCE, REWARD, beta), most - beta * kl(other, best))


@pytest.mark.parametrize("beta", [0.2, 0.5, 2.0])
@pytest.mark.parametrize("data", ["without luck", "sampled"])
def test_reward_model_then_optimum_and_dpo_give_the_same_probabilities(beta, data):
    """Both fit the same comparisons by the same loss; DPO has the reward model's r as beta log pi / pi_ref, but for beta log Z."""
    won = comparisons_of(STRENGTHS) if data == "without luck" else sampled_comparisons(REWARD, 300, seed=1)
    reward, policy = fit_reward(*won, 4), fit_policy(*won, REFERENCE, beta)
    torch.testing.assert_close(best_policy(REFERENCE, reward, beta), policy, atol=1e-6, rtol=0)
    difference = reward - beta * (policy / REFERENCE).log()
    most = beta * log_partition(REFERENCE, reward, beta)
    torch.testing.assert_close(difference, most.expand(4), atol=1e-5, rtol=0)


def test_within_a_pair_log_z_cancels():
    """beta (log-ratio of i - log-ratio of j) = r_i - r_j for every two answers: Z is of the prompt, not of the answer."""
    implicit = 0.5 * (best_policy(REFERENCE, REWARD, 0.5) / REFERENCE).log()
    torch.testing.assert_close(implicit[:, None] - implicit, REWARD[:, None] - REWARD)
    assert (implicit - REWARD).abs().min() > 1  # alone it does not


def test_comparisons_without_luck_give_the_rewards_back():
    """i beats j in s_i of s_i + s_j cases: the maximum of the likelihood is log s, but for its offset."""
    reward = fit_reward(*comparisons_of(STRENGTHS), 4)
    torch.testing.assert_close(reward, REWARD - REWARD.mean(), atol=1e-8, rtol=0)
    winners, losers = comparisons_of(STRENGTHS)
    assert len(winners) == 3 * STRENGTHS.sum() and ((winners == 3) & (losers == 0)).sum() == 8


def test_an_offset_changes_the_maximum_and_nothing_else():
    """r + c: Z becomes Z e^(c / beta), pi* stays; the same comparisons are as likely."""
    torch.testing.assert_close(best_policy(REFERENCE, REWARD + 7, 0.5), best_policy(REFERENCE, REWARD, 0.5))
    shift = log_partition(REFERENCE, REWARD + 7, 0.5) - log_partition(REFERENCE, REWARD, 0.5)
    assert 0.5 * shift.item() == pytest.approx(7)
    for a, b in zip(sampled_comparisons(REWARD, 50), sampled_comparisons(REWARD + 7, 50)):
        assert torch.equal(a, b)


def test_beta_is_the_price_of_drift():
    """Large: pi* is the reference. Small: all on the best answer. In between reward and KL fall as beta grows."""
    torch.testing.assert_close(best_policy(REFERENCE, REWARD, 1e6), REFERENCE, atol=1e-5, rtol=0)
    assert best_policy(REFERENCE, REWARD, 1e-3)[3].item() == pytest.approx(1)
    policies = torch.stack([best_policy(REFERENCE, REWARD, beta) for beta in (0.1, 0.3, 1.0, 3.0)])
    assert ((policies @ REWARD).diff() < 0).all() and (kl(policies, REFERENCE).diff() < 0).all()


def test_what_has_no_optimum_is_refused():
    """An answer that always wins would get an infinite reward; beta 0 has no price."""
    with pytest.raises(ValueError, match="never lost"):
        fit_reward(torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 2, 1]), 3)
    with pytest.raises(ValueError, match="beta=0: must be above 0"):
        best_policy(REFERENCE, REWARD, 0)


def test_the_slider_shows_the_maximum_twice():
    """E[r] - beta KL of the optimum and beta log Z: at beta 1, log of 0.4 + 0.6 + 0.8 + 0.8."""
    box = optimum_explorer(["a", "b", "c", "d"], REFERENCE, REWARD)
    controls, picture, text = box.children
    controls.children[0].value = 1.0
    assert text.value.count(f"<b>{math.log(2.6):.4f}</b>") == 2
    assert "data:image/png" in picture.value
