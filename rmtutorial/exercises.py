"""Exercises of the notebooks: check(key, function), hint(key), hint(key, 2), solution(key).

Right: your function comes back. Nothing tried: the reference comes back, and that is said. Wrong: a message that names
the mistake. So the cells that follow an exercise run in each of the three cases that lead on.
"""

import inspect

from rmtutorial import solutions
from rmtutorial.exercise_checks import EXERCISES, NotTried


class Wrong(AssertionError):
    """An answer that is not right; the message names the mistake."""


def check(key, function):
    """Return `function` if it solves exercise `key`, the reference if it is still the stub.

    Raises: Wrong, with the mistake; ValueError for a key that does not exist.
    """
    exercise = _exercise(key)
    try:
        mistake = exercise.mistake(function)
    except NotTried:
        print(f"Exercise {key}: not tried yet, going on with the reference solution.")
        return _reference(exercise)
    except Exception as error:
        mistake = f"it raised {type(error).__name__}: {error}"
    if mistake:
        raise Wrong(f"Exercise {key}: {mistake}\n(To go on without it, put ... back into the stub.)") from None
    print(f"Exercise {key}: right.")
    return function


def hint(key, number=1):
    """Print one hint of an exercise, the gentlest first, and how to ask for the next.

    Raises: ValueError for a key or a number that does not exist.
    """
    hints = _exercise(key).hints
    if number not in range(1, len(hints) + 1):
        raise ValueError(f"hint {number} of exercise {key}: there are {len(hints)}, counted from 1")
    print(f"Hint {number} of {len(hints)}: {hints[number - 1]}")
    if number < len(hints):
        print(f'There is another one: hint("{key}", {number + 1})')


def solution(key):
    """Print the reference solution, the same code that the tests run."""
    print(inspect.getsource(_reference(_exercise(key))))


def _exercise(key):
    if key not in EXERCISES:
        raise ValueError(f"exercise {key!r}: there are {', '.join(EXERCISES)}")
    return EXERCISES[key]


def _reference(exercise):
    return getattr(solutions, exercise.solution)
