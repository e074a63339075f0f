"""The bootstrap over units (exercise 2.4): the reference, and what can be wrong with it."""

import itertools

import torch

from rmtutorial.lesson.exercises.exercise import tried
from rmtutorial.lesson.exercises.splitting import Salted, random_states, same_states

DRAWS = 2000
FEW = (
    torch.tensor([0.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0]),
    [*"abbcccc"],
)  # every choice of three units has a mean of its own


def bootstrap_by_unit(values, units, draws, seed):
    """Means of `values` (n,) when whole units are drawn anew, with replacement: a tensor (draws,).

    units: n labels, one for each value. A draw takes as many units as there are, each with all
    of its rows; a unit that is drawn twice counts twice. The same seed gives the same draws.
    """
    rows = {unit: [i for i, other in enumerate(units) if other == unit] for unit in dict.fromkeys(units)}
    sums = torch.stack([values[of].sum() for of in rows.values()])  # (G,)
    sizes = torch.tensor([len(of) for of in rows.values()])  # (G,)
    picks = torch.randint(len(rows), (draws, len(rows)), generator=torch.Generator().manual_seed(seed))
    return sums[picks].sum(dim=1) / sizes[picks].sum(dim=1)  # (draws,)


def cases():
    """{name: (values, units)}: sets whose rows err in opposite ways, or together, or that are of unequal size."""
    opposite = torch.tensor([1.0, 0.0] * 40)
    together = torch.tensor([1.0, 0.0] * 20).repeat(4)  # the rows of a unit do not stand side by side
    unequal = torch.cat([torch.ones(12), torch.zeros(9), torch.tensor([0.5, 2.0, -1.0])])
    return {
        "40 pairs of which one row is right": (opposite, [f"s{i // 2}" for i in range(80)]),
        "40 units of four equal rows": (together, [f"unit {i % 40}" for i in range(160)]),
        "units of 12, 3, 3, 3 and 1, 1, 1 rows": (unequal, [*"a" * 12, *"bbbcccddd", *"efg"]),
    }


def bootstrap_by_unit_mistake(function):
    state = random_states()
    for name, (values, units) in cases().items():
        got = tried(function, values, units, DRAWS, 0)
        if mistake := _form_mistake(got, DRAWS) or _spread_mistake(got, values, units, name):
            return mistake
    values, units = cases()["40 units of four equal rows"]
    first, again, other = (tried(function, values, units, 200, seed) for seed in (1, 1, 2))
    if mistake := _form_mistake(first, 200):
        return mistake
    if not torch.equal(first, again):
        return "the same seed gave other draws; draw with generator=torch.Generator().manual_seed(seed)"
    if torch.equal(first, other):
        return "the seed changes nothing: seeds 1 and 2 gave the same draws"
    if torch.equal(first, first.sort().values) or torch.equal(first, first.sort(descending=True).values):
        return (
            "the means come back sorted; leave them in the order in which they were drawn, so that those of two judges, "
            "drawn by one seed, can be subtracted one from the other"
        )
    if not same_states(state, random_states()):
        return "it seeds, or draws from, the random numbers that all other code shares; make a generator of your own"
    return _number_mistake(function) or _hash_mistake(function)


def _means_of_units(number):
    """Every mean that so many of the units of FEW can have, rounded."""
    values, units = FEW
    rows = [[x for x, unit in zip(values.tolist(), units) if unit == label] for label in "abc"]
    draws = itertools.combinations_with_replacement(rows, number)
    return {round(sum(map(sum, draw)) / sum(map(len, draw)), 4) for draw in draws}


def _number_mistake(function):
    """What is wrong if another number of units is drawn than there are; of few units each number has means of its own."""
    got = {round(mean, 4) for mean in tried(function, *FEW, DRAWS, 0).tolist()}
    if got == _means_of_units(3):  # 10 choices of 3 units; the rarest stands 74 times in 2000 draws
        return None
    if len(others := [number for number in (1, 2, 4, 5, 6) if got <= _means_of_units(number)]) > 0:
        return f"of three units a draw takes {others[0]}; it takes as many as there are"
    return (
        f"of three units ({', '.join('abc')} with 1, 2 and 4 rows) the draws have {len(got)} different means, not the {len(_means_of_units(3))} that "
        "three units can have: the number of units changes from draw to draw, as in a Poisson bootstrap, or not every "
        "choice can come"
    )


def _hash_mistake(function):
    values, units = cases()["40 units of four equal rows"]
    draws = []
    for salt in (1, 2, 3):
        labels = [Salted(unit) for unit in units]
        for label in labels:
            label.salt = salt
        draws.append(tried(function, values, labels, 50, 0))
    if all(torch.equal(draws[0], other) for other in draws):
        return None
    return (
        "the order of a set is another one in each run of Python (the hash of a text is), so tomorrow the same seed gives "
        "other draws: number the units in their order of appearance (dict.fromkeys), or sort them"
    )


def _form_mistake(got, draws):
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} came back; return a tensor (draws,), one mean for each draw"
    if got.shape == (2,):
        return "two numbers came back, the ends of an interval; asked are all the means, (draws,)"
    if got.shape != (draws,):
        return f"a tensor of shape {tuple(got.shape)} came back for {draws} draws; one mean for each draw is (draws,)"
    if empty := int(got.isnan().sum()):
        return f"{empty} of {draws} means are nan, 0 / 0: draws without any unit, as a Poisson bootstrap has; each draw takes as many units as there are"
    return None


def _spread_mistake(got, values, units, name):
    found, right = _described(got), _described(bootstrap_by_unit(values, units, DRAWS, 0))
    if _alike(found, right):
        return None
    for wrong, message in WRONG_DRAWS:
        if _alike(found, _described(wrong(values, units))):
            return f"for {name}: {message}"
    return (
        f"for {name} the means of {DRAWS} draws lie around {found[0]:.3f} with a standard deviation of {found[1]:.3f}; "
        f"they should around {right[0]:.3f} with {right[1]:.3f}"
    )


def _described(means):
    return means.double().mean().item(), means.double().std().item()


def _alike(found, right):
    """As two honest bootstraps of DRAWS draws are: five standard errors of the mean, an eighth of the spread."""
    return (
        abs(found[0] - right[0]) < 1e-6 + 7 * right[1] / DRAWS**0.5 and abs(found[1] - right[1]) < 1e-6 + right[1] / 8
    )


def _unit_means(values, units):
    labels = list(dict.fromkeys(units))
    return torch.stack([values[[i for i, unit in enumerate(units) if unit == label]].mean() for label in labels])


def _of_rows(values, units):
    return bootstrap_by_unit(values, list(range(len(values))), DRAWS, 1)


def _of_unit_means(values, units):
    means = _unit_means(values, units)
    return bootstrap_by_unit(means, list(range(len(means))), DRAWS, 1)


def _without_replacement(values, units):
    return values.mean().expand(DRAWS)


def _counted_once(values, units):
    labels = list(dict.fromkeys(units))
    number = torch.tensor([labels.index(unit) for unit in units])
    generator, means = torch.Generator().manual_seed(1), []
    for _ in range(DRAWS):
        picked = torch.randint(len(labels), (len(labels),), generator=generator)
        means.append(values[torch.isin(number, picked)].mean())
    return torch.stack(means)


def _as_many_as_rows(values, units):
    labels = list(dict.fromkeys(units))
    number = torch.tensor([labels.index(unit) for unit in units])
    sums = torch.zeros(len(labels)).index_add_(0, number, values)
    sizes = torch.bincount(number)
    picks = torch.randint(len(labels), (DRAWS, len(values)), generator=torch.Generator().manual_seed(1))
    return sums[picks].sum(1) / sizes[picks].sum(1)


WRONG_DRAWS = (
    (_as_many_as_rows, "it draws as many units as there are rows; draw as many as there are units"),
    (_of_rows, "single rows are drawn; draw units, and take all rows of each"),
    (_of_unit_means, "each unit's mean counts the same; a unit with more rows weighs more: add up sums and sizes, then divide"),
    (_without_replacement, "every draw gives the same mean: units are drawn with replacement, so some come twice and some not at all"),
    (_counted_once, "a unit that is drawn twice counts once; it counts twice"),
)  # fmt: skip
