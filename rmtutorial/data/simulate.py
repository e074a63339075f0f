"""Simulated labels: noise and annotators made by script, from checksums of the ids, never from people.

    python -m rmtutorial.data.simulate FILE.jsonl

writes the simulated votes of five annotators on all training and held-out pairs.
"""

import json
import sys
from dataclasses import replace
from math import comb

import torch

from rmtutorial.data.baselines import words
from rmtutorial.data.build import chance
from rmtutorial.files import write_text
from rmtutorial.preferences import load_preferences

SLOPE = 0.8  # of the log-odds of a vote in the author's strength of preference: about three of four votes of two annotators then agree

# Log-odds that a simulated annotator adds for an answer that is 10 words longer, or that agrees with the user.
ANNOTATORS = {
    "careful 1": {"strength": 1.0, "length": 0.0, "flattery": 0.0},
    "careful 2": {"strength": 1.0, "length": 0.0, "flattery": 0.0},
    "hurried": {"strength": 0.4, "length": 0.0, "flattery": 0.0},
    "length lover": {"strength": 1.0, "length": 1.0, "flattery": 0.0},
    "flattery lover": {"strength": 1.0, "length": 0.0, "flattery": 2.0},
}


def flip_labels(pairs, share):
    """Label noise: exchange chosen and rejected in about `share` of the pairs.

    Which ones depends on the pair's id only (its column `flip_u`), so the pairs flipped at 0.1 are among those
    flipped at 0.2, and the truth stays known. Returns a new list.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}: must be between 0 and 1")
    return [exchange(pair) if flip_u(pair) < share else pair for pair in pairs]


def exchange(pair):
    """The same comparison with the opposite label."""
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen)


def flip_u(pair):
    """A fixed number in [0, 1) for each pair."""
    return round(chance("flip " + pair.id), 6)


def vote_probability(pair, annotator):
    """P(this simulated annotator votes for the chosen answer) = sigmoid(strength + what it is biased towards)."""
    weights = ANNOTATORS[annotator]
    longer = (len(words(pair.chosen)) - len(words(pair.rejected))) / 10
    flattering = agrees(pair.chosen) - agrees(pair.rejected)
    logit = SLOPE * weights["strength"] * pair.strength + weights["length"] * longer + weights["flattery"] * flattering
    return torch.sigmoid(torch.tensor(logit)).item()


def agrees(answer):
    return answer.lower().startswith(("yes", "you're right", "that's right", "exactly", "right", "correct"))


def majority(p, voters=5):
    """P(more than half of an odd number of voters are right), each by chance of their own with probability p (B,): (B,)."""
    return sum(comb(voters, k) * p**k * (1 - p) ** (voters - k) for k in range(voters // 2 + 1, voters + 1))


def simulated_votes(pairs):
    """One row a pair: its id and, for every simulated annotator, 1 for the chosen answer and 0 for the other."""
    return [
        {"id": pair.id}
        | {f"sim_{name}": int(chance(f"{name} {pair.id}") < vote_probability(pair, name)) for name in ANNOTATORS}
        for pair in pairs
    ]


def agreement(votes):
    """Share of two simulated annotators' votes, over all pairs and all couples of annotators, that are the same."""
    table = torch.tensor([[row[f"sim_{name}"] for name in ANNOTATORS] for row in votes]).float()  # (N, A)
    for_chosen, n = table.sum(1), table.shape[1]
    same = for_chosen * (for_chosen - 1) + (n - for_chosen) * (n - for_chosen - 1)
    return (same / (n * (n - 1))).mean().item()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    votes = simulated_votes(load_preferences(split="all"))
    write_text(sys.argv[1], "".join(json.dumps(row) + "\n" for row in votes))
    print(f"{len(votes)} pairs, {len(ANNOTATORS)} simulated annotators; two of them agree in {agreement(votes):.3f}")
