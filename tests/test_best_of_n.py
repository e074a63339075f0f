"""Best of n on a pool, its KL and the optimum under a KL penalty: each against an independent route."""

import itertools
from math import comb, e, exp, log, sqrt

import pytest
import torch

from rmtutorial.best_of_n import (
    best_of_n,
    best_of_n_weights,
    gains,
    mean_with_interval,
    one_score_per_text,
    text_labels,
    within_prompt_spread,
)
from rmtutorial.intervals import grouped_interval
from rmtutorial.kl_frontier import (
    atoms_kl,
    best_of_n_frontier,
    best_of_n_kl,
    effective_sample_size,
    kl_bound,
    log_partition,
    n_of_kl_bound,
    pool_kl,
    tilted_frontier,
    tilted_weights,
)

BETAS = (0.2, 0.7, 1.0, 3.0)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def pool():
    """proxy and gold (6, 40), correlated, with offsets and scales that differ from prompt to prompt."""
    proxy = normal(6, 40)
    return 3 * normal(6, 1, seed=1) + proxy, normal(6, 1, seed=2) + proxy + normal(6, 40, seed=3)


def mean_over_subsets(proxy, gold, n):
    """Gold of the best by proxy, averaged over all subsets of size n; ties share."""
    subsets = torch.tensor(list(itertools.combinations(range(len(proxy)), n)))
    p, g = proxy[subsets], gold[subsets]
    best = (p == p.max(dim=1, keepdim=True).values).double()
    return ((best * g).sum(1) / best.sum(1)).mean()


@pytest.mark.parametrize(
    "scores", [[0.3, -1.0, 2.5, 0.9, 4.0, -3.0, 1.1], [1.0, 2.0, 2.0, 0.0, 2.0, 1.0, 5.0], [0.0] * 7]
)
@pytest.mark.parametrize("n", range(1, 8))
def test_the_weights_give_the_mean_over_all_subsets(scores, n):
    """E[gold of the best of n] over the C(7, n) subsets, ties shared within each: w @ gold, and w sums to 1."""
    proxy, gold = torch.tensor(scores), normal(7)
    weights = best_of_n_weights(proxy, n)
    assert weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(weights @ gold, mean_over_subsets(proxy, gold, n))


@pytest.mark.parametrize("n", [1, 3, 100, 256, 511, 512])
def test_the_weights_are_the_ratio_of_binomials_where_these_overflow(n):
    """w_i = C(i-1, n-1) / C(512, n), with Python's integers; C(512, 256) has 153 digits."""
    weights = best_of_n_weights(torch.arange(512), n)
    expected = torch.tensor([comb(i - 1, n - 1) / comb(512, n) for i in range(1, 513)], dtype=torch.float64)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-14)
    assert weights[0] >= 0 and weights.sum().item() == pytest.approx(1)


def test_weights_belong_to_the_samples_whatever_their_order():
    """A permutation of the samples permutes the weights; equal scores have equal weights; one row is as one prompt."""
    scores, order = torch.tensor([[2.0, 0.5, 2.0, -1.0, 3.0]]), torch.tensor([3, 0, 4, 1, 2])
    weights = best_of_n_weights(scores, 3)
    torch.testing.assert_close(best_of_n_weights(scores[:, order], 3), weights[:, order])
    torch.testing.assert_close(best_of_n_weights(scores[0], 3), weights[0])
    assert weights[0, 0] == weights[0, 2]


def test_the_expected_maximum_of_normal_scores_is_found_and_resampling_is_below_it():
    """E[max of 64] = 2.344; 64 draws with replacement out of 64 see only 63 % of them: 2.17."""
    scores = normal(4000, 64)
    unbiased = best_of_n(scores, scores, [4, 16, 64]).mean(dim=0)
    torch.testing.assert_close(unbiased, torch.tensor([1.0294, 1.7660, 2.3437]).double(), atol=0.03, rtol=0)
    picks = torch.randint(64, (4000, 64), generator=torch.Generator().manual_seed(0))
    assert scores.gather(1, picks).max(dim=1).values.mean().item() == pytest.approx(2.169, abs=0.03)


def test_the_estimate_is_unbiased_for_every_n_and_agrees_with_plain_sampling(pool):
    """Random subsets of 5 of the 40, many times: the mean of gold at the proxy's choice, within 4 standard errors."""
    proxy, gold = pool
    subsets = torch.rand(20_000, 40, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :5]
    picks = subsets.gather(1, proxy[0][subsets].argmax(dim=1, keepdim=True))
    drawn = gold[0][picks[:, 0]]
    assert best_of_n(proxy, gold, [5])[0, 0].item() == pytest.approx(
        drawn.mean().item(), abs=4 * drawn.std().item() / 141
    )


def test_the_ends_are_the_mean_of_the_pool_and_the_gold_of_its_best(pool):
    """n = 1: any sample; n = N: the best by proxy, not the best by gold."""
    proxy, gold = pool
    found = best_of_n(proxy, gold, [1, 40])
    torch.testing.assert_close(found[:, 0], gold.mean(dim=1))
    torch.testing.assert_close(found[:, 1], gold.gather(1, proxy.argmax(dim=1, keepdim=True))[:, 0])


def test_a_gain_does_not_see_offsets_and_units(pool):
    """Another offset for each prompt in proxy and gold, another unit of gold: the same gains; 0 at n = 1."""
    proxy, gold = pool
    found = gains(proxy, gold, [1, 4, 16])
    torch.testing.assert_close(gains(proxy + 9 * normal(6, 1), 5 * (gold + normal(6, 1)), [1, 4, 16]), found)
    torch.testing.assert_close(found[:, 0], torch.zeros(6).double())
    expected = (best_of_n(proxy, gold, [16])[:, 0] - gold.mean(1)) / gold.var(dim=1).mean().sqrt()
    torch.testing.assert_close(found[:, 2], expected)


def test_the_spread_is_of_within_a_prompt():
    """Two prompts, variances 1 and 4 within, 100 apart: the root of 2.5."""
    scores = torch.tensor([[0.0, 1.0, 2.0], [100.0, 102.0, 104.0]])
    assert within_prompt_spread(scores) == pytest.approx(sqrt(2.5))


def test_means_and_intervals_are_those_of_a_bootstrap_over_prompts(pool):
    """Column by column the same ends as `grouped_interval` with a prompt as the unit."""
    found = gains(*pool, [2, 8, 40])
    mean, low, high = mean_with_interval(found)
    for k in range(3):
        assert grouped_interval(found[:, k], range(6)) == pytest.approx((low[k].item(), high[k].item()))
    torch.testing.assert_close(mean, found.mean(dim=0))


@pytest.mark.parametrize("wrong, message", [
    (lambda: best_of_n_weights(torch.zeros(8), 9), "n=9: the pool has 8 samples a prompt"),
    (lambda: best_of_n_weights(torch.zeros(8), 0), "n=0: the pool has 8"),
    (lambda: best_of_n_weights(torch.tensor([0.0, float("nan"), 1.0]), 2), r"the score at \[1\] is nan; 1 are"),
    (lambda: best_of_n(torch.zeros(2, 3), torch.zeros(3, 2), [1]), r"proxy \(2, 3\), gold \(3, 2\)"),
    (lambda: gains(torch.rand(2, 3), torch.tensor([[1.0], [2.0]]).expand(2, 3), [1]), "one score: no spread"),
    (lambda: within_prompt_spread(torch.rand(4, 1)), "one score: no spread"),
    (lambda: tilted_weights(torch.zeros(1, 2), 0), "beta=0: must be above 0"),
    (lambda: tilted_weights(torch.tensor([[0.0, float("inf")]]), 1), r"the score at \[0, 1\] is inf"),
    (lambda: best_of_n_kl(torch.zeros(1, 4), torch.zeros(1, 4).long(), [5]), r"ns=\[5\]: with 4 samples"),
    (lambda: n_of_kl_bound(-0.1), "a KL is not negative"),
    (lambda: text_labels([["a", "b"], ["a"]]), r"\[1, 2\] samples a prompt"),
])  # fmt: skip
def test_what_cannot_be_answered_is_refused_with_its_value(wrong, message):
    """The message names the number, and where it stands."""
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize("n, nats", [(1, 0.0), (2, 0.1931), (3, 0.4319), (32, 2.497), (128, 3.860), (512, 5.240)])
def test_the_bound_is_the_kl_of_a_score_without_atoms(n, nats):
    """KL of the density n u^(n-1) on 0..1 from the uniform one, by the midpoint rule; and its inverse gives n back."""
    u = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    density = n * u ** (n - 1)
    assert kl_bound(n) == pytest.approx(nats, abs=1e-3)
    assert torch.special.xlogy(density, density).mean().item() == pytest.approx(kl_bound(n), abs=1e-6)
    assert n_of_kl_bound(kl_bound(n)) == pytest.approx(n, rel=1e-6)


@pytest.mark.parametrize("K, n, nats", [(2, 4, 0.4594), (10, 16, 1.7331), (10, 64, 2.2935), (1, 7, 0.0)])
def test_the_kl_on_equal_atoms(K, n, nats):
    """K texts, each with probability 1 / K: below the bound, and never above log K."""
    found = atoms_kl(torch.full((K,), 1 / K), n)
    assert found == pytest.approx(nats, abs=1e-4) and found <= min(kl_bound(n), log(K) + 1e-9)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_kl_of_repeated_texts_agrees_with_all_sequences_of_draws(n):
    """4 texts, two of them of one score: all 4^n sequences, the best taken, ties at random; then sum q log(q / p)."""
    p, score = [0.4, 0.1, 0.3, 0.2], [2.0, -1.0, 0.0, 2.0]
    q = [0.0] * 4
    for draws in itertools.product(range(4), repeat=n):
        best = [i for i in draws if score[i] == max(score[j] for j in draws)]
        for i in best:
            q[i] += torch.tensor(p)[list(draws)].double().prod().item() / len(best)
    direct = sum(b * log(b / a) for a, b in zip(p, q))
    samples = [0] * 4 + [1] + [2] * 3 + [3] * 2  # the same shares in a pool of 10
    proxy = torch.tensor([[score[i] for i in samples]])
    assert best_of_n_kl(proxy, torch.tensor([samples]), [n]).item() == pytest.approx(direct, abs=1e-6)


def test_a_pool_without_repeats_is_a_little_below_the_bound_and_never_above_log_n():
    """N = n = 64: 3.134 nats where the bound is 3.175 and log N 4.159; at n = 16 the difference is gone."""
    kl = best_of_n_kl(normal(1, 64), torch.arange(64)[None], [16, 64])[0]
    assert kl[0].item() == pytest.approx(kl_bound(16), abs=0.005)
    assert kl[1].item() == pytest.approx(3.134, abs=1e-3) and kl_bound(64) - kl[1] < 0.05


def test_the_kl_of_a_pool_lies_below_that_of_the_model_it_was_drawn_from():
    """300 texts with probabilities 1, 1/2, 1/3, ...: over 40 pools of 64, on average a little low, and not far."""
    p = 1 / torch.arange(1.0, 301, dtype=torch.float64)
    p = (p / p.sum())[torch.randperm(300, generator=torch.Generator().manual_seed(1))]  # text k has the score k
    labels = torch.multinomial(p.expand(40, 300), 64, True, generator=torch.Generator().manual_seed(0))
    for n in (4, 16, 64):
        true, found = atoms_kl(p, n), best_of_n_kl(labels.double(), labels, [n]).mean().item()
        assert true - 0.15 < found < true + 0.02 < kl_bound(n) + 0.02


def test_equal_texts_get_one_score_and_a_judge_that_gives_two_is_refused():
    """The last bits are averaged away, so that ties are ties; a text at 0 and at 1 is no matter of the last bits."""
    labels = text_labels([["a", "b", "a", "c"], ["b", "b", "b", "a"]])
    assert labels.tolist() == [[0, 1, 0, 2], [0, 0, 0, 1]]
    scores = torch.tensor([[1.0, 2.0, 1.0 + 1e-6, 5.0], [0.0, 0.0, 0.0, 1.0]])
    found = one_score_per_text(scores, labels)
    assert found[0, 0] == found[0, 2] == pytest.approx(1 + 5e-7, abs=1e-7)
    assert len(best_of_n_weights(found[0], 2).unique()) == 3
    torch.testing.assert_close(best_of_n_kl(scores, labels, [3]), best_of_n_kl(found, labels, [3]))
    with pytest.raises(ValueError, match=r"prompt 0, sample \d: scored .* once, in eval mode"):
        one_score_per_text(torch.tensor([[0.0, 2.0, 1.0, 5.0], [0.0, 0.0, 0.0, 1.0]]), labels)


@pytest.mark.parametrize("beta", BETAS)
def test_the_tilted_policy_is_the_maximum_and_the_maximum_is_beta_log_z(pool, beta):
    """J(w) = E_w[r] - beta KL(w) = beta log Z - beta KL(w, w*): equal at w*, below it for any other policy."""
    proxy, _ = pool
    best, top = tilted_weights(proxy, beta), beta * log_partition(proxy, beta)
    value = lambda w: (w * proxy).sum(1) - beta * pool_kl(w)  # noqa: E731
    torch.testing.assert_close(value(best), top)
    others = [normal(6, 40, seed=s).softmax(dim=1) for s in range(5)]
    for w in (*others, tilted_weights(proxy, 1.3 * beta), best_of_n_weights(proxy, 8)):
        apart = torch.special.xlogy(w, w / best).sum(1)
        torch.testing.assert_close(value(w), top - beta * apart)


@pytest.mark.parametrize("beta", BETAS)
def test_the_expected_score_grows_with_one_over_beta_at_the_rate_of_its_variance(pool, beta):
    """d E[r] / d(1 / beta) = Var(r) under pi*, by a central difference; log Z has E[r] as its slope."""
    proxy, _ = pool
    mean = lambda t: (tilted_weights(proxy, 1 / t) * proxy).sum(1)  # noqa: E731
    t, h = 1 / beta, 1e-5
    variance = (tilted_weights(proxy, beta) * (proxy - mean(t)[:, None]) ** 2).sum(1)
    torch.testing.assert_close((mean(t + h) - mean(t - h)) / (2 * h), variance, rtol=1e-6, atol=1e-8)
    slope = (log_partition(proxy, 1 / (t + h)) - log_partition(proxy, 1 / (t - h))) / (2 * h)
    torch.testing.assert_close(slope, mean(t), rtol=1e-6, atol=1e-8)


def test_an_offset_per_prompt_changes_neither_weights_nor_kl(pool):
    """exp(c / beta) cancels against Z; large scores do not overflow."""
    proxy, _ = pool
    for shift in (7 * normal(6, 1), torch.full((6, 1), 1e5)):
        torch.testing.assert_close(tilted_weights(proxy + shift, 0.5), tilted_weights(proxy, 0.5), rtol=1e-6, atol=0)
        torch.testing.assert_close(best_of_n_weights(proxy + shift, 8), best_of_n_weights(proxy, 8))


def test_normal_scores_have_mean_one_over_beta_and_kl_half_its_square():
    """r ~ N(0, 1): pi* is N(1 / beta, 1), KL 1 / (2 beta^2), effective share exp(-1 / beta^2); a large pool comes near."""
    scores = normal(1, 200_000)
    for beta in (1.0, 2.0):
        w = tilted_weights(scores, beta)
        assert (w * scores).sum().item() == pytest.approx(1 / beta, abs=0.02)
        assert pool_kl(w).item() == pytest.approx(0.5 / beta**2, abs=0.01)
        assert effective_sample_size(w).item() / 200_000 == pytest.approx(exp(-1 / beta**2), rel=0.05)


def test_kl_and_effective_sample_size_at_their_ends():
    """Uniform: 0 nats, N samples; all on one: log N nats, one sample."""
    uniform, one = torch.full((5,), 0.2, dtype=torch.float64), torch.eye(5).double()[0]
    assert pool_kl(uniform).item() == pytest.approx(0, abs=1e-12) and effective_sample_size(
        uniform
    ).item() == pytest.approx(5)
    assert pool_kl(one).item() == pytest.approx(log(5)) and effective_sample_size(one).item() == 1


def test_best_of_n_is_never_above_the_frontier(pool):
    """At the KL of best of n, prompt by prompt, pi* expects at least as much proxy: the optimum of E[r] given the KL."""
    proxy, gold = pool
    curve = tilted_frontier(proxy, gold, [10 * e ** (-k / 50) for k in range(400)])
    points = best_of_n_frontier(proxy, gold, [2, 4, 8, 16, 32])
    for p in range(6):
        for kl, gain in zip(points["kl"][p], points["proxy"][p]):
            assert curve["proxy"][p][curve["kl"][p] >= kl - 1e-9].min() >= gain - 1e-9
    torch.testing.assert_close(points["gold"], gains(proxy, gold, [2, 4, 8, 16, 32]))


def test_the_weights_on_the_pool_are_further_away_than_best_of_n_itself_only_for_large_n():
    """Drawing without replacement uses the pool up: .06 nats at n = N / 8, one nat at n = N."""
    kl = best_of_n_frontier(normal(1, 512), normal(1, 512, seed=1), [64, 512])["kl"][0].tolist()
    assert kl[0] - kl_bound(64) == pytest.approx(0.064, abs=0.002)
    assert kl[1] == pytest.approx(log(512)) and kl[1] - kl_bound(512) == pytest.approx(1, abs=0.01)
