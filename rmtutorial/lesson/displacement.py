"""What DPO does to the two answers of a pair: how far log pi of each moves, and for which pairs both fall.

"Likelihood displacement" (Razin et al. 2024): the chosen answer becomes less probable too. Pal et al. (2024) find it where
the answers are alike. Letters: n pairs.
"""

import difflib

import torch

from rmtutorial.intervals import grouped_interval
from rmtutorial.losses import bradley_terry_loss


def changes(policy, encoded, cache=None):
    """log pi - log pi_ref of both answers of n encoded pairs, (n, 2) nats, the chosen answer's first."""
    return policy.score_encoded(encoded, cache=cache) / policy.beta


def similarity(encoded):
    """How alike the two answers of each pair are, (n,): 1 for the same tokens in the same order, 0 for none in common.

    2 M / T, with M matching tokens in blocks of the same order and T tokens in all (Ratcliff & Metzener 1988, as
    Python's difflib), the end mark left out, which all answers share.
    """
    answers = [[y.ids[y.start : -1] for y in both] for both in encoded]
    return torch.tensor([difflib.SequenceMatcher(None, *both, autojunk=False).ratio() for both in answers])


def thirds(values):
    """The least, the middle and the greatest third of values (n,), as index tensors."""
    return torch.tensor_split(values.argsort(stable=True), 3)


def displacement_table(change, groups, unit):
    """Mean change of log pi and share of fallen chosen answers, a row a group, with intervals by unit: a pandas table.

    Args: change (n, 2) nats; groups, {name: indices of pairs}; unit, n labels (`intervals.units`).
    """
    import pandas

    rows = {}
    for name, some in groups.items():
        of, (chosen, rejected) = [unit[i] for i in some], change[some].T
        low, high = grouped_interval(chosen, of)
        rows[name] = {
            "pairs": len(of), "chosen": chosen.mean().item(), "low": low, "high": high, "rejected": rejected.mean().item(),
            "chosen fell": (chosen < 0).double().mean().item(), "right": (chosen > rejected).double().mean().item(),
        }  # fmt: skip
    return pandas.DataFrame.from_dict(rows, orient="index")


def by_kind(pairs):
    """{"edit", "mirror": indices}: the slices of the bundled rows."""
    return {
        kind: torch.tensor([i for i, pair in enumerate(pairs) if pair.kind == kind])
        for kind in sorted({pair.kind for pair in pairs})
    }


def gradient_cosines(policy, encoded):
    """Cosines (n, n) between the gradients of the loss of single pairs, in all weights that learn.

    Two rows of a mirror set have the same answers, exchanged: what makes an answer likelier to any prompt cancels
    between them, and only what ties an answer to its prompt is left.
    """
    learning = [p for p in policy.parameters() if p.requires_grad]
    rows = []
    for both in encoded:
        loss = bradley_terry_loss(*policy(policy.batch([both])).unbind(1))
        rows.append([g.flatten() for g in torch.autograd.grad(loss, learning)])
    products = sum(  # (n, n), weight matrix by weight matrix
        torch.stack(one) @ torch.stack(one).T for one in zip(*rows)
    )
    lengths = products.diagonal().sqrt()
    return products / (lengths[:, None] * lengths)
