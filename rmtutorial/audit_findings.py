"""What a finding of an audit is, and the pairs that it is found in."""

from dataclasses import dataclass

LEVELS = ("spoils", "look", "note")  # would spoil a training; worth a look; good to know
SHOWN = 3  # row numbers
HELD_OUT = "The held-out accuracy is then measured on what was trained on."


@dataclass
class Finding:
    """What, in how many rows (the numbers of the first ones), why it matters, and what to do."""

    level: str
    what: str
    count: int
    rows: list
    why: str
    do: str
    unit: str = "row"


@dataclass
class Pairs:
    """Usable pairs with the numbers of their rows and the split that each row names, or None."""

    numbers: list
    pairs: list
    named: list
    unit: str = "row"

    def finding(self, level, what, indices, why, do):
        """[a Finding about the pairs with these indices], or [] where there are none."""
        indices = sorted(indices)
        numbers = [self.numbers[i] for i in indices[:SHOWN]]
        return [Finding(level, what, len(indices), numbers, why, do, self.unit)] if indices else []

    def level(self, indices, spoils):
        """How bad: "spoils" from that share of the pairs on, else "look"."""
        return "spoils" if len(indices) >= spoils * len(self.pairs) else "look"

    def every(self, most):
        """Indices of at most that many pairs, evenly spread."""
        n = len(self.pairs)
        return list(range(n)) if n <= most else [i * n // most for i in range(most)]

    def sample(self, most):
        """These pairs."""
        indices = self.every(most)
        return Pairs(*([part[i] for i in indices] for part in (self.numbers, self.pairs, self.named)), self.unit)


def order(findings):
    """The worst first, and of those the most frequent."""
    return sorted(findings, key=lambda finding: (LEVELS.index(finding.level), -finding.count))
