"""How good is a reward model? Accuracy with its interval, by axis, beside what a ruler would get."""

from dataclasses import dataclass, field
from math import sqrt

import torch

from rmtutorial.losses import bradley_terry_loss


def pairwise_accuracy(r_chosen, r_rejected):
    """Share of pairs ranked right, a tie counts one half; (B,) and (B,) -> float."""
    return ((r_chosen > r_rejected).float() + 0.5 * (r_chosen == r_rejected).float()).mean().item()


def wilson_interval(accuracy, n, z=1.96):
    """95 % interval of a proportion (Wilson 1927): unlike p +- 1.96 s it stays inside 0..1 at small n."""
    if n < 1:
        raise ValueError(f"n={n}: an interval needs at least one pair")
    center = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


@dataclass
class PairReport:
    """What `evaluate` found. Rewards and margins are in logits, the loss in nats."""

    n: int
    accuracy: float
    interval: tuple  # 95 %, Wilson, as if pairs were independent (pairs of one group are not quite)
    loss: float
    margin: float  # mean of r_chosen - r_rejected
    longer_wins: float  # accuracy of "the longer answer, in tokens, is the better one"
    r_chosen: torch.Tensor = field(repr=False)  # (n,)
    r_rejected: torch.Tensor = field(repr=False)  # (n,)
    by_axis: dict = field(default_factory=dict, repr=False)  # axis -> PairReport

    @property
    def margins(self):
        return self.r_chosen - self.r_rejected

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


def evaluate(rm, pairs, by_axis=True, cache=None):
    """Score PreferencePairs with a RewardModel (and a FeatureCache, if there is one) and summarize: a PairReport."""
    if not pairs:
        raise ValueError("nothing to evaluate: the list of pairs is empty")
    encoded = rm.encode_pairs(pairs)
    rewards = rm.score_encoded(encoded, cache=cache)  # (n, 2)
    lengths = torch.tensor([[len(answer.ids) - answer.start for answer in both] for both in encoded])  # (n, 2) tokens
    axes = sorted({pair.axis for pair in pairs} - {""}) if by_axis else []
    rows = {axis: [i for i, pair in enumerate(pairs) if pair.axis == axis] for axis in axes}
    report = _report(rewards, lengths)
    report.by_axis = {axis: _report(rewards[i], lengths[i]) for axis, i in rows.items()}
    return report


def measures(rewards, centering=0.0):
    """What a History row says of the rewards (B, 2) of one batch."""
    r_chosen, r_rejected = rewards.unbind(1)
    return {
        "loss": bradley_terry_loss(r_chosen, r_rejected, centering=centering).item(),
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


def accuracy_table(scores):
    """Accuracy with its 95 % interval of several judges: {name: scores (n, 2), the chosen answer's first} -> pandas."""
    import pandas

    rows = {}
    for name, pairs in scores.items():
        accuracy = pairwise_accuracy(*pairs.unbind(1))
        low, high = wilson_interval(accuracy, len(pairs))
        rows[name] = {"accuracy": accuracy, "low": low, "high": high, "pairs": len(pairs)}
    return pandas.DataFrame.from_dict(rows, orient="index")


def _report(rewards, lengths):
    r_chosen, r_rejected = rewards.unbind(1)
    accuracy = pairwise_accuracy(r_chosen, r_rejected)
    return PairReport(
        n=len(rewards),
        accuracy=accuracy,
        interval=wilson_interval(accuracy, len(rewards)),
        loss=bradley_terry_loss(r_chosen, r_rejected).item(),
        margin=(r_chosen - r_rejected).mean().item(),
        longer_wins=pairwise_accuracy(*lengths.unbind(1)),
        r_chosen=r_chosen,
        r_rejected=r_rejected,
    )
