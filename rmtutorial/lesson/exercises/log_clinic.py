"""Exercise 3.5: which fault has which run? The runs were recorded by tests/bench/log_clinic.py."""

from rmtutorial.lesson import recorded
from rmtutorial.lesson.exercises.exercise import Exercise, tried

RUNS = {
    "A": "noisy labels", "B": "prompt end read", "C": "leak", "D": "rate too high",
    "E": "healthy", "F": "memorised", "G": "labels of the first batch", "H": "labels flipped",
}  # fmt: skip

CLUES = {
    "healthy": "training and held-out loss fall together and stay close; what is wrong with that?",
    "rate too high": "the mean reward runs far away from 0 and back while all rewards stay close together: the states broke",
    "memorised": "the training loss goes to zero while the held-out loss turns and rises",
    "noisy labels": "the held-out loss falls below the training loss, yet stays above the healthy one's, and no row was seen",
    "labels flipped": "the training curve is fine, and held-out accuracy is well below one half",
    "leak": "held-out is better than training by far, also in accuracy: it must have been seen",
    "prompt end read": "loss ln 2 and margin 0 throughout, with a gradient that is rounding alone, though rewards differ",
    "labels of the first batch": "held-out accuracy stays at one half and held-out loss above ln 2: there was no rule to find",
}


def runs():
    """{letter: History} of the eight recorded runs."""
    return {letter: recorded.history(recorded.load(f"clinic {name}")) for letter, name in RUNS.items()}


def diagnose():
    """The fault of each run: a dict, letter -> one of the eight names."""
    return {
        "A": "noisy labels", "B": "prompt end read", "C": "leak", "D": "rate too high",
        "E": "healthy", "F": "memorised", "G": "labels of the first batch", "H": "labels flipped",
    }  # fmt: skip


def diagnose_mistake(function):
    got = tried(function)
    if not isinstance(got, dict):
        return f"it gave a {type(got).__name__}; return a dict, letter -> name"
    if unknown := [str(name) for name in got.values() if name not in CLUES]:
        return f"no run is called {', '.join(unknown)}; the names are {', '.join(CLUES)}"
    if missing := [letter for letter in RUNS if letter not in got]:
        return f"no diagnosis for {', '.join(missing)}"
    if twice := sorted({name for name in got.values() if list(got.values()).count(name) > 1}):
        return f"each fault occurs once; you gave more than one run the name {', '.join(twice)}"
    wrong = [letter for letter, name in RUNS.items() if got[letter] != name]
    if wrong:
        letter = wrong[0]
        return f"{len(RUNS) - len(wrong)} of {len(RUNS)} are right. Run {letter} is not {got[letter]!r}: {CLUES[RUNS[letter]]}"
    return None


EXERCISES = {
    "3.5": Exercise(
        diagnose,
        hints=(
            "Begin with those whose training loss does not fall below ln 2, or falls to nearly 0.",
            "Then compare held-out with training: which of the two should be better, and by how much?",
            "A gradient norm of 0.00 and a mean reward near 10 belong to one run each.",
        ),
        mistake=diagnose_mistake,
    )
}
