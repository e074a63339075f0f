"""The exercise of notebook 00 that counts mirror sets by how many of their two rows are ranked right."""

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, Wrong, tried


def sets_by_rows_right(groups, margins):
    """How many sets have no, one and two rows with a margin above 0: a list of three counts."""
    rows_right = {}  # set -> how many of its rows are ranked right
    for group, margin in zip(groups, margins):
        rows_right[group] = rows_right.get(group, 0) + int(margin > 0)
    return [list(rows_right.values()).count(n) for n in (0, 1, 2)]


SETS = (  # the set of each row, its margin, and how many sets have 0, 1 and 2 rows right
    (["a", "a", "b", "b", "c", "c"], [1.0, -2.0, 0.5, 0.1, 3.0, -0.1], [0, 2, 1]),
    (
        ["a", "b", "b", "a", "c", "c"],
        [-1.0, 1.0, 0.2, -0.5, 0.4, -0.4],
        [1, 1, 1],
    ),  # rows of a set need not be neighbors
    (["x", "y", "x", "y", "z", "z"], [0.0, 0.0, 1.0, 0.0, 0.0, 2.0], [1, 2, 0]),
    (["q", "p", "q", "p"], [2.0, 1.0, 0.01, 5.0], [0, 0, 2]),
    (["k", "l", "m", "l", "m", "k", "n", "n"], [-1.0, -2.0, 0.5, -0.3, -0.2, -0.1, -4.0, -9.0], [3, 1, 0]),
)


def sets_by_rows_right_mistake(function):
    for groups, margins, right in SETS:
        got = tried(function, groups, margins)
        if isinstance(got, dict):
            return f"it gave the dict {got}; return a list, [sets with 0 right, with 1, with 2]"
        counts = _as_list(got)
        if len(counts) != 3:
            return f"it gave {len(counts)} numbers, {counts}; return three: how many sets have 0, 1 and 2 rows right"
        given = f"for the sets {' '.join(groups)} with margins {', '.join(f'{m:g}' for m in margins)}"
        if counts == right:
            continue
        if counts == right[::-1]:
            return (
                f"{given} it gave {counts}: the wrong way round; first the sets with no row right, and right is above 0"
            )
        if sum(counts) == len(groups):
            return f"{given} it gave {counts}, which adds up to the rows; count sets, {len(set(groups))} here"
        if sum(counts) > len(set(groups)):
            return f"{given} it gave {counts}, {sum(counts)} sets where there are {len(set(groups))}: rows of a set need not be neighbors"
        if counts[1:] == right[1:]:
            return f"{given} it gave {counts}: sets with no row right are lost, since they are never counted up"
        if counts == _neighbors(margins):
            return f"{given} it gave {counts}: it takes neighboring rows for a set; the labels in `groups` say which belong"
        if counts == sets_by_rows_right(groups, [m if m else 1.0 for m in margins]):
            return f"{given} it gave {counts}: a margin of 0 is a tie, and not above 0"
        return f"{given} it gave {counts}, not {right}"
    tensor = torch.tensor(SETS[0][1])
    if _as_list(tried(function, SETS[0][0], tensor)) != SETS[0][2]:
        return "right for a list of margins, wrong for a tensor, which is what the cell below hands in"
    return None


def _as_list(answer):
    try:
        return [int(count) for count in answer]
    except (TypeError, ValueError):
        raise Wrong(f"it gave {answer!r}; return a list of three counts") from None


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
