"""The losses against autograd, against closed forms and against formulas written out."""

import math

import pytest
import torch

from rmtutorial.losses import bradley_terry_loss, dpo_loss, sequence_logprobs

LN2 = math.log(2)


def rewards(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_loss_of_equal_rewards_is_ln_2():
    """sigmoid(0) = 1/2: a model without an opinion pays -ln(1/2) nats a pair, wherever its rewards lie."""
    r = rewards(0.0, -3.0, 7.5)
    assert bradley_terry_loss(r, r.detach()).item() == pytest.approx(LN2, abs=1e-12)


def test_loss_is_the_mean_of_minus_log_sigmoid():
    """L = -1/B sum ln(1 / (1 + e^-delta)), here with Python's own math."""
    deltas = [-2.0, 0.5, 3.0]
    by_hand = sum(math.log(1 + math.exp(-delta)) for delta in deltas) / 3
    loss = bradley_terry_loss(rewards(1.0, 1.5, 0.0), rewards(3.0, 1.0, -3.0))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(by_hand, abs=1e-12)


def test_gradient_is_minus_sigmoid_of_minus_delta_over_B():
    """dL/dr_chosen = -sigmoid(-delta)/B and dL/dr_rejected is its opposite: a pair that is right pulls less."""
    chosen, rejected = rewards(0.0, 2.0, -1.0, 30.0), rewards(0.0, -1.0, 1.5, 0.0)
    bradley_terry_loss(chosen, rejected).backward()
    closed = torch.tensor([-1 / (1 + math.exp(delta)) / 4 for delta in (0.0, 3.0, -2.5, 30.0)], dtype=torch.float64)
    torch.testing.assert_close(chosen.grad, closed, atol=1e-15, rtol=1e-12)
    torch.testing.assert_close(rejected.grad, -closed, atol=1e-15, rtol=1e-12)


def test_loss_is_stable_where_the_naive_form_is_infinite():
    """In float32 sigmoid(-100) is 0 and its log -inf; the loss there is 100 + e^-100 = 100, the gradient -1."""
    chosen = torch.tensor([-100.0], requires_grad=True)
    zero = torch.zeros(1)
    assert (-torch.log(torch.sigmoid(chosen.detach()))).item() == math.inf
    bradley_terry_loss(chosen, zero).backward()
    assert bradley_terry_loss(chosen, zero).item() == 100.0
    assert chosen.grad.item() == -1.0


def test_loss_still_pulls_where_the_naive_form_is_flat():
    """At +100 the loss is e^-100: about 3.7e-44 in float32, where the naive form rounds sigmoid to 1 and gives 0."""
    chosen = torch.tensor([100.0])
    assert (-torch.log(torch.sigmoid(chosen))).item() == 0.0
    assert bradley_terry_loss(chosen, torch.zeros(1)).item() == pytest.approx(math.exp(-100), rel=0.05)


def test_loss_does_not_see_a_common_offset():
    """Only differences enter, so R(x, y) + c(x) is as good a reward as R(x, y)."""
    chosen, rejected, offset = rewards(1.0, -2.0), rewards(0.5, 1.0), torch.tensor([10.0, -4.0])
    shifted = bradley_terry_loss(chosen + offset, rejected + offset)
    assert shifted.item() == pytest.approx(bradley_terry_loss(chosen, rejected).item(), abs=1e-12)


def test_margin_is_subtracted_from_the_difference():
    """Touvron et al. (2023), eq. 2: -ln sigmoid(delta - m); with delta = m the loss is ln 2 again."""
    chosen, rejected = rewards(2.0, 1.0), rewards(0.0, 0.0)
    margin = torch.tensor([2.0, 3.0], dtype=torch.float64)
    by_hand = (LN2 + math.log(1 + math.exp(2.0))) / 2
    assert bradley_terry_loss(chosen, rejected, margin=margin).item() == pytest.approx(by_hand, abs=1e-12)


def test_centering_adds_the_mean_squared_sum_of_rewards():
    """Eisenstein et al. (2023): + weight * mean (r_chosen + r_rejected)^2, here 0.01 * (3^2 + 1^2) / 2 = 0.05."""
    chosen, rejected = rewards(2.0, 1.0), rewards(1.0, -2.0)
    extra = bradley_terry_loss(chosen, rejected, centering=0.01) - bradley_terry_loss(chosen, rejected)
    assert extra.item() == pytest.approx(0.05, abs=1e-12)


def test_centering_removes_the_offset_that_the_loss_leaves_open():
    """The gradient along (1, 1) is 0 without centering and 4 * weight * mean-sum with it."""
    chosen, rejected = rewards(2.0), rewards(1.0)
    for centering, along in ((0.0, 0.0), (0.01, 0.12)):
        grads = torch.autograd.grad(bradley_terry_loss(chosen, rejected, centering=centering), (chosen, rejected))
        assert sum(grad.item() for grad in grads) == pytest.approx(along, abs=1e-12)


@pytest.mark.parametrize(
    "chosen, rejected", [((3,), (2,)), ((3,), (3, 1)), ((3, 1), (3, 1)), ((), ()), ((1,), (4,)), ((2, 3), (3,))]
)
def test_wrong_shapes_are_refused(chosen, rejected):
    """(3,) minus (3, 1) would broadcast to nine differences and train on pairs that nobody compared."""
    with pytest.raises(ValueError) as error:
        bradley_terry_loss(torch.zeros(chosen), torch.zeros(rejected))
    assert f"{chosen} and {rejected}" in str(error.value)


def test_a_margin_of_another_shape_is_refused():
    """(B,) minus (B, 1) would broadcast to B * B differences, and their mean is a plausible loss."""
    margin = torch.zeros(2, 1)
    with pytest.raises(ValueError) as error:
        bradley_terry_loss(torch.zeros(2), torch.zeros(2), margin=margin)
    assert "(2, 1)" in str(error.value)


def dpo_inputs():
    generator = torch.Generator().manual_seed(0)
    return [(-20 * torch.rand(5, generator=generator, dtype=torch.float64)).requires_grad_(i < 2) for i in range(4)]


def test_dpo_loss_equals_the_formula_in_ratios():
    """Rafailov et al. (2023), eq. 7, with ratios pi/pi_ref multiplied out instead of differences of logs."""
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = dpo_inputs()
    ratio_chosen, ratio_rejected = policy_chosen.exp() / ref_chosen.exp(), policy_rejected.exp() / ref_rejected.exp()
    by_hand = -torch.log(ratio_chosen**0.3 / (ratio_chosen**0.3 + ratio_rejected**0.3)).mean()
    loss = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta=0.3)
    torch.testing.assert_close(loss, by_hand, atol=1e-12, rtol=0)


def test_dpo_loss_is_ln_2_when_the_policy_is_the_reference():
    """All implicit rewards are 0 before the first step, whatever beta."""
    _, _, chosen, rejected = dpo_inputs()
    for beta in (0.01, 0.1, 5.0):
        assert dpo_loss(chosen, rejected, chosen, rejected, beta=beta).item() == pytest.approx(LN2, abs=1e-12)


def test_dpo_gradient_is_minus_beta_sigmoid_of_minus_delta_over_B():
    """dL/dlog pi(chosen) = -beta sigmoid(-delta)/B, delta = the difference of the implicit rewards."""
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = inputs = dpo_inputs()
    dpo_loss(*inputs, beta=0.2).backward()
    delta = 0.2 * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)).detach()
    closed = -0.2 / (1 + delta.exp()) / 5
    torch.testing.assert_close(policy_chosen.grad, closed, atol=1e-14, rtol=1e-12)
    torch.testing.assert_close(policy_rejected.grad, -closed, atol=1e-14, rtol=1e-12)


def logits_labels_mask():
    """B = 3 sequences of T = 6 tokens over V = 11 words; the answers start and end at different places."""
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(3, 6, 11, generator=generator)).requires_grad_()
    labels = torch.randint(11, (3, 6), generator=generator)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)
    return logits, labels, mask


def test_sequence_logprobs_equal_log_softmax_and_gather():
    """ln pi(y|x) = sum over answer tokens t of log_softmax(logits[t - 1])[token t], token by token."""
    logits, labels, mask = logits_labels_mask()
    logprobs = torch.log_softmax(logits, dim=-1)
    by_hand = [sum(logprobs[b, t - 1, labels[b, t]] for t in range(6) if mask[b, t]) for b in range(3)]
    torch.testing.assert_close(sequence_logprobs(logits, labels, mask), torch.stack(by_hand), atol=1e-5, rtol=0)


def test_masked_tokens_get_exactly_zero_gradient():
    """Prompt and padding are not the answer: no logit that predicts them, and not the last one, is pushed."""
    logits, labels, mask = logits_labels_mask()
    sequence_logprobs(logits, labels, mask).sum().backward()
    predicts_answer = torch.cat([mask[:, 1:], torch.zeros(3, 1, dtype=torch.bool)], dim=1)  # (B, T)
    moved = (logits.grad != 0).any(dim=-1)  # (B, T)
    assert torch.equal(moved, predicts_answer)


def test_sequence_logprobs_are_summed_in_float32():
    """bfloat16 has 8 bits: a sum of 400 log-probabilities near -5.5 in it would be wrong by whole nats."""
    logits, labels = torch.zeros(1, 401, 256, dtype=torch.bfloat16), torch.zeros(1, 401, dtype=torch.int64)
    total = sequence_logprobs(logits, labels, torch.ones(1, 401, dtype=torch.bool))
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(-400 * math.log(256), rel=1e-5)
