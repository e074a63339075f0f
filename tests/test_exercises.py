"""Exercises: right answers come back, stubs give the reference, and each plausible mistake is named."""

import ast
import inspect
import itertools
import math
import random
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
import torch.nn.functional as F

import answers_00
import answers_01
import answers_02
import answers_04
import answers_06
from conftest import tiny_sft
from rmtutorial.best_of_n import best_of_n, within_prompt_spread
from rmtutorial.kl_frontier import atoms_kl
from rmtutorial.lesson.exercises import Wrong, all_exercises, check, hint, log_clinic, solution, training_loop
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.sampling import sample

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
EXERCISES = all_exercises()
solutions = SimpleNamespace(**{e.reference.__name__: e.reference for e in EXERCISES.values()})


def half_of_the_gradient(c, r):
    return F.softplus(r.detach() - c).mean()


def nan_in_the_other_branch(c, r):
    return torch.where(c - r < -50, r - c, -torch.log(torch.sigmoid(c - r))).mean()


def sign_and_order(c, r):
    return F.logsigmoid(r - c).mean()


def subtracting_in_place(c, r):
    with torch.no_grad():
        c -= r
    return -F.logsigmoid(c).mean()


def asking_autograd(c, r):
    with torch.enable_grad():
        c = c.clone().requires_grad_()
        return torch.autograd.grad(F.softplus(r - c).mean(), c)[0]


def asking_backward(c, r):
    c = c.clone().requires_grad_()
    F.softplus(r - c).mean().backward()
    return c.grad


def asking_torch_func(c, r):
    return torch.func.grad(lambda c: F.softplus(r - c).mean())(c)


def overflowing_gradient(c, r):
    return -torch.exp(r - c) / (1 + torch.exp(r - c)) / len(c)


def coin_for_a_tie(c, r):
    return ((c > r) | ((c == r) & (torch.rand(len(c)) < 0.5))).float().mean()


def one_coin_for_all_ties(c, r):
    return ((c - r + 1e-9 * random.choice((-1, 1))) > 0).float().mean()


def tolerant(tolerance):
    return lambda c, r: ((c - r > tolerance) + 0.5 * ((c - r).abs() <= tolerance)).mean().item()


def best_of(weights):
    """Exercise 5.1 with weights (N,) of the samples in ascending order of proxy: (N, n) -> weights."""

    def expected(proxy, gold, n):
        return (weights(len(proxy), n) * gold[proxy.argsort(stable=True)]).sum()

    return expected


def binomial(N, n):
    return torch.tensor([math.comb(i - 1, n - 1) / math.comb(N, n) for i in range(1, N + 1)])


def with_replacement(N, n):
    i = torch.arange(1, N + 1)
    return (i / N) ** n - ((i - 1) / N) ** n


def integer_counts(N, n):
    return torch.tensor([math.comb(i - 1, n - 1) for i in range(1, N + 1)]) / math.comb(N, n)


def ties_to_the_first(proxy, gold, n):
    order = proxy.flip(0).argsort(stable=True)
    return (binomial(len(proxy), n) * gold.flip(0)[order]).sum()


def weight_of_the_lowest_place(proxy, gold, n):
    weights, lower = binomial(len(proxy), n), (proxy < proxy[:, None]).sum(1)
    return (weights[lower] * gold).sum()


def listing_the_subsets(proxy, gold, n):
    found = []
    for subset in itertools.combinations(range(len(proxy)), n):
        p, g = proxy[list(subset)], gold[list(subset)]
        found.append(g[p == p.max()].mean())
    return torch.stack(found).mean()


def listing_with_ties_to_the_first(proxy, gold, n):
    draws = torch.tensor(list(itertools.combinations(range(len(proxy)), n)))
    return gold[draws.gather(1, proxy[draws].argmax(1, keepdim=True))].mean()


def sharing_at_the_maximum_only(proxy, gold, n):
    top, order = proxy == proxy.max(), proxy.argsort(stable=True)
    weights, shared = binomial(len(proxy), n), gold.float().where(~top, gold[top].mean())
    return (weights * shared[order]).sum()


def mean_of_both_orders(proxy, gold, n):
    return (ties_to_the_first(proxy, gold, n) + best_of(binomial)(proxy, gold, n)) / 2


def drawing_subsets(proxy, gold, n):
    draws = torch.rand(200, len(proxy)).argsort(1)[:, :n]
    return gold[draws.gather(1, proxy[draws].argmax(1, keepdim=True))].mean()


def stably(proxy, gold, n):
    """By the falling ratio F(k - 1) = F(k) (k - n) / k, and equal scores averaged."""
    F, k = [1.0], len(proxy)
    while k:
        F.insert(0, F[0] * max(0, k - n) / k)
        k -= 1
    total = 0.0
    for score in proxy.unique():
        lower, upto = int((proxy < score).sum()), int((proxy <= score).sum())
        total += (F[upto] - F[lower]) * gold[proxy == score].mean()
    return total


def picks(p, n):
    F = p.cumsum(0)
    return F**n - (F - p) ** n


def naive_kl(p, n):
    return (picks(p, n) * (picks(p, n) / p).log()).sum()


def exponentials(proxy, beta):
    return (proxy / beta).exp()


def normalized(weights):
    return weights / weights.sum(1, keepdim=True)


def loop_with(**fault):
    """The training loop of exercise 3.4 with one thing wrong."""
    return lambda features, batches, rates: training_loop._loop(features, batches, rates, **fault)


WRONG = {
    "3.1": [
        (lambda c, r: -torch.log(torch.sigmoid(c - r)).mean(), r"wrong far out: at a margin of -90"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r).clamp(min=1e-12)).mean(), r"wrong far out.* it gives 27\.63"),
        (lambda c, r: solutions.bt_loss(c, r).item(), "a float has no gradient"),
        (lambda c, r: solutions.bt_loss(c, r).detach().numpy(), "has no gradient"),
        (lambda c, r: solutions.bt_loss(c.detach(), r), "lost its gradient"),
        (lambda c, r: -F.logsigmoid(r - c).mean(), "sign of the margin is flipped"),
        (lambda c, r: F.logsigmoid(c - r).mean(), "a minus is missing"),
        (lambda c, r: -F.logsigmoid(c - r).sum(), "that is the sum"),
        (lambda c, r: -F.logsigmoid(c - r), "one loss for each pair"),
        (half_of_the_gradient, "gradient with respect to r_rejected, so nothing there"),
        (lambda c, r: F.softplus(r - c.detach()).mean(), "gradient with respect to r_chosen, so nothing there"),
        (lambda c, r: F.softplus(r - c).mean().detach(), "gradient with respect to r_chosen and r_rejected"),
        (
            lambda c, r: F.softplus(0.5 * (r - c) + 0.5 * (r - c).detach()).mean(),
            r"respect to r_chosen is .*, not .*",
        ),
        (
            lambda c, r: -F.logsigmoid((c - r).clamp(min=-100)).mean(),
            r"at -200 100\.00, .*a clamp stops the worst pairs",
        ),
        (lambda c, r: F.softplus(r - c).mean().clamp(max=100), r"at -200 100\.00"),
        (lambda c, r: torch.log(1 + torch.exp(r - c)).mean(), r"margin of -90 it gives inf"),
        (lambda c, r: (torch.log1p(torch.exp(c - r)) - (c - r)).mean(), r"at 90 inf"),
        (nan_in_the_other_branch, r"gradient with respect to r_chosen is \[.*nan.*beware of where"),
        (sign_and_order, "two things: the sign of the margin is flipped, and the minus"),
        (lambda c, r: -F.logsigmoid(c - r).sum() / 3, "right for three pairs; for five .* divided by B, or by 3"),
        (lambda c, r: -F.logsigmoid(c - r).mean()[None], r"in a tensor of shape \(1,\)"),
        (lambda c, r: -F.logsigmoid(c[:, None] - r).mean(), "every chosen answer with every rejected one"),
        (lambda c, r: -F.logsigmoid(c[:, None] - r), r"it gave .* of shape \(3, 3\), not 0\.7111"),
        (subtracting_in_place, "changes the tensor that it is given"),
        (lambda c, r: -F.logsigmoid(c - r).mean().double(), "it returns float64 for float32 rewards"),
        (lambda c, r: -F.logsigmoid((c - r).float()).mean(), "it returns float32 for float64 rewards"),
    ],
    "3.2": [
        (lambda c, r: torch.sigmoid(r - c) / len(c), "the sign"),
        (lambda c, r: -torch.sigmoid(r - c), "divided by B"),
        (lambda c, r: -torch.sigmoid(c - r) / len(c), "push must be large where it is wrong"),
        (lambda c, r: solutions.bt_gradient(c, r).tolist(), "a list came back; return a tensor"),
        (lambda c, r: solutions.bt_gradient(c, r).sum(), "one number came back"),
        (lambda c, r: -torch.sigmoid(r - c) / 3, "right for three pairs; for five .* divided by B, or by 3"),
        (asking_autograd, "it asks autograd"),
        (asking_backward, "it asks autograd"),
        (asking_torch_func, "it asks autograd"),
        (lambda c, r: solutions.bt_gradient(c, r).double(), "it returns float64 for float32 rewards"),
        (lambda c, r: solutions.bt_gradient(c, r).float(), "it returns float32 for float64 rewards"),
        (lambda c, r: solutions.bt_gradient(c, r)[:, None], r"in a column of shape \(B, 1\)"),
        (lambda c, r: torch.sigmoid(r - c), "two things: the sign.* divided by B"),
        (lambda c, r: torch.sigmoid(c - r) / len(c), r"two things: the sign.* sigma\(\+margin\)"),
        (lambda c, r: -torch.sigmoid(c - r), r"two things: .* divided by B; and sigma\(\+margin\)"),
        (lambda c, r: torch.sigmoid(c - r), "three things"),
        (
            lambda c, r: torch.stack([-torch.sigmoid(r - c), torch.sigmoid(r - c)]) / len(c),
            "gradients of both rewards",
        ),
        (overflowing_gradient, r"for margins -90, -200, 90, 200 autograd gives .* it gave \[nan"),
        (subtracting_in_place, "changes the tensor that it is given"),
    ],
    "3.3": [
        (lambda c, r: (c > r).float().mean(), "untrained model, all zeros, would measure 0 "),
        (lambda c, r: (c >= r).float().mean(), "would measure 1"),
        (lambda c, r: solutions.accuracy_with_ties(c, r) * len(c), "divide by the number of pairs"),
        (lambda c, r: (c > r).sum() / (c != r).sum(), "ties are left out"),
        (lambda c, r: solutions.accuracy_with_ties(c[:, None], r), "every chosen answer with every rejected one"),
        (lambda c, r: (c[:, None] > r).float().mean(), "every chosen answer with every rejected one"),
        (lambda c, r: (c[:, None] >= r).float().mean(), "every chosen answer with every rejected one"),
        (lambda c, r: solutions.accuracy_with_ties(r, c), "order is reversed"),
        (lambda c, r: (r > c).float().mean(), "order is reversed"),
        (lambda c, r: (r >= c).float().mean(), "order is reversed"),
        (coin_for_a_tie, "ties are broken at random"),
        (one_coin_for_all_ties, "ties are broken at random"),
        (tolerant(0.1), r"margins of 0\.05 count as ties"),
        (tolerant(0.06), r"margins of 0\.05 count as ties"),
        (lambda c, r: (c - r > 0.1).float().mean(), r"margins of 0\.05 count as ties"),
        (lambda c, r: solutions.accuracy_with_ties(c.round(), r.round()), r"margins of 0\.05 count as ties"),
        (
            lambda c, r: (c - r + 0.5).clamp(0, 1).mean(),
            r"five right \(two by 0\.05\), one wrong, one tie: it gave",
        ),
        (lambda c, r: round(solutions.accuracy_with_ties(c, r), 2), "accuracy is rounded"),
        (lambda c, r: torch.sigmoid(c - r).mean(), r"mean of sigma\(margin\)"),
        (lambda c, r: (c > r).float() + 0.5 * (c == r).float(), "one number for each pair came back"),
        (lambda c, r: ((c > r).sum() + 0.5 * (c == r).sum()) / 7, "right for seven pairs; for 3 others"),
        (lambda c, r: f"{solutions.accuracy_with_ties(c, r):.4f}", "it gave a str, '.*'; numbers are asked for"),
    ],
    "3.4": [
        (lambda f, b, r: torch.zeros(f.shape[2]), "w is still zero"),
        (loop_with(zero=False), "gradients of all earlier batches are still in it"),
        (loop_with(clip=None), "the gradient is not clipped"),
        (loop_with(decay=0.01), "AdamW pulls the weights to 0 by default"),
        (loop_with(kind=torch.optim.SGD), "plain gradient descent"),
        (loop_with(late=True), "set after the step that it is meant for"),
        (loop_with(times=8), "the sum over the batch"),
        (lambda f, b, r: solutions.my_train_head(f, b, [r[0]] * len(r)), "every step has the first rate"),
        (lambda f, b, r: solutions.my_train_head(f.flip(1), b, r), "chosen and rejected are exchanged"),
        (lambda f, b, r: solutions.my_train_head(f, b, [1e-3] * len(r)), "the learning rate never changes"),
        (lambda f, b, r: solutions.my_train_head(f, b[:1], r), "only one batch was used"),
        (lambda f, b, r: solutions.my_train_head(f, b[: len(b) // 2], r), "only half of the batches"),
        (lambda f, b, r: solutions.my_train_head(f, [list(range(24))] * len(b), r), "every step reads all pairs"),
        (lambda f, b, r: solutions.my_train_head(f, b, [*r[:1], *r[:-1]]), "the rate of the step before"),
        (lambda f, b, r: solutions.my_train_head(f, b[::-1], r), r"after 6 steps on a small example w is \["),
        (lambda f, b, r: solutions.my_train_head(f, b, r).tolist(), "a list came back"),
        (lambda f, b, r: solutions.my_train_head(f, b, r).requires_grad_(), r"return w\.detach\(\)"),
    ],
    "3.5": [
        (lambda: "healthy", "it gave a str"),
        (lambda: log_clinic.RUNS | {"A": "fine"}, "no run is called fine; the names are healthy, rate too high"),
        (lambda: {"A": "healthy"}, "no diagnosis for B, C, D, E, F, G, H"),
        (lambda: dict.fromkeys(log_clinic.RUNS, "healthy"), "more than one run the name healthy"),
        (
            lambda: log_clinic.RUNS | {"C": "healthy", "E": "leak"},
            "6 of 8 are right. Run C is not 'healthy': held-out",
        ),
        (lambda: dict(zip(log_clinic.RUNS, sorted(log_clinic.RUNS.values()))), r"\d of 8 are right"),
    ],
    "5.1": [
        (best_of(with_replacement), "with replacement, which is biased low"),
        (lambda p, g, n: g.sum() * n / len(g), "how often a sample is among the n drawn"),
        (lambda p, g, n: g.mean(), "every sample has the same weight"),
        (best_of(lambda N, n: binomial(N, n).flip(0)), "order is reversed"),
        (lambda p, g, n: solutions.expected_gold(-p, g, n), "order is reversed"),
        (lambda p, g, n: solutions.expected_gold(g, g, n), "chosen by gold"),
        (lambda p, g, n: solutions.expected_gold(p, p, n), "proxy's own score"),
        (best_of(binomial), r"goes to the last of them"),
        (ties_to_the_first, r"goes to the first of them"),
        (lambda p, g, n: solutions.expected_gold(p + 1e-4 * g, g, n), "goes to the highest gold of them"),
        (lambda p, g, n: solutions.expected_gold(p - 1e-4 * g, g, n), "goes to the lowest gold of them"),
        (weight_of_the_lowest_place, "each of the equal ones has that of the lowest place"),
        (lambda p, g, n: (binomial(len(p), n) * g).sum(), "gold still in the order of the samples"),
        (lambda p, g, n: g[p.argmax()], "best of all N, whatever n is"),
        (lambda p, g, n: g[:n][p[:n].argmax()], "that is one draw"),
        (lambda p, g, n: g[p.argsort()[-n:]].mean(), "mean over the n best by proxy"),
        (best_of(lambda N, n: binomial(N, n) * math.comb(N, n)), "divide by how many draws"),
        (best_of(lambda N, n: binomial(N, 3)), r"right for n = 3; for n = 1 it gave .* a best of 1 is any sample"),
        (best_of(lambda N, n: binomial(5, n) if N == 5 else torch.ones(N)), "with three equal ones it gave"),
        (drawing_subsets, "it draws at random"),
        (listing_the_subsets, "count, do not list them"),
        (listing_with_ties_to_the_first, "count, do not list them"),
        (sharing_at_the_maximum_only, "equal ones below the highest and n = 2 it gave"),
        (mean_of_both_orders, "all equal scores share"),
        (
            lambda p, g, n: stably(p, g, n) if len(p) < 9 else float("nan"),
            r"best 100 of 512 it gave nan, .*overflow",
        ),
        (lambda p, g, n: binomial(len(p), n) * g[p.argsort()], "sum them"),
        (lambda p, g, n: solutions.expected_gold(p, g, n)[None], r"in a tensor of shape \(1,\)"),
    ],
    "5.3": [
        (lambda p, n: math.log(n), "log n is not reached"),
        (lambda p, n: math.log(n) - (n - 1) / n, "that is an upper bound"),
        (lambda p, n: math.log(len(p)), "log K is what no n can exceed"),
        (naive_kl, r"for n = 5000 it gave nan, .* 0 log 0 = 0"),
        (lambda p, n: (p * (p / picks(p, n)).log()).sum(), "the other direction"),
        (lambda p, n: (picks(p, n) * picks(p, n).log()).sum(), "the reference is missing"),
        (lambda p, n: naive_kl(p, n) / math.log(2), "in bits"),
        (lambda p, n: -naive_kl(p, n), "upside down"),
        (lambda p, n: solutions.kl_of_best(p.flip(0), n), "worst of n"),
        (lambda p, n: naive_kl(p, n) / len(p), "mean over the texts"),
        (lambda p, n: picks(p, n), "their KL from p"),
        (lambda p, n: picks(p, n) * (picks(p, n) / p).log(), "one term for each text"),
        (lambda p, n: solutions.kl_of_best(torch.full_like(p, 1 / len(p)), n), "KL for equally frequent texts"),
        (lambda p, n: solutions.kl_of_best(p, 3), "for 4 other shares or n = 1 it gave"),
        (lambda p, n: solutions.kl_of_best(p, n)[None], r"in a tensor of shape \(1,\)"),
    ],
    "5.4": [
        (lambda proxy, beta: (proxy * beta).softmax(1), "beta is upside down"),
        (
            lambda proxy, beta: normalized(exponentials(proxy, beta)),
            r"with \+1000 on every score it gave .*nan.* take each prompt's maximum off",
        ),
        (
            lambda proxy, beta: normalized(exponentials(proxy - proxy.max(), beta)),
            r"with \+1000 on the scores of one prompt of two it gave .*nan",
        ),
        (
            lambda proxy, beta: normalized(exponentials(proxy - proxy.mean(1, keepdim=True), beta)),
            r"for scores times 1 and beta 0\.01 it gave .*nan",
        ),
        (
            lambda proxy, beta: normalized(proxy.softmax(1) ** (1 / beta)),
            r"for scores times 1000 and beta 1000 it gave",
        ),
        (lambda proxy, beta: (proxy / (2 * beta)).softmax(1), r"three samples and beta 0\.25 it gave"),
        (
            lambda proxy, beta: ((proxy - proxy.max()) / beta).flatten().softmax(0).view(proxy.shape),
            "over the whole batch",
        ),
        (lambda proxy, beta: (proxy / beta).softmax(0), "over the prompts"),
        (lambda proxy, beta: proxy.softmax(1), "beta is missing"),
        (lambda proxy, beta: (-proxy / beta).softmax(1), "the sign"),
        (exponentials, "divide by Z"),
        (lambda proxy, beta: (proxy / beta).softmax(1) * proxy.shape[1], "ratio to the reference"),
        (lambda proxy, beta: (proxy / beta).log_softmax(1), "logarithms of the weights"),
        (lambda proxy, beta: F.one_hot(proxy.argmax(1), proxy.shape[1]), "all weight is on the best sample"),
        (lambda proxy, beta: (proxy / 0.25).softmax(1), r"for \(2, 3\) scores and beta 2.0 it gave"),
        (lambda proxy, beta: (proxy / beta).softmax(1).double(), "returns float64 for float32 scores"),
    ],
    "5.2": [
        (lambda picked, gold: (picked - gold.mean(1)).abs().mean() / gold.var(1).mean().sqrt(), "keeps its sign"),
        (lambda picked, gold: (picked - gold.mean(1)).mean().abs() / gold.var(1).mean().sqrt(), "keeps its sign"),
        (
            lambda picked, gold: (picked - gold.mean(1)).clamp(min=0).mean() / gold.var(1).mean().sqrt(),
            "keeps its sign",
        ),
        (lambda picked, gold: (picked - gold.mean(1)).mean() / gold.std(), "that spread is over all prompts"),
        (
            lambda picked, gold: (picked - gold.mean(1)).mean() / gold.var(1, correction=0).mean().sqrt(),
            "with N - 1",
        ),
        (lambda picked, gold: picked.mean() / gold.var(1).mean().sqrt(), "best of 1 is not subtracted"),
        (lambda picked, gold: ((picked - gold.mean(1)) / gold.std(1)).mean(), "divided by its own spread"),
        (
            lambda picked, gold: (picked - gold.mean(1)).mean() / gold.std(1).mean(),
            "mean of the standard deviations",
        ),
        (lambda picked, gold: (picked - gold.mean(1)).mean(), "gold's own unit"),
        (lambda picked, gold: (picked - gold.mean(1)).mean() / gold.var(1).mean(), "divided by the variance"),
        (lambda picked, gold: (picked - gold.mean(1)) / gold.var(1).mean().sqrt(), "asked is their mean"),
        (lambda picked, gold: solutions.gain_in_spreads(picked, gold) * 3, "summed over the prompts"),
        (lambda picked, gold: solutions.gain_in_spreads(-picked, -gold), "the sign"),
        (
            lambda picked, gold: (picked - gold.mean(1)).sum() / 3 / gold.var(1).mean().sqrt(),
            r"for \(2, 4\) others",
        ),
        (
            lambda picked, gold: (picked - gold.max(1).values).mean() / gold.var(1).mean().sqrt(),
            "with the best sample",
        ),
    ],
}
WRONG |= answers_00.WRONG | answers_01.WRONG | answers_02.WRONG | answers_04.WRONG | answers_06.WRONG
CASES = [(key, function, message) for key, cases in WRONG.items() for function, message in cases]


def test_every_exercise_ships_three_wrong_answers_with_messages_of_their_own():
    """So that no check passes everything, and none says the same to everybody."""
    assert WRONG.keys() == EXERCISES.keys()
    for cases in WRONG.values():
        assert len({message for _, message in cases}) >= 3


@pytest.mark.parametrize("key, function, message", CASES)
def test_a_wrong_answer_is_refused_and_the_mistake_named(key, function, message):
    """The message is about this mistake, not only that something is wrong."""
    with pytest.raises(Wrong, match=message):
        check(key, function)


@pytest.mark.parametrize("key", EXERCISES)
def test_the_reference_is_right_and_comes_back(key, capsys):
    """What `solution` prints passes its own check; the learner's function is the one that later cells use."""
    reference = EXERCISES[key].reference
    assert check(key, reference) is reference
    assert capsys.readouterr().out == f"Exercise {key}: right.\n"


STUBS = {
    "...": "    ...",
    "pass": "    pass",
    "docstring": '    """A docstring alone."""',
    "docstring and ...": '    """A docstring, and below it:"""\n    ...',
    "return ...": "    return ...",
}


def defined(source, imported=None):
    """The function that a piece of source defines, as a cell of a notebook would."""
    names = dict(imported or {})
    exec(source, names)
    return names[ast.parse(source).body[0].name]


@pytest.mark.parametrize("key", EXERCISES)
@pytest.mark.parametrize("body", STUBS.values(), ids=STUBS)
def test_an_untouched_stub_gives_the_reference_and_says_so(key, body, capsys):
    """Cells behind an exercise run for those who skip it."""
    assert check(key, defined(f"def stub(*arguments):\n{body}")) is EXERCISES[key].reference
    assert "not tried yet" in capsys.readouterr().out


def test_a_stub_below_a_decorator_is_a_stub():
    """Notebook 04 has no_grad in the cell of its stub, where it slips onto the next function easily."""
    assert check("4.5", torch.no_grad()(lambda logprobs, prompt_length: ...)) is solutions.answer_logprob


def reference_that_ends_with(key, last):
    """The reference with another statement in the place of its `return`."""
    reference = EXERCISES[key].reference
    tree = ast.parse(inspect.getsource(reference))
    tree.body[0].body[-1] = ast.Expr(last(tree.body[0].body[-1].value))
    return defined(ast.unparse(tree), reference.__globals__)


def printed(value):
    return ast.Call(ast.Name("print", ast.Load()), [value], [])


@pytest.mark.parametrize("key", EXERCISES)
def test_a_forgotten_return_is_no_stub(key):
    """The work is there, so it is not silently replaced by the reference."""
    with pytest.raises(Wrong, match=f"{key}: it returned None: `return` is missing"):
        check(key, reference_that_ends_with(key, lambda value: value))


@pytest.mark.parametrize("key", EXERCISES)
def test_a_printed_answer_is_no_stub(key):
    """The commonest error of beginners."""
    with pytest.raises(Wrong, match=f"{key}: it returned None: it prints.*`return` it instead"):
        check(key, reference_that_ends_with(key, printed))


@pytest.mark.parametrize("body, message", [
    ("    d = c - r\n    return ...", r"it returned `\.\.\.`: put your answer"),
    ("    if len(c) > 1e9:\n        return c", "it returned None: `return` is missing"),
    ("    return [].sort()", "what stands behind it gives None"),
])  # fmt: skip
def test_what_is_begun_and_gives_nothing_is_no_stub(body, message):
    """Half of an answer is a try."""
    with pytest.raises(Wrong, match=message):
        check("3.1", defined(f"def begun(c, r):\n{body}"))


RIGHT = {
    "3.1": [
        lambda c, r: F.softplus(r - c).mean(),
        lambda c, r: torch.logaddexp(torch.zeros_like(c), r - c).sum() / len(c),
        lambda c, r: F.binary_cross_entropy_with_logits(c - r, torch.ones_like(c)),
        lambda c, r: F.cross_entropy(torch.stack([c, r], dim=1), torch.zeros(len(c), dtype=torch.long)),
        lambda c, r: sum(-F.logsigmoid(x - y) for x, y in zip(c, r)) / len(c),
        lambda c, r: bradley_terry_loss(c, r),
    ],
    "3.2": [
        lambda c, r: (torch.sigmoid(c - r) - 1) / c.shape[0],
        lambda c, r: -1 / (1 + torch.exp(c - r)) / c.numel(),
        lambda c, r: torch.stack([-torch.sigmoid(y - x) for x, y in zip(c, r)]) / len(c),
    ],
    "3.3": [
        lambda c, r: (1 + torch.sign(c - r)).mean() / 2,
        lambda c, r: torch.heaviside(c - r, torch.tensor(0.5)).mean().item(),
        lambda c, r: sum(1.0 if x > y else 0.5 if x == y else 0.0 for x, y in zip(c, r)) / len(c),
        lambda c, r: ((c > r).double() + (c >= r).double()).mean().numpy() / 2,
    ],
    "5.1": [stably, lambda p, g, n: best_of_n(p[None], g[None], [n])[0, 0], lambda p, g, n: stably(p, g, n).item()],
    "5.3": [
        atoms_kl,
        lambda p, n: sum(a * math.log(a / b) for a, b in zip(picks(p, n).tolist(), p.tolist()) if a > 0),
    ],
    "5.4": [
        lambda proxy, beta: torch.stack([(row / beta).softmax(0) for row in proxy]),
        lambda proxy, beta: (
            exponentials(proxy - proxy.amax(1, True), beta)
            / exponentials(proxy - proxy.amax(1, True), beta).sum(1, True)
        ),
    ],
    "5.2": [
        lambda picked, gold: (picked.mean() - gold.mean()) / within_prompt_spread(gold),
        lambda picked, gold: (picked.mean() - gold.mean()) / gold.std(1).square().mean() ** 0.5,
    ],
}
RIGHT |= answers_00.RIGHT | answers_01.RIGHT | answers_02.RIGHT | answers_04.RIGHT | answers_06.RIGHT


@pytest.mark.parametrize(
    "key, function", [(key, function) for key, functions in RIGHT.items() for function in functions]
)
def test_another_way_to_the_same_answer_is_right(key, function):
    """A check that is hard on mistakes must not be hard on styles."""
    assert check(key, function) is function


def test_the_mask_of_exercise_6_2_is_that_of_the_sampler():
    """Prompt and answers of a group in rows: behind the prompt the mask is `Samples.mask`, end marks and cut answers alike."""
    lm, tokenizer = tiny_sft("llama")
    samples = sample(lm, tokenizer, ["Why is the sky blue?"], group=64, max_new_tokens=60, temperature=8.0)
    assert 0 < samples.finished.sum() < 64 and tokenizer.pad_token_id == tokenizer.eos_token_id
    prompt = samples.prompt_ids[0]
    rows = torch.cat([torch.tensor(prompt).expand(64, -1), samples.ids[0]], dim=1)
    mask = solutions.answer_mask(rows, len(prompt), tokenizer.eos_token_id)
    assert tokenizer.eos_token_id in prompt and not mask[:, : len(prompt)].any()
    assert torch.equal(mask[:, len(prompt) :], samples.mask[0])


def cells_before_the_stub(key):
    """(what the notebook has imported by then, the stub) of an exercise, as syntax trees."""
    path = next(NOTEBOOKS.glob(f"{int(key.partition('.')[0]):02d}_*.ipynb"))
    name, imports = EXERCISES[key].reference.__name__, []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in cell.source.split("\n")))
        imports += [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return imports, node
    raise LookupError(f"{path.name} has no function {name}")


@pytest.mark.parametrize("key", EXERCISES)
def test_the_reference_has_signature_and_docstring_of_the_stub(key):
    """One source: what `solution` prints can be pasted over the stub, and says the same about itself."""
    _, stub = cells_before_the_stub(key)
    reference = ast.parse(inspect.getsource(EXERCISES[key].reference)).body[0]
    assert ast.unparse(reference.args) == ast.unparse(stub.args)
    assert ast.get_docstring(reference) == ast.get_docstring(stub)


@pytest.mark.parametrize("key", EXERCISES)
def test_the_stub_in_the_notebook_is_a_stub(key):
    """Whoever opens the notebook and runs all cells goes on with the reference."""
    _, stub = cells_before_the_stub(key)
    assert check(key, defined(ast.unparse(stub))) is EXERCISES[key].reference


@pytest.mark.parametrize("key", EXERCISES)
def test_what_the_reference_needs_is_imported_in_its_notebook(key):
    """Else the pasted solution would raise a NameError."""
    imports, _ = cells_before_the_stub(key)
    there = {alias.asname or alias.name for node in imports for alias in node.names}
    assert set(inspect.getclosurevars(EXERCISES[key].reference).globals) <= there


@pytest.mark.parametrize("answer", [iter, set, lambda pairs: [list(pair) for pair in pairs], reversed])
def test_pairs_in_another_order_or_container_are_right(answer):
    """They say the same about the ranking, and the cells of the notebook compare them sorted, as tuples."""
    own = lambda answers: answer(solutions.ranking_to_pairs(answers))  # noqa: E731
    assert check("2.1", own) is own


def test_an_answer_that_raises_is_told_what_it_raised():
    """Its own error, in one line, instead of a traceback through our code."""
    with pytest.raises(Wrong, match="ZeroDivisionError"):
        check("3.1", lambda c, r: 1 / 0)


@pytest.mark.parametrize("key", EXERCISES)
def test_hints_and_solution_are_printed(key, capsys):
    """One hint a call, which names the call for the next; the last names none; the solution is its source."""
    hints = EXERCISES[key].hints
    assert len(hints) >= 2
    for number, text in enumerate(hints, 1):
        hint(key, number)
        shown = capsys.readouterr().out
        assert [text in shown for text in hints] == [other == text for other in hints]
        assert (f'hint("{key}", {number + 1})' in shown) == (number < len(hints))
    hint(key)
    assert hints[0] in capsys.readouterr().out
    solution(key)
    assert f"def {EXERCISES[key].reference.__name__}(" in capsys.readouterr().out


@pytest.mark.parametrize("number", [0, 3])
def test_a_hint_that_does_not_exist_is_refused_with_how_many_there_are(number):
    """Counted from 1, and there is an end."""
    with pytest.raises(ValueError, match=f"hint {number} of exercise 0.1: there are 2"):
        hint("0.1", number)


def test_an_unknown_key_is_refused_with_those_there_are():
    """A typing error in a notebook."""
    with pytest.raises(ValueError, match=r"'9\.9': there are 0\.1"):
        check("9.9", print)


@pytest.mark.parametrize("key", ["3.9", "x", "", "03.1", 3.1, None])
def test_a_key_of_another_form_is_refused_too(key):
    """It names a file, and must not become an ImportError."""
    with pytest.raises(ValueError, match=r"there are 0\.1, .*, 4\.3"):
        hint(key)


def test_an_answer_cannot_spoil_the_next_check():
    """Exercises share their numbers; a function that changes them in place gets copies."""
    for _ in range(2):
        with pytest.raises(Wrong, match="changes the tensor"):
            check("3.1", subtracting_in_place)
    assert check("3.1", solutions.bt_loss)
