"""Exercises of notebook 02: pairs of a ranking, a split by prompt, what noisy labels measure."""

from types import SimpleNamespace

from rmtutorial.lesson.exercises.exercise import Exercise, same, tried

EXERCISES = {}


def ranking_to_pairs(answers):
    """List of (better, worse) tuples from answers ranked best first: AB, AC, AD, BC, ..."""
    from itertools import combinations  # here, because the notebook has not imported it

    return list(combinations(answers, 2))


def ranking_to_pairs_mistake(function):
    six = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    got = [tuple(pair) for pair in tried(function, ["a", "b", "c", "d"])]
    if len(got) == 3:
        return "only neighbors are compared; a ranking of K answers says K (K - 1) / 2 things, here 6"
    if len(got) == 12:
        return "every pair stands there twice, once with the worse answer first"
    if set(got) == {(b, a) for a, b in six}:
        return "the worse answer stands first; a pair is (better, worse)"
    if sorted(got) != six:
        return f"for answers a, b, c, d, best first, it gave {got}"
    three = sorted(tuple(pair) for pair in tried(function, [1, 2, 3]))
    if three != [(1, 2), (1, 3), (2, 3)]:
        return f"right for four answers; for the answers 1, 2, 3 it gave {three}"
    return None


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


def split_by_prompt_mistake(function):
    pairs = [SimpleNamespace(prompt=f"p{i // 4}", chosen=f"c{i}", rejected="r") for i in range(80)]  # 20 prompts
    train, held_out = tried(function, pairs, 0.25, 0)
    shared = {p.prompt for p in train} & {p.prompt for p in held_out}
    if shared:
        return (
            f"{len(shared)} of 20 prompts stand on both sides, as a split by rows makes them: the leak of this chapter"
        )
    if len(train) + len(held_out) != len(pairs):
        return f"{len(pairs)} pairs went in and {len(train) + len(held_out)} came out"
    if len(held_out) > len(train):
        return "the sides are exchanged: `share` is held out, and (train, held_out) is the order"
    if len(held_out) != 20:
        return f"a quarter of 80 pairs (4 a prompt) is 20; {len(held_out)} are held out"
    if [p.prompt for p in tried(function, pairs, 0.25, 0)[1]] != [p.prompt for p in held_out]:
        return "the same seed gave two different splits; draw from random.Random(seed)"
    others = [[p.prompt for p in tried(function, pairs, 0.25, seed)[1]] for seed in (1, 2, 3)]
    if all(other == [p.prompt for p in held_out] for other in others):
        return "the seed changes nothing: always the same prompts are held out"
    return None


EXERCISES["2.2"] = Exercise(
    split_by_prompt,
    hints=(
        "Shuffle prompts, not pairs: sorted({pair.prompt for pair in pairs}), by random.Random(seed).",
        "Put the held-out prompts into a set; a pair is held out if its prompt is in it.",
    ),
    mistake=split_by_prompt_mistake,
)


def measured_accuracy(true_accuracy, flipped):
    """The accuracy measured when the share `flipped` of the labels is wrong; both 0 to 1."""
    return true_accuracy * (1 - flipped) + (1 - true_accuracy) * flipped


def measured_accuracy_mistake(function):
    got = tried(function, 0.9, 0.2)
    if same(got, 0.9 - 0.2):
        return (
            "subtracting counts every flipped label as an error; "
            "where the model was wrong, a flipped label makes it right"
        )
    if same(got, 0.9 * 0.8):
        return "one half of the story: it can also be wrong on a flipped label, and then it is counted right"
    if same(got, 0.8):
        return "that is the most a perfect model reaches; this one is right in 0.9"
    if not same(got, 0.74):
        return f"for a true accuracy of 0.9 and 0.2 of the labels flipped it gave {got}, not 0.74"
    if not same(tried(function, 1.0, 0.5), 0.5):
        return "with half of the labels flipped, any model measures 0.5"
    if not same(got := tried(function, 0.65, 0.118), 0.6146):
        return f"for a true accuracy of 0.65 and 0.118 of the labels flipped it gave {got}, not 0.6146; do not round"
    return None


EXERCISES["2.3"] = Exercise(
    measured_accuracy,
    hints=("Two ways to be counted right: right and not flipped, or ...", "... wrong and flipped."),
    mistake=measured_accuracy_mistake,
)
