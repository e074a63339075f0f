"""Answers to the exercises of notebook 00: wrong ones with what must be said of them, and other ways to be right."""

import math
from collections import Counter, defaultdict
from itertools import groupby

import torch
import torch.nn.functional as F

from rmtutorial.lesson.exercises import all_exercises

REFERENCE = {key: exercise.reference for key, exercise in all_exercises().items() if key.startswith("0.")}


def wrong_end_of_the_prompt(prompt_ids, eos_id, response_ids, max_length):
    return [*prompt_ids[: max(0, max_length - len(response_ids) - 1)], eos_id, *response_ids][-max_length:]


def answer_kept_whole(prompt_ids, eos_id, response_ids, max_length):
    room = max(0, max_length - len(response_ids))
    return [*prompt_ids, eos_id][len(prompt_ids) + 1 - room :] + response_ids


def answer_kept_whole_but_for_one_length(prompt_ids, eos_id, response_ids, max_length):
    if max_length < len(response_ids):
        return response_ids[-max_length:]
    return [*prompt_ids, eos_id][-(max_length - len(response_ids)) :] + response_ids


def join_in_place(prompt_ids, eos_id, response_ids, max_length):
    prompt_ids += [eos_id]
    prompt_ids += response_ids
    return prompt_ids[-max_length:]


def only_the_prompt_cut(prompt_ids, eos_id, response_ids, max_length):
    return [*prompt_ids[-1:], eos_id, *response_ids] if max_length < 6 else [*prompt_ids, eos_id, *response_ids]


def only_the_response_cut(prompt_ids, eos_id, response_ids, max_length):
    return [*prompt_ids, eos_id, *response_ids[-max(1, max_length - 3) :]]


def one_eos_for_all(prompt_ids, eos_id, response_ids, max_length):
    return [*prompt_ids, 0, *response_ids][-max_length:]


def no_second_eos(prompt_ids, eos_id, response_ids, max_length):
    between = [] if prompt_ids[-1:] == [eos_id] else [eos_id]
    return [*prompt_ids, *between, *response_ids][-max_length:]


def no_eos_without_a_prompt(prompt_ids, eos_id, response_ids, max_length):
    return [*prompt_ids, *([eos_id] if prompt_ids else []), *response_ids][-max_length:]


def zeroing_the_prompt(hidden, n_response):
    hidden[:-n_response] = 0
    return hidden.sum(0) / n_response


@torch.no_grad()
def without_gradient(hidden, n_response):
    return hidden[-n_response:].mean(0)


def row_by_row(groups, margins):
    """Exercise 0.4 by neighbors: rows that follow each other count as a set."""
    counts = [0, 0, 0]
    for _, rows in groupby(zip(groups, margins), key=lambda row: row[0]):
        counts[min(2, sum(float(m) > 0 for _, m in rows))] += 1
    return counts


def by_neighbors(groups, margins):
    right = [int(a > 0) + int(b > 0) for a, b in zip(margins[::2], margins[1::2])]
    return [right.count(n) for n in (0, 1, 2)]


def forgetting_zero(groups, margins):
    found = Counter(Counter(g for g, m in zip(groups, margins) if m > 0).values())
    return [found[n] for n in (0, 1, 2)]


def counting_rows(groups, margins):
    found = Counter()
    for group in groups:
        found[sum(1 for g, m in zip(groups, margins) if g == group and m > 0)] += 1
    return [found[n] for n in (0, 1, 2)]


def by_defaultdict(groups, margins):
    sets = defaultdict(list)
    for group, margin in zip(groups, margins):
        sets[group].append(margin > 0)
    found = Counter(sum(map(int, rows)) for rows in sets.values())
    return [found[n] for n in range(3)]


def taking_two_rows_a_set(groups, margins):
    _, one, two = REFERENCE["0.4"](groups, margins)
    return [len(groups) // 2 - one - two, one, two]


def with_margins(change):
    return lambda groups, margins: REFERENCE["0.4"](groups, [change(m) for m in margins])


WRONG = {
    "0.1": [
        (lambda p, e, r, m: (p + r)[-m:], "separator is missing"),
        (lambda p, e, r, m: [*p, *r, e][-m:], "EOS stands at the end"),
        (lambda p, e, r, m: [*p, e, *r][:m], "lost its right end"),
        (lambda p, e, r, m: [e, *p, *r], r"it gave \[0, 5, 6"),
        (wrong_end_of_the_prompt, "wrong end of the prompt"),
        (answer_kept_whole, "answer itself is too long"),
        (answer_kept_whole_but_for_one_length, r"for max_length 3 it gave 6 ids.*\[-0:\]"),
        (lambda p, e, r, m: [*p, e, *r] if m > 5 else [e, *r][-m:], r"cut to 5 tokens it gave \[0, 7, 8, 9\], not"),
        (only_the_prompt_cut, r"cut to 4 tokens it gave \[6, 0, 7, 8, 9\], not"),
        (only_the_response_cut, r"cut to 5 tokens it gave \[5, 6, 0, 8, 9\], not"),
        (lambda p, e, r, m: [*p, e, *r] if m > 5 else [*p[1:], e, *r[1:]], r"cut to 5 tokens it gave \[6, 0, 8, 9\]"),
        (join_in_place, "changes the list that it is given"),
        (one_eos_for_all, r"EOS 4 and response \[8\] it gave \[3, 0, 8\]"),
        (lambda p, e, r, m: torch.tensor([*p, e, *r][-m:]), "Tensor; return a list"),
        (lambda p, e, r, m: (*p, e, *r)[-m:], "tuple; return a list"),
        (lambda p, e, r, m: torch.tensor([*p, e, *r]).float().tolist()[-m:], "with a float in it: ids are integers"),
        (no_second_eos, r"prompt \[5, 0\], EOS 0 and response \[7\] it gave \[5, 0, 7\].*separator stands there"),
        (no_eos_without_a_prompt, r"prompt \[\], EOS 0 .* it gave \[7, 8\].*separator stands there"),
        (lambda p, e, r, m: [5, 6, 0, 7, 8, 9], r"for prompt \[3\], EOS 4 and response \[8\] it gave \[5, 6, 0"),
    ],
    "0.2": [
        (lambda h, n: h.mean(0), "prompt's tokens too"),
        (lambda h, n: h[-1], "last token alone"),
        (lambda h, n: h[-n:].mean(), "hidden size as well"),
        (lambda h, n: h[-n:].mean(1), "over the wrong thing"),
        (lambda h, n: h.mean(), "over the wrong thing"),
        (lambda h, n: h[-n:].sum(0), "that is the sum"),
        (lambda h, n: h[-n:].median(0).values, "that is the median"),
        (lambda h, n: h[-n:].max(0).values, "largest of each number"),
        (lambda h, n: h[-n:].min(0).values, "smallest of each number"),
        (lambda h, n: h[:n].mean(0), r"of shape \(3,\), not \["),
        (lambda h, n: h[n:].mean(0), r"`hidden\[n_response:\]` starts after n_response tokens"),
        (lambda h, n: h[n + 1 :].mean(0), r"of shape \(3,\), not"),
        (lambda h, n: h[-n - 1 :].mean(0), "one token too many"),
        (lambda h, n: h[-n:-1].mean(0), "one token too few"),
        (lambda h, n: h[-n - 1 : -1].mean(0), "one place too far left"),
        (lambda h, n: h[-n:].mean(0, keepdim=True), r"of shape \(1, 3\), not"),
        (lambda h, n: h[6:].mean(0), "right for 9 tokens, 3 of the response; for 5 and 2 it gave"),
        (lambda h, n: h[-3:].mean(0), "right for 9 tokens, 3 of the response; for 5 and 2 it gave"),
        (lambda h, n: h[len(h) - n :].mean(0), "`join` has cut into the response"),
        (lambda h, n: h[-n:].sum(0) / n, "`join` has cut into the response"),
        (lambda h, n: h[-n:].mean(0).tolist(), "it gave a list; return a tensor"),
        (lambda h, n: h[-n:].mean(0).detach(), "lost its gradient with respect to hidden"),
        (without_gradient, "lost its gradient with respect to hidden"),
        (lambda h, n: torch.tensor(h[-n:].detach().numpy().mean(0)), "lost its gradient with respect to hidden"),
        (lambda h, n: h[-n:].mean(0).double(), "it returns float64 for float32 states"),
        (lambda h, n: h[-n:].mean(0).half().float(), "it gave|right for 9"),
        (zeroing_the_prompt, "changes the tensor that it is given"),
    ],
    "0.3": [
        (lambda c, r: -torch.log(torch.sigmoid(r - c)), "sign of the margin is flipped"),
        (lambda c, r: torch.log(torch.sigmoid(c - r)), "minus before the logarithm is missing"),
        (lambda c, r: torch.sigmoid(c - r), "the loss is minus its logarithm"),
        (lambda c, r: -torch.sigmoid(c - r), "the logarithm is missing"),
        (lambda c, r: 1 - torch.sigmoid(c - r), "probability of the wrong outcome"),
        (lambda c, r: r - c, "sigmoid and the logarithm are missing"),
        (lambda c, r: -torch.log2(torch.sigmoid(c - r)), "in bits"),
        (lambda c, r: -torch.log10(torch.sigmoid(c - r)), "base 10"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r))[None], r"shape \(1,\)"),
        (lambda c, r: -F.logsigmoid(c), "rejected reward does not enter"),
        (lambda c, r: -F.logsigmoid(c) - F.logsigmoid(-r), "judges each answer for itself"),
        (lambda c, r: F.relu(1 - (c - r)), "for rewards 1.5 and -0.5 it gave 0.0, not 0.1269"),
        (lambda c, r: -math.log(1 / (1 + math.exp(r - c))), "it gave a float, which has no gradient"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r)).item(), "it gave a float, which has no gradient"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r)).detach(), "lost its gradient"),
        (lambda c, r: -torch.log(torch.sigmoid(c.detach() - r)), "gradient with respect to r_chosen"),
        (lambda c, r: 2 * F.softplus(r - c) - F.softplus(r - c).detach(), "its gradient with respect to r_chosen is"),
        (lambda c, r: F.softplus(r - c) if c != r else (r - c), "equal rewards cost ln 2"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r)).double(), "it returns float64 for float32"),
        (lambda c, r: -torch.log(torch.sigmoid((c - r).abs())), r"abs\(\) takes the sign of the margin away"),
        (lambda c, r: torch.tensor(0.6931), "gives 0.6931 for each of four pairs of rewards: they do not enter"),
        (lambda c, r: F.softplus((r - c).clamp(-5, 5)), r"At \+7, for rewards 3.5 and -3.5 it gave 0.0067.*A clamp"),
        (lambda c, r: F.softplus((r - c).clamp(max=5)), r"At -40, for rewards -20.0 and 20.0 it gave 5.0067, not 40.0"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r).clamp(min=1e-6)), "At -40, .* it gave 13.8155, not 40.0"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r) + 1e-8), "At -40, .* it gave 18.4207, not 40.0"),
    ],
    "0.4": [
        (by_neighbors, "takes neighboring rows for a set"),
        (row_by_row, "4 sets where there are 3: rows of a set need not be neighbors"),
        (forgetting_zero, "sets with no row right are lost"),
        (counting_rows, "which adds up to the rows; count sets, 3 here"),
        (with_margins(lambda m: -m), "the wrong way round.*right is above 0"),
        (with_margins(lambda m: m + 1e-9), "a tie, and not above 0"),
        (lambda g, m: REFERENCE["0.4"](g, m)[::-1], "the wrong way round"),
        (lambda g, m: dict(zip((0, 1, 2), REFERENCE["0.4"](g, m))), "it gave the dict"),
        (lambda g, m: tuple(REFERENCE["0.4"](g, m)), r"it gave the tuple \(0, 2, 1\); return a list"),
        (lambda g, m: torch.tensor(REFERENCE["0.4"](g, m)), "it gave the Tensor .*; return a list"),
        (lambda g, m: [count + 0.4 for count in REFERENCE["0.4"](g, m)], "counts are integers"),
        (lambda g, m: [0, 2, 1], r"it gives \[0, 2, 1\] for 6 different inputs: groups and margins do not enter"),
        (with_margins(int), "a margin between 0 and 1 is above 0 too"),
        (with_margins(lambda m: m - 1e-3), "a margin of 1e-09 is above 0 too; no threshold but 0"),
        (taking_two_rows_a_set, "a set may have lost a row, so 3 rows can be 2 sets"),
        (lambda g, m: sum(x > 0 for x in m), "return a list of three counts"),
        (lambda g, m: REFERENCE["0.4"](g, m)[1:], "it gave 2 numbers"),
        (lambda g, m: REFERENCE["0.4"](g, m) if len(g) < 8 else [0, 4, 0], r"not \[3, 1, 0\]"),
        (lambda g, m: m.sort() or REFERENCE["0.4"](g, m), "changes the order of the list"),
        (lambda g, m: REFERENCE["0.4"](g, m) if isinstance(m, list) else [0, 0, 0], "wrong for a tensor"),
    ],
}

RIGHT = {
    "0.1": [
        lambda p, e, r, m: (p + [e] + r)[-m:],  # noqa: RUF005
        lambda p, e, r, m: [*p, e, *r][max(0, len(p) + 1 + len(r) - m) :],
    ],
    "0.2": [
        lambda h, n: h[max(0, len(h) - n) :].mean(0),
        lambda h, n: h[-n:].sum(0) / len(h[-n:]),
        lambda h, n: torch.stack(list(h[-n:])).mean(dim=0),
        lambda h, n: torch.full((1, min(n, len(h))), 1 / min(n, len(h)), dtype=h.dtype)[0] @ h[-n:],
    ],
    "0.3": [
        lambda c, r: -F.logsigmoid(c - r),
        lambda c, r: F.softplus(r - c),
        lambda c, r: torch.log(1 + torch.exp(r - c)),
        lambda c, r: F.binary_cross_entropy_with_logits(c - r, torch.ones_like(c)),
        lambda c, r: -(torch.exp(c) / (torch.exp(c) + torch.exp(r))).log(),
        lambda c, r: -torch.log(1 / (1 + torch.exp(-(c - r)))),
    ],
    "0.4": [
        by_defaultdict,
        lambda g, m: list(map(by_defaultdict(g, m).__getitem__, range(3))),
        lambda g, m: list(torch.tensor(by_defaultdict(g, m))),
    ],
}
