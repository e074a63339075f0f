"""Exercises of the notebooks: check(key, function), hint(key), hint(key, 2), solution(key).

Right: your function comes back. Nothing tried: the reference comes back, and that is said. Wrong: a message that names
the mistake. So the cells that follow an exercise run in each of the three cases that lead on.

Exercise "3.1" stands in lesson_03.py, whole: reference, mistakes, hints. A new lesson is a new file.
"""

import importlib
import inspect
import pkgutil

from rmtutorial.lesson.exercises.exercise import Exercise, NotTried, Wrong, same, tried

__all__ = ["Exercise", "NotTried", "Wrong", "all_exercises", "check", "hint", "same", "solution", "tried"]


def check(key, function):
    """Return `function` if it solves exercise `key`, the reference if it is still the stub.

    Raises: Wrong, with the mistake; ValueError for a key that does not exist.
    """
    exercise = _exercise(key)
    try:
        mistake = exercise.mistake(function)
    except NotTried:
        print(f"Exercise {key}: not tried yet, going on with the reference solution.")
        return exercise.reference
    except Wrong as wrong:
        mistake = str(wrong)
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
    print(inspect.getsource(_exercise(key).reference))


def all_exercises():
    """dict: key -> Exercise, of all lessons in their order."""
    return {key: exercise for lesson in _lessons() for key, exercise in _of_lesson(lesson).items()}


def _exercise(key):
    lesson = f"lesson_{str(key).partition('.')[0]:0>2}"
    exercises = _of_lesson(lesson) if lesson in _lessons() else {}
    if key not in exercises:
        raise ValueError(f"exercise {key!r}: there are {', '.join(all_exercises())}")
    return exercises[key]


def _lessons():
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("lesson_"))


def _of_lesson(lesson):
    return importlib.import_module(f"{__name__}.{lesson}").EXERCISES  # at call time: lessons import from this package
