"""Exercises of notebook 02: pairs of a ranking, a split by prompt, noisy labels; the bootstrap, a loss that knows ties."""

import itertools

from rmtutorial.lesson.exercises import bootstrap, splitting
from rmtutorial.lesson.exercises.exercise import Exercise, named, same, shown, tried
from rmtutorial.lesson.exercises.ties import davidson_loss, davidson_loss_mistake

EXERCISES = {}


def ranking_to_pairs(answers):
    """List of (better, worse) tuples from K answers ranked best first: AB, AC, AD, BC, ..."""
    from itertools import combinations  # here, because the notebook has not imported it

    return list(combinations(answers, 2))


FRUITS = ["pear", "fig", "quince", "apple"]  # best first; the order of the alphabet is another one


def ranking_to_pairs_mistake(function):
    got = [tuple(pair) for pair in tried(function, FRUITS)]
    for wrong, message in _wrong_pairs(FRUITS):
        if sorted(got) == sorted(wrong):
            return message
    if sorted(got) != sorted(ranking_to_pairs(FRUITS)):
        return f"for the answers {FRUITS}, best first, it gave {got}"
    for others in ([7, 3, 9, 1, 5], ["b", "c", "a"], [2, 1], ["alone"]):
        got = [tuple(pair) for pair in tried(function, others)]
        if sorted(got) != sorted(ranking_to_pairs(others)):
            return f"right for four answers; for the {len(others)} answers {others} it gave {got}"
    return None


def _wrong_pairs(answers):
    right = ranking_to_pairs(answers)
    swapped = [(worse, better) for better, worse in right]
    alphabet = ranking_to_pairs(sorted(answers))
    order = "the order of the alphabet decides, not the ranking: the best answer stands first in the list"
    return [
        (list(itertools.pairwise(answers)), "only neighbors are compared; a ranking of 4 says 4 * 3 / 2 = 6 things"),
        ([(answers[0], x) for x in answers[1:]], "only the best is compared, with each of the others; those beat each other, too"),
        (right + swapped, "every pair stands there twice, once with the worse answer first"),
        (swapped, "the worse answer stands first; a pair is (better, worse)"),
        (alphabet, order),
        ([(b, a) for a, b in alphabet], order),
        (right + [(x, x) for x in answers], "an answer is compared with itself"),
    ]  # fmt: skip


EXERCISES["2.1"] = Exercise(
    ranking_to_pairs,
    hints=("Every answer beats all that stand behind it.", "itertools.combinations keeps the order."),
    mistake=ranking_to_pairs_mistake,
)


def split_by_prompt(pairs, share, seed):
    """(train, held_out): two lists of pairs without a prompt on both sides.

    `round(share * number of prompts)` prompts are held out, all pairs of a prompt together.
    pairs have a text `pair.prompt`; seed makes the choice of prompts random but repeatable.
    """
    import random  # here, because the notebook has not imported it

    prompts = sorted({pair.prompt for pair in pairs})
    random.Random(seed).shuffle(prompts)
    held_out = set(prompts[: round(share * len(prompts))])
    return [p for p in pairs if p.prompt not in held_out], [p for p in pairs if p.prompt in held_out]


EXERCISES["2.2"] = Exercise(
    split_by_prompt,
    hints=(
        "Shuffle prompts, each of them once: sorted({pair.prompt for pair in pairs}), by random.Random(seed).",
        "Put the held-out prompts into a set; a pair is held out if its prompt is in it.",
    ),
    mistake=splitting.split_by_prompt_mistake,
)


def measured_accuracy(true_accuracy, flipped):
    """The accuracy measured when the share `flipped` of the labels is wrong; both 0 to 1."""
    return true_accuracy * (1 - flipped) + (1 - true_accuracy) * flipped


def measured_accuracy_mistake(function):
    got = tried(function, 0.9, 0.2)
    if mistake := named(got, _wrong_accuracies(0.9, 0.2)):
        return mistake
    if not same(got, 0.74):
        return f"for a true accuracy of 0.9 and 0.2 of the labels flipped it gave {shown(got)}, not 0.74"
    if not same(tried(function, 1.0, 0.5), 0.5):
        return "with half of the labels flipped, any model measures 0.5"
    for true, flipped in ((0.65, 0.118), (0.3, 0.1), (0.9, 0.8), (0.2, 0.7), (0.0, 0.0)):
        right = true * (1 - flipped) + (1 - true) * flipped
        if not same(got := tried(function, true, flipped), right):
            return f"for a true accuracy of {true} and {flipped} of the labels flipped it gave {shown(got)}, not {right:.4f}; do not round, and do not clip: below one half is an accuracy, too"
    return None


def _wrong_accuracies(true, flipped):
    return [
        (true - flipped, "subtracting counts every flipped label as an error; where the model was wrong, a flipped label makes it right"),
        (true * (1 - flipped), "one half of the story: it can also be wrong on a flipped label, and then it is counted right"),
        (1 - flipped, "that is the most a perfect model reaches; this one is right in 0.9"),
        (true * flipped + (1 - true) * (1 - flipped), "the two are exchanged: that is the share that is measured as wrong"),
    ]  # fmt: skip


EXERCISES["2.3"] = Exercise(
    measured_accuracy,
    hints=("Two ways to be counted right: right and not flipped, or ...", "... wrong and flipped."),
    mistake=measured_accuracy_mistake,
)

EXERCISES["2.4"] = Exercise(
    bootstrap.bootstrap_by_unit,
    hints=(
        "For each unit two numbers: the sum of its values and how many there are (a dict from label to rows).",
        "picks = torch.randint(G, (draws, G), generator=torch.Generator().manual_seed(seed)): numbers of units.",
        "sums[picks] is (draws, G); the mean of a draw is the sum of its sums by the sum of its sizes.",
    ),
    mistake=bootstrap.bootstrap_by_unit_mistake,
)

EXERCISES["2.5"] = Exercise(
    davidson_loss,
    hints=(
        "Three numbers that are exponentiated and divided by their sum: that is a softmax, over margin / 2, -margin / 2, log nu.",
        "torch.stack([...], dim=1) gives (B, 3); log_nu.expand(len(margin)) repeats a scalar. F.cross_entropy takes it from there.",
    ),
    mistake=davidson_loss_mistake,
)
