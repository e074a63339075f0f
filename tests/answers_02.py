"""Answers to the exercises of notebook 02: wrong ones with what must be said of them, and other ways to be right."""

import hashlib
import itertools
import math
import random

import numpy
import torch
import torch.nn.functional as F

from rmtutorial.intervals import bootstrap_means
from rmtutorial.lesson.exercises import all_exercises

REFERENCE = {key: exercise.reference for key, exercise in all_exercises().items() if key.startswith("2.")}


def emptying_the_argument(answers):
    pairs = []
    while answers:
        best = answers.pop(0)
        pairs += [(best, worse) for worse in answers]
    return pairs


def split_of(choose):
    """Exercise 2.2 with another choice of the held-out prompts: (pairs, share, seed) -> a set of them."""

    def split(pairs, share, seed):
        held_out = set(choose(pairs, share, seed))
        return [p for p in pairs if p.prompt not in held_out], [p for p in pairs if p.prompt in held_out]

    return split


def prompts_of(pairs):
    return sorted({p.prompt for p in pairs})


def shuffled(prompts, seed):
    return random.Random(seed).sample(prompts, len(prompts))


def row_split(pairs, share, seed):
    rows = shuffled(pairs, seed)
    n = round(share * len(pairs))
    return rows[n:], rows[:n]


def shuffling_the_argument(pairs, share, seed):
    sides = REFERENCE["2.2"](pairs, share, seed)
    random.Random(seed).shuffle(pairs)
    return sides


def losing_pairs(pairs, share, seed):
    train, held_out = REFERENCE["2.2"](pairs, share, seed)
    return train[1:], held_out


def with_repetition(pairs, share, seed):
    """Prompts as often as they have pairs: a few of them more than once."""
    return shuffled([p.prompt for p in pairs], seed)[: round(share * len(prompts_of(pairs)))]


def by_hash_order(pairs, share, seed):
    prompts = list({p.prompt for p in pairs})
    return shuffled(prompts, seed)[: round(share * len(prompts))]


def coin_for_each(pairs, share, seed):
    generator = random.Random(seed)
    return [prompt for prompt in prompts_of(pairs) if generator.random() < share]


def seeding_everybody(pairs, share, seed):
    prompts = prompts_of(pairs)
    random.seed(seed)
    random.shuffle(prompts)
    return prompts[: round(share * len(prompts))]


def seeding_torch(pairs, share, seed):
    torch.manual_seed(seed)
    prompts = prompts_of(pairs)
    return [prompts[i] for i in torch.randperm(len(prompts))[: round(share * len(prompts))]]


def seeding_numpy(pairs, share, seed):
    numpy.random.seed(seed)
    return numpy.random.permutation(prompts_of(pairs))[: round(share * len(prompts_of(pairs)))].tolist()


def last_ones(pairs, share, seed):
    """Right but for a share of 0: the last -0 prompts are all of them."""
    return shuffled(prompts_of(pairs), seed)[-round(share * len(prompts_of(pairs))) :]


def with_number(number):
    """Another number of prompts than round() gives."""
    return split_of(
        lambda pairs, share, seed: shuffled(prompts_of(pairs), seed)[: number(share * len(prompts_of(pairs)))]
    )


def by_key(key):
    """Exercise 2.2 with something else than the prompt: pair -> what decides."""

    def split(pairs, share, seed):
        keys = shuffled(sorted({key(p) for p in pairs}), seed)
        held_out = set(keys[: round(share * len(keys))])
        return [p for p in pairs if key(p) not in held_out], [p for p in pairs if key(p) in held_out]

    return split


def number_of(pairs, share):
    return round(share * len(prompts_of(pairs)))


def rotated(pairs, share, seed):
    prompts = prompts_of(pairs)
    return [prompts[(seed + i) % len(prompts)] for i in range(number_of(pairs, share))]


def block(pairs, share, seed):
    prompts, n = prompts_of(pairs), number_of(pairs, share)
    start = random.Random(seed).randrange(len(prompts) - n + 1)
    return prompts[start : start + n]


def every_kth(pairs, share, seed):
    prompts, n = prompts_of(pairs), number_of(pairs, share)
    return [prompts[(seed + i * (len(prompts) // max(n, 1))) % len(prompts)] for i in range(n)]


def always_the_first(pairs, share, seed):
    prompts, n = prompts_of(pairs), number_of(pairs, share)
    return [*prompts[:1], *shuffled(prompts[1:], seed)][:n]


def by_checksum(pairs, share, seed):
    """Right, and it needs no generator: a checksum of seed and prompt is as good as a random number."""
    order = sorted(prompts_of(pairs), key=lambda prompt: hashlib.md5(f"{seed} {prompt}".encode()).hexdigest())
    return order[: number_of(pairs, share)]


def with_numpy(pairs, share, seed):
    prompts = prompts_of(pairs)
    return numpy.random.default_rng(seed).permutation(prompts)[: round(share * len(prompts))].tolist()


def with_torch(pairs, share, seed):
    prompts = prompts_of(pairs)
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed)).tolist()
    return [prompts[i] for i in order[: round(share * len(prompts))]]


def in_order_of_appearance(pairs, share, seed):
    prompts = list(dict.fromkeys(p.prompt for p in pairs))
    return shuffled(prompts, seed)[: round(share * len(prompts))]


def means_of(picked, average=None):
    """Exercise 2.4 in a loop: (labels, generator) -> the units of one draw; (rows of the units, values) -> its mean."""

    def bootstrap(values, units, draws, seed):
        labels, generator = list(dict.fromkeys(units)), random.Random(seed)
        rows = {label: [i for i, unit in enumerate(units) if unit == label] for label in labels}
        pick = lambda: [rows[label] for label in picked(labels, generator)]  # noqa: E731
        return torch.stack([(average or over_rows)(pick(), values) for _ in range(draws)])

    return bootstrap


def over_rows(units, values):
    return values[[i for unit in units for i in unit]].mean()


def over_units(units, values):
    return torch.stack([values[unit].mean() for unit in units]).mean()


def honest(labels, generator):
    return generator.choices(labels, k=len(labels))


def over_single_rows(values, units, draws, seed):
    return REFERENCE["2.4"](values, list(range(len(values))), draws, seed)


def in_blocks(values, units, draws, seed):
    """As if the rows of a unit stood side by side, and all units had the same number of them."""
    G = len(set(units))
    return REFERENCE["2.4"](values, [i * G // len(values) for i in range(len(values))], draws, seed)


def from_everybodys_generator(values, units, draws, seed):
    torch.manual_seed(seed)
    return REFERENCE["2.4"](values, units, draws, int(torch.randint(10**6, ())))


def in_the_order_of_a_set(values, units, draws, seed):
    number = {unit: i for i, unit in enumerate(set(units))}
    order = sorted(range(len(units)), key=lambda i: number[units[i]])
    return REFERENCE["2.4"](values[order], [units[i] for i in order], draws, seed)


def poisson(values, units, draws, seed):
    """The bootstrap of streams: each unit comes as often as a Poisson number says."""
    labels, generator = list(dict.fromkeys(units)), torch.Generator().manual_seed(seed)
    of = torch.tensor([labels.index(unit) for unit in units])
    times = torch.poisson(torch.ones(draws, len(labels)), generator=generator)[:, of]  # (draws, n)
    return (times * values).sum(1) / times.sum(1)


def by_sorted_labels(values, units, draws, seed):
    order = sorted(range(len(units)), key=lambda i: units[i])
    return REFERENCE["2.4"](values[order], [units[i] for i in order], draws, seed)


def ends(values, units, draws, seed):
    return REFERENCE["2.4"](values, units, draws, seed).quantile(torch.tensor([0.025, 0.975]))


def scores(margin, log_nu):
    return torch.stack([margin / 2, -margin / 2, log_nu.expand(len(margin))], dim=1)


def davidson_of(scores, reduce=lambda each: each.mean()):
    """Exercise 2.5 with other scores (B, 3), or other than averaged."""
    return lambda margin, log_nu, outcome: reduce(F.cross_entropy(scores(margin, log_nu), outcome, reduction="none"))


def by_hand(margin, log_nu, outcome):
    """The formula as it stands: it overflows."""
    won, lost, nu = torch.exp(margin / 2), torch.exp(-margin / 2), torch.exp(log_nu)
    p = torch.stack([won, lost, nu.expand(len(margin))], dim=1) / (won + lost + nu)[:, None]
    return -torch.log(p[torch.arange(len(margin)), outcome]).mean()


def ties_as_halves(margin, log_nu, outcome):
    win = F.softplus(torch.where(outcome == 1, margin, -margin))
    return torch.where(outcome == 2, (F.softplus(margin) + F.softplus(-margin)) / 2, win).mean()


def without_ties(margin, log_nu, outcome):
    there = outcome != 2
    return F.softplus(torch.where(outcome == 1, margin, -margin))[there].mean()


def only_decided(margin, log_nu, outcome):
    there = outcome != 2
    return REFERENCE["2.5"](margin[there], log_nu, outcome[there]) if there.any() else margin.sum() * 0


def exponentials_of(numerator):
    """The stable way by hand: logsumexp less the score of what happened."""
    return lambda margin, log_nu, outcome: (
        torch.logsumexp(scores(margin, log_nu), dim=1) - numerator(margin, log_nu, outcome)
    ).mean()


def score_of(margin, log_nu, outcome):
    return torch.where(outcome == 0, margin / 2, torch.where(outcome == 1, -margin / 2, log_nu))


def clamped_in_the_gradient(margin, log_nu, outcome):
    """Right in value; but beyond +-20 log nu gets no gradient."""
    return REFERENCE["2.5"](margin, torch.where(log_nu.abs() > 20, log_nu.detach(), log_nu), outcome) + 0 * log_nu


def exchanged(margin, log_nu, outcome):
    return REFERENCE["2.5"](-margin, log_nu, outcome)


WRONG = {
    "2.1": [
        (lambda a: list(itertools.pairwise(a)), "only neighbors are compared"),
        (lambda a: [(a[0], x) for x in a[1:]], "only the best is compared"),
        (lambda a: [(x, y) for x in a for y in a if x != y], "twice"),
        (lambda a: [(y, x) for x, y in REFERENCE["2.1"](a)], "worse answer stands first"),
        (lambda a: list(itertools.combinations(sorted(a), 2)), "the order of the alphabet decides"),
        (lambda a: [(p, q) for p in a for q in a if p < q], "the order of the alphabet decides"),
        (lambda a: [(max(p), min(p)) for p in REFERENCE["2.1"](a)], "the order of the alphabet decides"),
        (lambda a: list(itertools.combinations_with_replacement(a, 2)), "compared with itself"),
        (lambda a: REFERENCE["2.1"](a)[:-1], "it gave"),
        (lambda a: REFERENCE["2.1"](a)[:6], r"for the 5 answers .* it gave"),
        (lambda a: REFERENCE["2.1"](a) if len(a) > 3 else [], r"for the 3 answers .* it gave \[\]"),
        (emptying_the_argument, "changes the list that it is given"),
    ],
    "2.2": [
        (row_split, "stand on both sides"),
        (lambda p, s, seed: REFERENCE["2.2"](p, s, 0), "the seed changes nothing"),
        (losing_pairs, "80 pairs went in and 79 came out"),
        (lambda p, s, seed: REFERENCE["2.2"](p, s, random.random()), "same seed gave two different splits"),
        (shuffling_the_argument, "changes the order of the list that it is given"),
        (lambda p, s, seed: REFERENCE["2.2"](p, s, seed)[::-1], "sides are exchanged"),
        (split_of(with_repetition), "each prompt stands in the draw once"),
        (split_of(by_hash_order), "the order of a set is another one in each run"),
        (split_of(coin_for_each), "their number is not left to chance"),
        (split_of(seeding_everybody), "random numbers that all other code shares"),
        (split_of(seeding_torch), "random numbers that all other code shares"),
        (split_of(seeding_numpy), "random numbers that all other code shares"),
        (with_number(int), r"round\(0\.4 \* 7\) is 3, and 2 of 7"),
        (with_number(math.ceil), r"round\(0\.2 \* 7\) is 1, and 2 of 7"),
        (by_key(lambda p: p.group), "whole sets .* are held out; asked is a split by prompt"),
        (by_key(lambda p: p.prompt[:10]), "of six prompts that begin alike 0 are held out, not 3"),
        (by_key(lambda p: p.prompt[:150]), "of six prompts that begin alike"),
        (by_key(lambda p: p.prompt[-10:]), "of six prompts that end alike"),
        (by_key(lambda p: (p.prompt[:60], p.prompt[-60:])), "of six prompts that differ in the middle"),
        (by_key(lambda p: p.prompt.lower()), "of six prompts that differ in capitals"),
        (by_key(lambda p: p.prompt.strip()), "of six prompts that differ in white space"),
        (by_key(lambda p: " ".join(p.prompt.split())), "of six prompts that differ in white space"),
        (by_key(lambda p: p.prompt.rstrip(".?!")), "of six prompts that differ in punctuation"),
        (split_of(rotated), "couples of the 20 prompts.* a rotated list"),
        (split_of(block), "never held out together"),
        (split_of(every_kth), "every k-th prompt"),
        (split_of(always_the_first), r"prompt 00 is held out in 400 of 400 seeds"),
        (split_of(last_ones), r"round\(0\.0 \* 6\) is 0, and 6 of 6"),
    ],
    "2.3": [
        (lambda a, f: a - f, "subtracting"),
        (lambda a, f: a * (1 - f), "one half of the story"),
        (lambda a, f: 1 - f, "most a perfect model reaches"),
        (lambda a, f: 1 - REFERENCE["2.3"](a, f), "the two are exchanged"),
        (lambda a, f: round(REFERENCE["2.3"](a, f), 2), "do not round"),
        (lambda a, f: max(0.5, REFERENCE["2.3"](a, f)), r"0\.3 and 0\.1 .* not 0\.3400; do not round, and do not clip"),
        (lambda a, f: REFERENCE["2.3"](a, min(f, 0.5)), r"0\.9 and 0\.8 .* not 0\.2600"),
        (lambda a, f: REFERENCE["2.3"](a, f) if f < 0.5 else 0.5, r"0\.9 and 0\.8 .* it gave 0\.5"),
    ],
    "2.4": [
        (over_single_rows, "for 40 pairs .* single rows are drawn"),
        (means_of(honest, over_units), "for units of 12, 3.* each unit's mean counts the same"),
        (means_of(lambda labels, generator: generator.sample(labels, len(labels))), "units are drawn with replacement"),
        (means_of(lambda labels, generator: set(honest(labels, generator))), "a unit that is drawn twice counts once"),
        (means_of(lambda labels, generator: generator.choices(labels, k=4 * len(labels))), "as many units as there are rows"),
        (means_of(lambda labels, generator: generator.choices(labels, k=len(labels) // 2)), "standard deviation of"),
        (means_of(lambda labels, generator: generator.choices(labels, k=len(labels) - 1)), "of three units a draw takes 2"),
        (means_of(lambda labels, generator: generator.choices(labels, k=len(labels) + 1)), "of three units a draw takes 4"),
        (poisson, "means are nan, .* as a Poisson bootstrap has"),
        (lambda *given: poisson(*given).nan_to_num(0.5), "the number of units changes from draw to draw, as in a Poisson bootstrap"),
        (in_the_order_of_a_set, "the order of a set is another one in each run"),
        (lambda v, u, d, seed: REFERENCE["2.4"](v, u, d, seed).sort().values, "the means come back sorted"),
        (lambda v, u, d, seed: -(-REFERENCE["2.4"](v, u, d, seed)).sort().values, "the means come back sorted"),
        (in_blocks, "40 units of four equal rows"),
        (lambda v, u, d, seed: REFERENCE["2.4"](v, u, 1000, seed), r"of shape \(1000,\) came back for 2000 draws"),
        (lambda v, u, d, seed: REFERENCE["2.4"](v, u, 2000, seed), r"of shape \(2000,\) came back for 200 draws"),
        (lambda v, u, d, seed: REFERENCE["2.4"](v, u, d, seed).tolist(), "a list came back"),
        (lambda v, u, d, seed: REFERENCE["2.4"](v, u, d, seed).mean(), r"of shape \(\) came back"),
        (ends, "the ends of an interval"),
        (lambda v, u, d, seed: REFERENCE["2.4"](v, u, d, 0), "the seed changes nothing"),
        (lambda v, u, d, seed: REFERENCE["2.4"](v, u, d, random.randrange(10**6)), "the same seed gave other draws"),
        (from_everybodys_generator, "random numbers that all other code shares"),
        (lambda v, u, d, seed: REFERENCE["2.4"](v.mul_(0.5), u, d, seed), "changes the tensor that it is given"),
    ],
    "2.5": [
        (davidson_of(lambda m, nu: torch.stack([m, -m, nu.expand(len(m))], 1)), "the halves are missing"),
        (davidson_of(lambda m, nu: scores(m, nu.exp())), "nu stands where log nu belongs"),
        (davidson_of(lambda m, nu: scores(m, -nu)), "the sign of log nu"),
        (davidson_of(lambda m, nu: scores(m, torch.zeros(()))), "log nu is not used"),
        (exchanged, "the sign of the margin is flipped"),
        (davidson_of(scores, lambda each: each), "one loss for each pair"),
        (davidson_of(scores, lambda each: each.sum()), "that is the sum"),
        (davidson_of(scores, lambda each: -each.mean()), "a minus is missing"),
        (davidson_of(scores, lambda each: each.mean()[None]), r"in a tensor of shape \(1,\)"),
        (davidson_of(scores, lambda each: each.mean().item()), "a float has no gradient"),
        (davidson_of(scores, lambda each: each.sum() / 4), "right for four pairs and log nu 0.3; for five"),
        (davidson_of(lambda m, nu: scores(m, torch.tensor(0.3))), "for five and log nu -1.1"),
        (ties_as_halves, "a tie as half a win"),
        (without_ties, "the ties are left out"),
        (only_decided, "the ties are left out of the mean"),
        (by_hand, r"at margins of -200 .* exp overflows"),
        (davidson_of(lambda m, nu: scores(m.clamp(-50, 50), nu)), r"at margins of -200 .* a clamp stops"),
        (davidson_of(lambda m, nu: scores(m.clamp(-200, 200), nu)), r"at a margin of -20000, .* a clamp of the margin"),
        (davidson_of(lambda m, nu: scores(m.clamp(min=-1000), nu)), r"at a margin of -20000, .* a clamp of the margin"),
        (davidson_of(lambda m, nu: scores(m.clamp(max=1000), nu)), r"at a margin of 20000, .* a clamp of the margin"),
        (davidson_of(lambda m, nu: scores(m, nu.clamp(-5, 5))), r"at log nu -200 .* log nu may be any number; a clamp"),
        (davidson_of(lambda m, nu: scores(m, nu.clamp(max=20))), r"at log nu 200 .* log nu may be any number; a clamp"),
        (davidson_of(lambda m, nu: scores(m, nu.clamp(min=-20))), r"at log nu -200 .* log nu may be any number; a clamp"),
        (clamped_in_the_gradient, r"at log nu -200: the number is right, but its gradient with respect to log_nu is 0\.0"),
        (davidson_of(lambda m, nu: scores(m, nu), lambda each: each.clamp(max=190).mean()), r"at margins of -200"),
        (davidson_of(lambda m, nu: scores(m.detach(), nu)), "lost its gradient with respect to margin"),
        (davidson_of(lambda m, nu: scores(m, nu.detach())), "lost its gradient with respect to log_nu"),
        (davidson_of(lambda m, nu: scores(m / 2 + m.detach() / 2, nu)), "its gradient with respect to margin is"),
        (lambda m, nu, o: REFERENCE["2.5"](m, nu, o).double(), "it returns float64 for float32 margins"),
        (lambda m, nu, o: REFERENCE["2.5"](m.mul_(1.0).neg_(), nu, o), "changes the tensor that it is given"),
    ],
}  # fmt: skip

RIGHT = {
    "2.1": [
        lambda a: [(a[i], a[j]) for i in range(len(a)) for j in range(i + 1, len(a))],
        lambda a: [(better, worse) for k, worse in enumerate(a) for better in a[:k]],
    ],
    "2.2": [
        *map(split_of, (with_numpy, with_torch, in_order_of_appearance, by_checksum)),
        split_of(lambda pairs, share, seed: random.Random(seed).sample(prompts_of(pairs), number_of(pairs, share))),
        by_key(lambda p: p.prompt),
    ],
    "2.3": [
        lambda a, f: 0.5 + (a - 0.5) * (1 - 2 * f),
        lambda a, f: torch.tensor(a) + f - 2 * torch.tensor(a) * f,
    ],
    "2.4": [
        means_of(honest),
        lambda v, u, d, seed: bootstrap_means(v, u, d, seed),
        lambda v, u, d, seed: bootstrap_means(v, u, d, seed).float(),
        by_sorted_labels,
    ],
    "2.5": [
        exponentials_of(score_of),
        lambda m, nu, o: torch.logaddexp(torch.logaddexp(m / 2, -m / 2), nu).sub(score_of(m, nu, o)).mean(),
        lambda m, nu, o: F.nll_loss(scores(m, nu).log_softmax(1), o),
        lambda m, nu, o: -torch.distributions.Categorical(logits=scores(m, nu)).log_prob(o).mean(),
    ],
}
