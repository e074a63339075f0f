"""The functions of policy gradient, against exact expectations over a language small enough to write out."""

import itertools
import math

import pytest
import torch

from conftest import moved, tiny_sft
from rmtutorial.policy import Policy
from rmtutorial.policy_gradient import (
    clipped_tokens,
    group_advantages,
    grpo_loss,
    k1,
    k2,
    k3,
    leave_one_out_advantages,
    policy_gradient_loss,
    rewards_less_kl,
)
from rmtutorial.sampling import sample

V, L, END = 3, 3, 2  # a language of two words and an end mark, at most three tokens


def all_answers():
    """Every answer that can be written: what has ended, and what is cut at L tokens without an end mark. 15 in all."""
    rows = [y for n in range(1, L + 1) for y in itertools.product(range(V), repeat=n)]
    return [y for y in rows if END not in y[:-1] and (y[-1] == END or len(y) == L)]


ANSWERS = all_answers()
PREFIXES = {prefix: i for i, prefix in enumerate(sorted({y[:t] for y in ANSWERS for t in range(len(y))}))}
MASK = torch.tensor([[t < len(y) for t in range(L)] for y in ANSWERS])  # (N, L)
PLACES = torch.tensor([[PREFIXES[y[:t]] if t < len(y) else 0 for t in range(L)] for y in ANSWERS])
TOKENS = torch.tensor([[y[t] if t < len(y) else 0 for t in range(L)] for y in ANSWERS])
REWARDS = torch.randn(len(ANSWERS), generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def weights(seed, scale=1.0):
    """Logits of the next token after every prefix, (prefixes, V): an autoregressive model as a table."""
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(len(PREFIXES), V, generator=generator, dtype=torch.float64)).requires_grad_()


def token_logprobs(table):
    """(N, L) of all answers, 0 behind the end."""
    return table.log_softmax(-1)[PLACES, TOKENS].where(MASK, 0.0)


def gradient(value, table):
    return torch.autograd.grad(value, table, retain_graph=True)[0]


@pytest.fixture
def pi():
    return weights(0)


@pytest.fixture
def ref():
    return weights(1).detach()


def assert_equal(a, b):
    torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9)


# Policy gradient.


def test_the_language_is_written_out_whole(pi):
    """The probabilities of all answers add up to 1: expectations below are sums over them."""
    assert len(ANSWERS) == 1 + 2 + 4 * 3
    assert token_logprobs(pi).sum(-1).exp().sum().item() == pytest.approx(1)


def test_the_expected_gradient_of_log_pi_is_zero(pi):
    """E[grad log pi(y)] = sum_y grad pi(y) = grad 1 = 0: a baseline that does not see the answer changes nothing."""
    log_pi = token_logprobs(pi).sum(-1)  # (N,)
    probability = log_pi.exp().detach()
    assert gradient((probability * log_pi).sum(), pi).abs().max() < 1e-12
    assert gradient(log_pi[0], pi).abs().max() > 0.1


@pytest.mark.parametrize("baseline", [0.0, 5.0])
def test_reinforce_is_the_gradient_of_the_expected_reward(pi, baseline):
    """E[(r - b) grad log pi] = grad E[r], for every b; grad E[r] by differentiating the sum itself."""
    log_pi = token_logprobs(pi).sum(-1)
    probability = log_pi.exp()
    expected = gradient((probability * REWARDS).sum(), pi)
    losses = torch.stack(
        [policy_gradient_loss(log_pi[i, None, None], REWARDS[i, None, None] - baseline) for i in range(len(ANSWERS))]
    )
    assert_equal(gradient((probability.detach() * losses).sum(), pi), -expected)
    assert expected.abs().max() > 0.05


@pytest.mark.parametrize(
    ("advantages", "share"), [(leave_one_out_advantages, 1.0), (lambda r: group_advantages(r, scale=False), 1 / 2)]
)
def test_leave_one_out_has_no_bias_and_the_group_mean_shrinks_the_gradient(pi, advantages, share):
    """Over all pairs of answers (G = 2): E[A grad log pi] is grad E[r] for RLOO, (G - 1) / G of it for r - mean."""
    log_pi = token_logprobs(pi).sum(-1)
    n = len(ANSWERS)
    pairs = torch.tensor(list(itertools.product(range(n), repeat=2)))  # (n^2, 2)
    probability = log_pi.detach()[pairs].sum(-1).exp()  # (n^2,)
    each = -(advantages(REWARDS[pairs]) * log_pi[pairs]).mean(-1)  # the loss of every pair
    assert_equal(gradient((probability * each).sum(), pi), -share * gradient((log_pi.exp() * REWARDS).sum(), pi))


def test_leave_one_out_is_the_centred_reward_times_g_over_g_minus_1():
    """r - (sum - r) / (G - 1) = G / (G - 1) (r - mean)."""
    rewards = torch.randn(5, 7, dtype=torch.float64)
    others = torch.stack([rewards[:, [j for j in range(7) if j != i]].mean(1) for i in range(7)], dim=1)
    assert_equal(leave_one_out_advantages(rewards), rewards - others)
    assert_equal(leave_one_out_advantages(rewards), 7 / 6 * group_advantages(rewards, scale=False))


def answers_of_groups(seed=0, P=3, G=4):
    """Which answers (P, G) a sampler drew, and their rewards."""
    chosen = torch.randint(len(ANSWERS), (P, G), generator=torch.Generator().manual_seed(seed))
    return chosen, REWARDS[chosen]


def test_on_policy_the_clipped_surrogate_is_reinforce(pi):
    """Ratio 1 everywhere: one gradient, that of -sum A log pi over the number of tokens."""
    chosen, rewards = answers_of_groups()
    A, mask, logprobs = group_advantages(rewards), MASK[chosen], token_logprobs(pi)[chosen]
    loss = grpo_loss(logprobs, logprobs.detach(), A, mask)
    reinforce = policy_gradient_loss(logprobs.sum(-1), A) * A.numel() / mask.sum()
    assert_equal(gradient(loss, pi), gradient(reinforce, pi))


def test_the_loss_is_zero_and_the_gradient_is_not(pi):
    """Answers of one length: -mean A = 0 whatever pi does, and yet it learns."""
    chosen = torch.tensor([[i for i, y in enumerate(ANSWERS) if len(y) == 3][:4]])
    logprobs = token_logprobs(pi)[chosen]
    loss = grpo_loss(logprobs, logprobs.detach(), group_advantages(REWARDS[chosen]), MASK[chosen])
    assert abs(loss.item()) < 1e-12 and gradient(loss, pi).abs().max() > 0.05


def test_the_end_mark_is_learned_only_where_the_mask_keeps_it(pi):
    """Dropped from the mask (as where pad = EOS and padding is masked by its id), stopping has no gradient at all."""
    chosen, rewards = answers_of_groups(P=6)
    A, logprobs = group_advantages(rewards), token_logprobs(pi)[chosen]
    kept, dropped = MASK[chosen], MASK[chosen] & (TOKENS[chosen] != END)
    full, without = (gradient(grpo_loss(logprobs, logprobs.detach(), A, mask), pi) for mask in (kept, dropped))
    after = {i: torch.zeros(V, dtype=torch.float64) for i in PREFIXES.values()}
    for row, a in zip(chosen.flatten().tolist(), A.flatten()):  # -A (one-hot - pi) at every token but an end mark
        for t, token in enumerate(ANSWERS[row]):
            if token != END:
                place = PREFIXES[ANSWERS[row][:t]]
                after[place] += a * (pi[place].softmax(-1).detach() - torch.eye(V, dtype=torch.float64)[token])
    assert_equal(without, torch.stack([after[i] for i in range(len(PREFIXES))]) / dropped.sum())
    assert not torch.allclose(full * kept.sum(), without * dropped.sum())


def test_what_stands_behind_the_end_does_not_matter(pi):
    """-inf, NaN or any number there: the same loss, the same finite gradient."""
    chosen, rewards = answers_of_groups()
    A, mask, logprobs = group_advantages(rewards), MASK[chosen], token_logprobs(pi)[chosen]
    old, ref = logprobs.detach() + 0.1, logprobs.detach() - 0.2
    clean = grpo_loss(logprobs, old, A, mask, ref, beta=0.1)
    for garbage in (-math.inf, math.nan, 7.0):
        dirty = [x.where(mask, garbage) for x in (logprobs, old, ref)]
        loss = grpo_loss(dirty[0], dirty[1], A, mask, dirty[2], beta=0.1)
        assert_equal(loss, clean)
        assert_equal(gradient(loss, pi), gradient(clean, pi))


def test_nothing_but_pi_gets_a_gradient(pi):
    """Old policy, reference and advantages are constants, even when they are given with a graph."""
    chosen, rewards = answers_of_groups()
    logprobs = token_logprobs(pi)[chosen]
    leaves = [logprobs.detach().clone().requires_grad_() for _ in range(2)] + [
        group_advantages(rewards).requires_grad_()
    ]
    grpo_loss(logprobs, leaves[0], leaves[2], MASK[chosen], leaves[1], beta=0.1).backward()
    policy_gradient_loss(logprobs.detach().sum(-1).requires_grad_(), leaves[2]).backward()
    assert [leaf.grad for leaf in leaves] == [None] * 3 and pi.grad is not None


# Which answers count how much.


def test_tokens_of_a_long_answer_count_less_where_each_answer_is_averaged_first():
    """An answer of 1 token and one of 3: each token's weight is 1/4 (DAPO), or 1/2 and 1/6 (GRPO's eq. 3)."""
    logprobs = torch.zeros(1, 2, 3, requires_grad=True)
    mask, A = torch.tensor([[[True, False, False], [True, True, True]]]), torch.tensor([[1.0, 1.0]])
    by_token = torch.autograd.grad(grpo_loss(logprobs, logprobs, A, mask), logprobs)[0]
    by_answer = torch.autograd.grad(grpo_loss(logprobs, logprobs, A, mask, per_answer=True), logprobs)[0]
    torch.testing.assert_close(-by_token[0], torch.tensor([[1 / 4, 0, 0], [1 / 4, 1 / 4, 1 / 4]]))
    torch.testing.assert_close(-by_answer[0], torch.tensor([[1 / 2, 0, 0], [1 / 6, 1 / 6, 1 / 6]]))


def test_parts_weighted_by_their_tokens_add_up_to_the_whole(pi):
    """mean over all tokens = sum over parts of (tokens of the part / all tokens) x mean of the part."""
    chosen, rewards = answers_of_groups(P=5)
    A, mask, logprobs = group_advantages(rewards), MASK[chosen], token_logprobs(pi)[chosen]
    old = logprobs.detach() + 0.2 * torch.randn(logprobs.shape, generator=torch.Generator().manual_seed(0))
    whole = grpo_loss(logprobs, old, A, mask)
    parts = [grpo_loss(logprobs[i], old[i], A[i], mask[i]) * mask[i].sum() / mask.sum() for i in ([0, 3], [1], [2, 4])]
    assert_equal(sum(parts), whole)


# PPO's corners.


@pytest.mark.parametrize("A", [1.0, -1.0])
@pytest.mark.parametrize("ratio", [0.5, 0.79, 0.9, 1.1, 1.21, 2.0])
def test_the_clip_stops_only_what_goes_too_far_in_the_direction_of_the_advantage(A, ratio):
    """Clip 0.2: the gradient is 0 if and only if (A > 0, ratio > 1.2) or (A < 0, ratio < 0.8); else it is -A ratio.

    With max instead of min for A < 0 its two corners would be exchanged: no way back, and no end to the push.
    """
    logprobs = torch.tensor([[[math.log(ratio)]]], requires_grad=True)
    arguments = torch.zeros(1, 1, 1), torch.tensor([[A]]), torch.ones(1, 1, 1, dtype=torch.bool)
    (got,) = torch.autograd.grad(grpo_loss(logprobs, *arguments), logprobs)
    stopped = (A > 0 and ratio > 1.2) or (A < 0 and ratio < 0.8)
    assert got.item() == pytest.approx(0.0 if stopped else -A * ratio)
    assert clipped_tokens(logprobs, *arguments).item() == stopped


# Advantages of a group.


def test_advantages_of_zeros_and_ones():
    """[1, 1, 0, 0]: std over G - 1 is 0.577, so +-0.866 (over G it would be +-1); Dr. GRPO: +-1/2."""
    rewards = torch.tensor([[1, 1, 0, 0]])
    signs = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    torch.testing.assert_close(group_advantages(rewards), 0.866 * signs, atol=5e-4, rtol=0)
    torch.testing.assert_close(group_advantages(rewards, scale=False), 0.5 * signs)


@pytest.mark.parametrize("G", [2, 4, 8, 64])
def test_no_advantage_is_above_g_minus_1_over_root_g(G):
    """The extreme is one answer against all others, equal ones: |A| = (G - 1) / sqrt(G); for G = 8 that is 2.475."""
    bound = (G - 1) / math.sqrt(G)
    one = torch.zeros(1, G, dtype=torch.float64)
    one[0, 0] = 1e6
    assert group_advantages(one)[0, 0].item() == pytest.approx(bound, rel=1e-6)
    many = torch.randn(2000, G, generator=torch.Generator().manual_seed(0)).exp()
    assert group_advantages(many).abs().max() <= bound
    assert G != 8 or bound == pytest.approx(2.475, abs=5e-4)


def test_a_group_has_its_own_level_and_scale():
    """r -> a r + b with a > 0, another one for each prompt, changes nothing (but for eps); nor does another prompt."""
    rewards = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = torch.rand(6, 1, dtype=torch.float64) * 9 + 1, 100 * torch.randn(6, 1, dtype=torch.float64)
    torch.testing.assert_close(group_advantages(a * rewards + b), group_advantages(rewards), atol=5e-4, rtol=0)
    assert_equal(group_advantages(rewards)[:1], group_advantages(rewards[:1]))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e6 / 3, 1e30])
@pytest.mark.parametrize("G", [2, 3, 7, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equal_rewards_give_exactly_zero(value, G, dtype):
    """Rounding in the mean of equal large numbers would leave a rest, and a std as small: up to 1e6 after division."""
    rewards = torch.full((2, G), value, dtype=dtype)
    for found in (group_advantages(rewards), group_advantages(rewards, scale=False), leave_one_out_advantages(rewards)):
        assert torch.equal(found, torch.zeros_like(found))


def test_a_difference_in_the_last_digits_is_no_signal():
    """G = 2: +-0.7071 whatever the gap, until eps takes over: 0.697, 0.293, 0.005 at gaps of 1e-2, 1e-4, 1e-6."""
    gaps = torch.tensor([[0.0, gap] for gap in (10.0, 1e-2, 1e-4, 1e-6)])
    expected = torch.tensor([0.7071, 0.697, 0.293, 0.005])
    torch.testing.assert_close(group_advantages(gaps)[:, 1], expected, atol=6e-4, rtol=0)


@pytest.mark.parametrize(("p", "G", "chance"), [(0.18, 2, 0.705), (0.18, 8, 0.204), (0.02, 8, 0.851)])
def test_how_often_a_group_says_nothing(p, G, chance):
    """Rewards of 0 or 1: all advantages are 0 with probability p^G + (1 - p)^G, by going through all 2^G groups."""
    groups = torch.tensor(list(itertools.product([0.0, 1.0], repeat=G)))
    probability = (p ** groups.sum(1)) * (1 - p) ** (G - groups.sum(1))
    dead = (group_advantages(groups) == 0).all(dim=1)
    assert probability[dead].sum().item() == pytest.approx(p**G + (1 - p) ** G) == pytest.approx(chance, abs=5e-4)


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        (torch.tensor([[1.0], [2.0]]), "G at least 2"),
        (torch.tensor([1.0, 2.0]), "must be"),
        (torch.zeros(0, 4), "must be"),
        (torch.tensor([[1.0, 2.0], [1.0, math.nan]]), "prompt 1, answer 1 is nan"),
        (torch.tensor([[math.inf, 2.0]]), "prompt 0, answer 0 is inf"),
    ],
)
@pytest.mark.parametrize("function", [group_advantages, leave_one_out_advantages])
def test_rewards_that_give_no_advantage_are_refused(function, rewards, said):
    """One answer has no others; one NaN would become the whole group's."""
    with pytest.raises(ValueError, match=said):
        function(rewards)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"advantages": torch.zeros(2, 3, 4)}, "one each answer"),
        ({"old_logprobs": torch.zeros(2, 3, 1)}, r"old_logprobs \(2, 3, 1\)"),
        ({"mask": torch.ones(2, 3, 4)}, "must be torch.bool"),
        ({"mask": torch.zeros(2, 3, 4, dtype=torch.bool)}, "False everywhere"),
        ({"beta": 0.1}, "ref_logprobs"),
        ({"beta": -0.1}, "beta=-0.1"),
        ({"clip": -1.0}, "clip=-1.0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, said):
    """Broadcasting would give a plausible wrong number."""
    fine = {"logprobs": torch.zeros(2, 3, 4), "old_logprobs": torch.zeros(2, 3, 4), "advantages": torch.zeros(2, 3),
            "mask": torch.ones(2, 3, 4, dtype=torch.bool)}  # fmt: skip
    assert grpo_loss(**fine) == 0
    with pytest.raises(ValueError, match=said):
        grpo_loss(**fine | change)


# Estimators of the KL divergence.


def log_ratios(pi, ref):
    """log pi - log ref of the tokens of all answers, (N, L)."""
    return token_logprobs(pi) - token_logprobs(ref)


def kl(p, q):
    """KL(p || q) of whole answers, summed over all of them."""
    log_p, log_q = token_logprobs(p).sum(-1), token_logprobs(q).sum(-1)
    return (log_p.exp() * (log_p - log_q)).sum()


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_have_no_bias(pi, ref, estimator):
    """E_pi[k(log ratio of the answer)] = KL, and so has the sum over its tokens: each is a KL of its own."""
    probability = token_logprobs(pi).sum(-1).exp()
    u = log_ratios(pi, ref)
    exact = kl(pi, ref)
    assert_equal((probability * estimator(u.sum(-1))).sum(), exact)
    assert_equal((probability * (estimator(u) * MASK).sum(-1)).sum(), exact)
    assert exact > 0.5


def test_k1_may_be_negative_and_k3_is_not(pi, ref):
    """x - 1 >= log x."""
    u = log_ratios(pi, ref).sum(-1)
    assert k1(u).min() < -0.5 and k3(u).min() >= 0 and k2(u).min() >= 0
    assert k3(torch.tensor(1e-4)).item() == pytest.approx(0.5e-8, rel=1e-3)  # e^x - 1 in float32 would give 0 or 2e-8


def test_k3_the_other_way_round_is_chi_square_less_kl(pi, ref):
    """E_pi[pi/ref - 1 - log(pi/ref)] = chi^2(pi || ref) - KL(pi || ref): as a KL far too large."""
    log_pi, log_ref = token_logprobs(pi).sum(-1), token_logprobs(ref).sum(-1)
    upside_down = (log_pi.exp() * k3(log_ref - log_pi)).sum()
    chi_square = ((log_pi.exp() - log_ref.exp()) ** 2 / log_ref.exp()).sum()
    assert_equal(upside_down, chi_square - kl(pi, ref))
    assert upside_down > 1.5 * kl(pi, ref)


@pytest.mark.parametrize(
    ("shift", "spreads", "bias"), [(0.1, (20.0, 1.418, 1.417), 0.0025), (1.0, (2.0, 1.73, 1.695), 0.25)]
)
def test_spread_and_bias_of_the_estimators_under_a_shift(shift, spreads, bias):
    """pi = N(shift, 1), ref = N(0, 1), by integration: std / KL of k1, k2, k3, and how much k2 is too large."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64) + shift
    density = torch.exp(-0.5 * (x - shift) ** 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    log_ratio = shift * x - shift**2 / 2
    exact = shift**2 / 2
    for estimator, spread in zip((k1, k2, k3), spreads):
        value = estimator(log_ratio)
        mean = (density * value).sum()
        std = (density * (value - mean) ** 2).sum().sqrt()
        assert (std / exact).item() == pytest.approx(spread, rel=2e-3)
        assert mean.item() / exact - 1 == pytest.approx(bias if estimator is k2 else 0.0, abs=1e-4)


def as_a_loss(estimator, pi, ref):
    """The expected gradient of an estimator whose samples stay as they are: E_pi[grad k(log pi - log ref)]."""
    log_pi = token_logprobs(pi).sum(-1)
    return gradient((log_pi.exp().detach() * estimator(log_pi - token_logprobs(ref).sum(-1))).sum(), pi)


def test_k1_as_a_loss_has_no_gradient(pi, ref):
    """E[grad log pi] = 0: it pulls nowhere, whatever its weight, and only adds noise."""
    assert as_a_loss(k1, pi, ref).abs().max() < 1e-12 and gradient(kl(pi, ref), pi).abs().max() > 0.1


def test_k2_as_a_loss_pulls_as_the_kl_to_the_reference_does(pi, ref):
    """E[log(pi/ref) grad log pi] = grad KL(pi || ref), though its value is no KL."""
    assert_equal(as_a_loss(k2, pi, ref), gradient(kl(pi, ref), pi))


def test_k3_as_a_loss_pulls_as_the_kl_from_the_reference_does(pi, ref):
    """E[(1 - ref/pi) grad log pi] = -sum ref grad log pi = grad KL(ref || pi): the other direction, on-policy."""
    assert_equal(as_a_loss(k3, pi, ref), gradient(kl(ref, pi), pi))
    assert not torch.allclose(as_a_loss(k3, pi, ref), gradient(kl(pi, ref), pi), atol=0.05)


def test_k3_times_the_ratio_as_a_loss_pulls_as_the_kl_to_the_reference_does(pi, ref):
    """E_old[pi/old k3] = KL(pi || ref) whatever pi is, so its gradient is right too (TRL: use_bias_correction_kl)."""
    log_old = token_logprobs(pi).sum(-1).detach()
    corrected = as_a_loss(lambda u: (u + token_logprobs(ref).sum(-1) - log_old).exp() * k3(u), pi, ref)
    assert_equal(corrected, gradient(kl(pi, ref), pi))


def test_k3_the_other_way_round_as_a_loss_pulls_as_half_a_chi_square(pi, ref):
    """E[(pi/ref - 1) grad log pi] = grad chi^2(pi || ref) / 2: rare tokens of the reference pull without bound."""
    log_pi, log_ref = token_logprobs(pi).sum(-1), token_logprobs(ref).sum(-1)
    chi_square = (2 * log_pi - log_ref).exp().sum() - 1
    assert_equal(as_a_loss(lambda u: k3(-u), pi, ref), gradient(chi_square, pi) / 2)


def test_k1_in_the_reward_pulls_as_the_kl_to_the_reference_does(pi, ref):
    """REINFORCE with r = -beta k1, summed over the answer: -beta grad KL(pi || ref), the same as k2 as a loss."""
    logprobs = token_logprobs(pi)
    penalty = rewards_less_kl(
        torch.zeros(len(ANSWERS), 1), logprobs[:, None], token_logprobs(ref)[:, None], MASK[:, None], 0.3
    )
    log_pi = logprobs.sum(-1)
    push = gradient((log_pi.exp().detach() * penalty[:, 0] * log_pi).sum(), pi)
    assert_equal(push, -0.3 * gradient(kl(pi, ref), pi))
    assert not penalty.requires_grad


def test_the_kl_term_of_the_loss_is_k3_of_every_token(pi, ref):
    """With advantages of 0 the loss is beta times the mean of k3 over the tokens; 0 and without pull at pi = ref."""
    chosen, _ = answers_of_groups()
    nothing, mask, logprobs = torch.zeros(3, 4), MASK[chosen], token_logprobs(pi)[chosen]
    theirs = token_logprobs(ref)[chosen]
    loss = grpo_loss(logprobs, logprobs, nothing, mask, theirs, beta=0.2)
    assert_equal(loss, 0.2 * k3(logprobs - theirs)[mask].mean())
    assert gradient(grpo_loss(logprobs, logprobs, nothing, mask, logprobs.detach(), beta=0.2), pi).abs().max() < 1e-12


def test_the_kl_in_the_reward_is_added_up_over_tokens():
    """Twice as long an answer with the same log-ratio a token costs twice as much; what is behind the end, nothing."""
    mask = torch.tensor([[[True, True, False, False], [True, True, True, True]]])
    logprobs, ref = torch.full((1, 2, 4), -1.0), torch.full((1, 2, 4), -1.5).where(mask, -math.inf)
    rewards = rewards_less_kl(torch.tensor([[5.0, 5.0]]), logprobs, ref, mask, beta=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[5 - 0.1 * 1.0, 5 - 0.1 * 2.0]]))


# Beside TRL (optional: needs trl and datasets).


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
@pytest.mark.parametrize("beta", [0.0, 0.05])
@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_our_loss_and_gradient_are_trls(tmp_path, loss_type, beta, drift):
    """TRL's GRPOTrainer on the same token ids, padded: mean over tokens (dapo) or over each answer first (grpo).

    With a drift the old log-probabilities are others than pi's, so that ratios leave 1 and some are clipped.
    """
    pytest.importorskip("trl")
    policy = Policy(*tiny_sft("llama"))  # GPT-2 counts positions from the padding, where TRL pads on the left
    samples = sample(policy.lm, policy.tokenizer, ["Why is the sky blue?", "Who sat?"], 3, 6, seed=4)
    samples.lengths = torch.tensor([[6, 2, 4], [3, 6, 5]])  # as if some had ended sooner
    moved(policy)
    rewards = torch.tensor([[0.3, 1.0, -2.0], [5.0, 5.5, 5.2]])
    batch = policy.batch(samples.encoded)
    mask = samples.mask[..., : samples.lengths.max()]
    old = samples.logprobs[..., : mask.shape[-1]] if drift else policy.token_logprobs(batch).detach()
    ref = policy.reference_token_logprobs(batch)
    loss = grpo_loss(
        policy.token_logprobs(batch), old, group_advantages(rewards), mask, ref, beta, per_answer=loss_type == "grpo"
    )
    learning = [p for p in policy.parameters() if p.requires_grad]
    ours = torch.autograd.grad(loss, learning)
    theirs = trl_loss(policy, samples, rewards, old, ref, beta, loss_type, str(tmp_path))
    assert loss.item() == pytest.approx(theirs.item(), abs=2e-6)
    for a, b in zip(ours, torch.autograd.grad(theirs, learning)):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)
    assert not drift or clipped_tokens(policy.token_logprobs(batch), old, group_advantages(rewards), mask).any()


def trl_loss(policy, samples, rewards, old, ref, beta, loss_type, folder):
    """What TRL computes from prompts padded on the left and answers padded on the right."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    settings = GRPOConfig(folder, loss_type=loss_type, beta=0.0, num_generations=3, per_device_train_batch_size=6,
                          use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False, use_bias_correction_kl=False)  # fmt: skip
    text = Dataset.from_list([{"prompt": "a"}] * 2)
    trainer = GRPOTrainer(policy.lm, lambda **_: [0.0], settings, text, processing_class=policy.tokenizer)
    prompts = [row for row in samples.prompt_ids for _ in range(3)]
    pad = policy.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    L = old.shape[-1]
    advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    inputs = {
        "prompt_ids": pad["input_ids"], "prompt_mask": pad["attention_mask"],
        "completion_ids": samples.ids[..., :L].reshape(-1, L), "completion_mask": samples.mask[..., :L].reshape(-1, L).int(),
        "advantages": advantages.flatten(), "num_items_in_batch": samples.lengths.sum(),
        "old_per_token_logps": old.reshape(-1, L), "ref_per_token_logps": ref.reshape(-1, L),
    }  # fmt: skip
    trainer.beta = beta  # not in the settings: it would look for a reference on the Hub, and here its numbers are given
    trainer.model.eval()
    return trainer.compute_loss(trainer.model, inputs)
