"""The exercise of notebook 00 that counts mirror sets by how many of their two rows are ranked right."""

import operator

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, Wrong, tried


def sets_by_rows_right(groups, margins):
    """How many sets have no, one and two rows with a margin above 0: a list of three counts."""
    rows_right = {}  # set -> how many of its rows are ranked right
    for group, margin in zip(groups, margins):
        rows_right[group] = rows_right.get(group, 0) + int(margin > 0)
    return [list(rows_right.values()).count(n) for n in (0, 1, 2)]


SETS = (  # the set of each row, its margin, and how many sets have 0, 1 and 2 rows right
    (["a", "a", "b", "b", "c", "c"], [1.0, -2.0, 0.5, 2.1, 3.0, -0.1], [0, 2, 1]),
    (["a", "b", "b", "a", "c", "c"], [-1.0, 1.0, 0.2, -0.5, 0.4, -0.4], [1, 1, 1]),  # rows that are no neighbors
    (["x", "y", "x", "y", "z", "z"], [0.0, 0.0, 1.0, 0.0, 0.0, 2.0], [1, 2, 0]),
    (["q", "p", "q", "p"], [2.0, 1.0, 0.01, 5.0], [0, 0, 2]),
    (["k", "l", "m", "l", "m", "k", "n", "n"], [-1.0, -2.0, 0.5, -0.3, -0.2, -0.1, -4.0, -9.0], [3, 1, 0]),
    (["a", "b", "a"], [0.4, -1.0, 1e-9], [1, 0, 1]),  # a margin just above 0; b has lost a row
)


def sets_by_rows_right_mistake(function):
    found = []
    for groups, margins, _ in SETS:
        found.append(_counts(tried(function, groups, margins)))
        if len(found[-1]) != 3:
            return (
                f"it gave {len(found[-1])} numbers, {found[-1]}; return three: how many sets have 0, 1 and 2 rows right"
            )
    if all(counts == found[0] for counts in found):
        return f"it gives {found[0]} for {len(SETS)} different inputs: groups and margins do not enter"
    for (groups, margins, right), counts in zip(SETS, found):
        if counts != right:
            given = f"for the sets {' '.join(groups)} with margins {', '.join(f'{m:g}' for m in margins)}"
            return f"{given} it gave {counts}{_what_is_wrong(groups, margins, right, counts)}"
    tensor = torch.tensor(SETS[0][1])
    if _counts(tried(function, SETS[0][0], tensor)) != SETS[0][2]:
        return "right for a list of margins, wrong for a tensor, which is what the cell below hands in"
    return None


def _what_is_wrong(groups, margins, right, counts):
    sets = len(set(groups))
    if counts == right[::-1]:
        return ": the wrong way round; first the sets with no row right, and right is above 0"
    if sum(counts) == len(groups):
        return f", which adds up to the rows; count sets, {sets} here"
    if sum(counts) > sets:
        return f", {sum(counts)} sets where there are {sets}: rows of a set need not be neighbors"
    if counts == sets_by_rows_right(groups, [int(m) for m in margins]):
        return ": a margin between 0 and 1 is above 0 too; do not cut it to an integer"
    if counts == sets_by_rows_right(groups, [m if m > 1e-6 else 0.0 for m in margins]):
        return f": a margin of {min(m for m in margins if m > 0):g} is above 0 too; no threshold but 0"
    if len(groups) % 2 and sum(counts) == len(groups) // 2:
        return f": a set may have lost a row, so {len(groups)} rows can be {sets} sets; count the labels"
    if counts[1:] == right[1:]:
        return ": sets with no row right are lost, since they are never counted up"
    if counts == _neighbors(margins):
        return ": it takes neighboring rows for a set; the labels in `groups` say which belong"
    if counts == sets_by_rows_right(groups, [m if m else 1.0 for m in margins]):
        return ": a margin of 0 is a tie, and not above 0"
    return f", not {right}"


def _counts(answer):
    if not isinstance(answer, list):
        raise Wrong(f"it gave the {type(answer).__name__} {answer}; return a list of three counts")
    try:
        return [operator.index(count) for count in answer]
    except TypeError:
        raise Wrong(f"it gave {answer}; counts are integers") from None


def _neighbors(margins):
    right = [int(m > 0) + int(n > 0) for m, n in zip(margins[::2], margins[1::2])]
    return [right.count(n) for n in (0, 1, 2)]


EXERCISES = {
    "0.4": Exercise(
        sets_by_rows_right,
        hints=(
            "First a dict: for each set, how many of its rows are right. Start every set at 0, also those with none right.",
            "Then count in the values of the dict: list(values).count(0), and so on.",
        ),
        mistake=sets_by_rows_right_mistake,
    )
}
