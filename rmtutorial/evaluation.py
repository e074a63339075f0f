"""How good is a reward model? Accuracy and loss with intervals, by axis; and is one better than another?"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from rmtutorial.intervals import accuracy_interval, grouped_interval, mcnemar, units
from rmtutorial.losses import bradley_terry_loss


def pairwise_accuracy(r_chosen, r_rejected):
    """Share of pairs ranked right, a tie counts one half; (B,) and (B,) -> float."""
    return ((r_chosen > r_rejected).float() + 0.5 * (r_chosen == r_rejected).float()).mean().item()


@dataclass
class PairReport:
    """What `evaluate` found. Rewards and margins are in logits, the loss in nats."""

    n: int
    accuracy: float
    interval: tuple  # 95 %, of the accuracy, by a bootstrap over units (sets; prompts where there are no sets)
    loss: float
    margin: float  # mean of r_chosen - r_rejected
    longer_wins: float  # accuracy of "the longer answer, in tokens, is the better one"
    r_chosen: torch.Tensor = field(repr=False)  # (n,)
    r_rejected: torch.Tensor = field(repr=False)  # (n,)
    by_axis: dict = field(default_factory=dict, repr=False)  # axis -> PairReport
    pairs: list = field(default_factory=list, repr=False)  # n PreferencePairs, the rows

    @property
    def margins(self):
        return self.r_chosen - self.r_rejected

    @property
    def losses(self):
        return F.softplus(-self.margins)  # (n,) nats

    @property
    def right(self):
        return (self.margins > 0).float() + 0.5 * (self.margins == 0).float()  # (n,), 0.5 for a tie

    def sets_right(self, kind="mirror"):
        """{set: are all its rows ranked right?}, for the sets of one kind.

        Both rows of a mirror set have the same two answers, the other way round: who ignores the prompt has 0 here.
        """
        sets = {}
        for pair, margin in zip(self.pairs, self.margins.tolist()):
            if pair.kind == kind:
                sets[pair.group] = sets.get(pair.group, True) and margin > 0
        return sets

    def to_frame(self):
        """One row an axis and one for all, as a pandas table."""
        import pandas

        rows = {**self.by_axis, "all": self}
        columns = [
            {"pairs": r.n, "accuracy": r.accuracy, "low": r.interval[0], "high": r.interval[1],
             "longer wins": r.longer_wins, "chance": 0.5, "loss": r.loss, "margin": r.margin}
            for r in rows.values()
        ]  # fmt: skip
        return pandas.DataFrame(columns, index=list(rows)).rename_axis("axis")

    def to_dict(self):
        """Plain numbers, for JSON: one entry for all rows, and one an axis under `by_axis`."""
        names = ("n", "accuracy", "interval", "loss", "margin", "longer_wins")
        return {name: getattr(self, name) for name in names} | {
            "by_axis": {axis: report.to_dict() for axis, report in self.by_axis.items()}
        }

    def __str__(self):
        low, high = self.interval
        return (
            f"accuracy {self.accuracy:.2f} [{low:.2f}, {high:.2f}] on {self.n} pairs, loss {self.loss:.2f}, "
            f"mean margin {self.margin:.2f}; the longer answer wins: {self.longer_wins:.2f}, chance: 0.50"
        )


def evaluate(rm, pairs, by_axis=True, cache=None, by="group"):
    """Score PreferencePairs with a RewardModel (and a FeatureCache, if there is one) and summarize: a PairReport.

    `by` is the unit of the intervals: "group" (sets), "prompt", "topic" ... (`intervals.units`).
    """
    if not pairs:
        raise ValueError("nothing to evaluate: the list of pairs is empty")
    encoded = rm.encode_pairs(pairs)
    rewards = rm.score_encoded(encoded, cache=cache)  # (n, 2)
    lengths = torch.tensor([[len(answer.ids) - answer.start for answer in both] for both in encoded])  # (n, 2) tokens
    return report_of(rewards, lengths, pairs, by_axis, by)


def report_of(rewards, lengths, pairs, by_axis=True, by="group"):
    """The PairReport of rewards (n, 2) and lengths (n, 2), in tokens, of n PreferencePairs."""
    report = _report(rewards, lengths, pairs, by)
    for axis in sorted({pair.axis for pair in pairs} - {""}) if by_axis else []:
        rows = [i for i, pair in enumerate(pairs) if pair.axis == axis]
        report.by_axis[axis] = _report(rewards[rows], lengths[rows], [pairs[i] for i in rows], by)
    return report


@dataclass
class Comparison:
    """What one judge gains over another on the same rows; both intervals are 95 %, by a bootstrap over units."""

    n: int
    units: int
    loss_gain: float  # nats: how much lower the loss is
    loss_interval: tuple
    accuracy_gain: float
    accuracy_interval: tuple
    only_a: int  # rows that only the first ranks right
    only_b: int
    p: float  # McNemar's, of these two numbers, as if rows were independent

    def __str__(self):
        gain, (low, high), word = self.loss_gain, self.loss_interval, "lower"
        if gain < 0:
            gain, low, high, word = -gain, -high, -low, "higher"
        return (
            f"loss {word} by {gain:.3f} [{low:.3f}, {high:.3f}] nats, accuracy "
            f"{self.accuracy_gain:+.3f} [{self.accuracy_interval[0]:+.3f}, {self.accuracy_interval[1]:+.3f}], on {self.n} "
            f"rows of {self.units} units; right alone: {self.only_a} to {self.only_b} (McNemar p = {self.p:.3f})"
        )


def compare(a, b, by="group"):
    """What PairReport `a` gains over `b`, row by row: what is hard for both cancels, so small gains are seen.

    Two intervals that overlap say nothing about the difference; this does. `by` as in `evaluate`.
    Raises: ValueError unless both are of the same rows in the same order.
    """
    if a.pairs != b.pairs or not a.pairs:
        raise ValueError(f"reports of other rows ({a.n} and {b.n}): evaluate both on the same pairs, in the same order")
    unit = units(a.pairs, by)
    gain, right = b.losses - a.losses, a.right - b.right  # (n,)
    only_a, only_b = ((x.margins > 0) & (y.margins <= 0) for x, y in ((a, b), (b, a)))
    return Comparison(
        n=a.n,
        units=len(set(unit)),
        loss_gain=gain.mean().item(),
        loss_interval=grouped_interval(gain, unit),
        accuracy_gain=right.mean().item(),
        accuracy_interval=grouped_interval(right, unit),
        only_a=int(only_a.sum()),
        only_b=int(only_b.sum()),
        p=mcnemar(int(only_a.sum()), int(only_b.sum())),
    )


def measures(rewards, centering=0.0, lead=None):
    """What a History row says of the rewards (B, 2) of one batch; the loss is the one that is trained."""
    r_chosen, r_rejected = rewards.unbind(1)
    return {
        "loss": bradley_terry_loss(r_chosen, r_rejected, lead, centering).item(),
        "accuracy": pairwise_accuracy(r_chosen, r_rejected),
        "margin": (r_chosen - r_rejected).mean().item(),
        "reward_chosen": r_chosen.mean().item(),
        "reward_rejected": r_rejected.mean().item(),
        "reward_mean": rewards.mean().item(),
        "reward_std": rewards.std().item(),
    }


def summary(rewards):
    """What a History keeps of held-out rewards (N, 2)."""
    found = measures(rewards)
    return {key: found[key] for key in ("loss", "accuracy", "margin", "reward_chosen", "reward_rejected")}


def accuracy_table(scores, pairs, by="group"):
    """Accuracy with its 95 % interval of several judges: {name: scores (n, 2), the chosen answer's first} -> pandas."""
    import pandas

    unit = units(pairs, by)
    rows = {}
    for name, found in scores.items():
        right = (found[:, 0] > found[:, 1]).float() + 0.5 * (found[:, 0] == found[:, 1]).float()  # (n,)
        low, high = accuracy_interval(right, unit)
        rows[name] = {"accuracy": right.mean().item(), "low": low, "high": high, "pairs": len(found)}
    return pandas.DataFrame.from_dict(rows, orient="index")


def _report(rewards, lengths, pairs, by):
    r_chosen, r_rejected = rewards.unbind(1)
    report = PairReport(
        n=len(rewards),
        accuracy=pairwise_accuracy(r_chosen, r_rejected),
        interval=(0.0, 1.0),
        loss=bradley_terry_loss(r_chosen, r_rejected).item(),
        margin=(r_chosen - r_rejected).mean().item(),
        longer_wins=pairwise_accuracy(*lengths.unbind(1)),
        r_chosen=r_chosen,
        r_rejected=r_rejected,
        pairs=list(pairs),
    )
    report.interval = accuracy_interval(report.right, units(pairs, by))
    return report
