"""The texts of an examination: few, so that it takes minutes, and each chosen for what it can show."""

from dataclasses import dataclass

from rmtutorial.preferences import load_preferences

EASY, MIRRORS, FEW = 32, 20, 12  # pairs; sets; pairs that are changed and read again
SLICE = 26  # pairs of a contrast slice
NAMES = {
    "len_long_wins": "the longer one is right", "len_short_wins": "the shorter one is right",
    "terse_wrong": "the sentence is right", "terse_right": "the single word is right",
    "fmt_structure_wins": "a list was asked for", "fmt_plain_wins": "it is decoration",
}  # fmt: skip


@dataclass
class Rows:
    """What is read; `easy` are the caller's own pairs where there are any."""

    easy: list  # PreferencePairs whose better answer is plain
    mirrors: list  # [(pair, pair)]: the same two answers to two prompts, each right once
    contrast: dict  # {slice: PreferencePairs}
    own: bool = False

    @property
    def few(self):
        """Of the easy ones, those that are changed and read again."""
        return self.easy[:FEW]


def rows_of(pairs=None):
    """The Rows: bundled ones, and of PreferencePairs of one's own EASY, evenly spread. ValueError for fewer than 8."""
    if pairs is not None and len(pairs) < 8:
        raise ValueError(f"{len(pairs)} pairs: an examination needs at least 8")
    best_and_worst = [pair for pair in load_preferences(split="rank4") if pair.id.endswith("-14")]
    easy = spread(best_and_worst if pairs is None else pairs, EASY)
    return Rows(easy, spread(mirror_sets(), MIRRORS), contrast_slices(), pairs is not None)


def spread(items, most):
    """At most so many, evenly spread."""
    n = len(items)
    return list(items) if n <= most else [items[i * n // most] for i in range(most)]


def mirror_sets():
    """[(pair, pair)] of the easiest mirror sets of the test split."""
    sets = {}
    for pair in load_preferences(split="test"):
        if pair.kind == "mirror":
            sets.setdefault(pair.group, []).append(pair)
    return [tuple(both) for both in sets.values() if len(both) == 2 and all(p.difficulty == 1 for p in both)]


def contrast_slices():
    """{slice: pairs}; the two mirrored ones are divided by what the user does, since a bias favors one side."""
    slices = {}
    for pair in load_preferences(split="contrast"):
        name = NAMES.get(pair.slice, pair.slice)
        if name == "syco":
            name = "the user is right" if _first_kind(pair) else "the user is wrong"
        elif name == "refusal":
            name = "it would do harm" if _first_kind(pair) else "it would do none"
        slices.setdefault(name, []).append(pair)
    return {name: spread(pairs, SLICE) for name, pairs in slices.items()}


def _first_kind(pair):
    """In sets with an odd number row a is the one with the user who is right (or means harm), in even ones row b."""
    number, row = pair.id.rsplit("-m", 1)[1].split("-")
    return (row == "a") == (int(number) % 2 == 1)
