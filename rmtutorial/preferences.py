"""Preference pairs (prompt, chosen, rejected): reading a set of them, and keeping some of them for testing."""

import importlib.util
from pathlib import Path

from rmtutorial.preference_files import READABLE, local_file, read_rows
from rmtutorial.preference_pairs import read_pairs
from rmtutorial.preference_rows import BadPreferences, PreferencePair
from rmtutorial.splits import split_by_prompt

__all__ = ["BadPreferences", "PreferencePair", "load_preferences", "read_rows"]

BUNDLED = Path(__file__).parent / "data"
SPLITS = ("train", "test")  # of a learner's own file
BUNDLED_SPLITS = (*SPLITS, "ood", "contrast", "near_tie", "rank4")


def load_preferences(source=None, split="train", axis=None, size=None, columns=None, bad_rows="refuse"):
    """Load preference pairs.

    Args:
        source: None for the bundled set; a file (.jsonl, .json, .csv, .tsv, .parquet; .gz behind); rows in memory (a
            list of dicts, a pandas frame, a `datasets.Dataset` or `DatasetDict`); or a Hub id, read by `datasets`.
            Rows have TRL's columns `prompt`, `chosen` and `rejected`: texts or chat messages; without `prompt` whole
            conversations that differ in the last turn.
        split: "train", "test" or "all" (both); of the bundled set also "ood", "contrast", "near_tie" and "rank4". A
            file without a `split` column is divided by prompt, 80 : 20, the same way each time; a Hub id or a
            DatasetDict is asked for that split.
        axis: keep one axis of the bundled set.
        size: keep the first `size` pairs.
        columns: how the source calls them, {"prompt": "question"}; None leaves a column out, {"tools": None}.
            {"prompt": None}: the prompt is the words that both texts begin with.
        bad_rows: "refuse" (all are named at once), or "skip" (left out, and counted on stderr).
    Returns: a list of PreferencePair.
    Raises: BadPreferences; ValueError, FileNotFoundError, ImportError.
    """
    pairs = load_splits(source, [split], columns, bad_rows)[split]
    if axis is not None:
        known = sorted({pair.axis for pair in pairs} - {""})
        if axis not in known:
            raise ValueError(f"axis={axis!r}: this set has {', '.join(known) or 'no axes'}")
        pairs = [pair for pair in pairs if pair.axis == axis]
    return first_pairs(pairs, size)


def first_pairs(pairs, size):
    """The first `size` pairs, or all where it is None. ValueError if there are not as many."""
    if size is not None and not 1 <= size <= len(pairs):
        raise ValueError(f"size={size}: there are {len(pairs)} pairs; choose 1 to that, or None")
    return pairs[:size]


def load_splits(source, wanted, columns=None, bad_rows="refuse", divide=True):
    """{split: pairs} of the splits that are wanted, read once. Without `divide` all pairs without a split train."""
    if bad_rows not in ("refuse", "skip"):
        raise ValueError(f"bad_rows={bad_rows!r}: choose refuse or skip")
    known = BUNDLED_SPLITS if source is None else SPLITS
    sets = source if isinstance(source, dict) else None  # a DatasetDict is one
    if sets is None and isinstance(source, (str, Path)) and local_file(source) is None:
        sets = {split: _hub_rows(source, split) for split in wanted}
    if sets is not None:
        return {split: _of_set(sets, split, columns, bad_rows) for split in wanted}
    for split in wanted:
        if split not in (*known, "all"):
            raise ValueError(f"split={split!r}: choose one of {', '.join(known)} or all")
    if source is None and columns:
        raise ValueError(f"columns={columns}: the bundled pairs have our names; leave columns out")
    if source is None:
        return {split: _bundled(SPLITS if split == "all" else [split]) for split in wanted}
    pairs, named = read_pairs(source, columns, bad_rows, SPLITS)
    whole = bool(wanted == ["all"] or not divide or all(named))
    splits = [name or held for name, held in zip(named, ["train"] * len(pairs) if whole else split_by_prompt(pairs))]
    return {split: _part(pairs, splits, split) for split in wanted}


def _part(pairs, splits, split):
    part = [pair for pair, name in zip(pairs, splits) if split in ("all", name)]
    if not part:
        raise ValueError(
            f"split={split!r}: none of the {len(pairs)} pairs; there are {', '.join(sorted(set(splits)))}. These are too "
            "few for a fifth of the prompts: take split='all' (train with --held_out none), or add a column 'split'"
        )
    return part


def _bundled(names):
    return [pair for name in names for pair in read_pairs(BUNDLED / f"{name}.jsonl")[0]]


def _of_set(sets, split, columns, bad_rows):
    """The pairs of one split of a mapping of them."""
    if {"chosen", "rejected"} & set(sets):
        raise TypeError("a dict of columns is no dict of splits; pass rows, or pandas.DataFrame(...) of it")
    if split not in (*sets, "all"):
        raise ValueError(f"split={split!r}: this set has {', '.join(sets)}; choose one of them, or all")
    parts = sets.values() if split == "all" and "all" not in sets else [sets[split]]
    return read_pairs([row for part in parts for row in part], columns, bad_rows)[0]


def _hub_rows(source, split):
    if importlib.util.find_spec("datasets") is None:
        raise ImportError(f"{source!r} is no file; to read it from the Hub run: pip install datasets. {READABLE}")
    from datasets import load_dataset

    try:
        return load_dataset(source, split=split)
    except (ConnectionError, OSError) as error:
        raise ConnectionError(f"could not get the data set {source!r} from the Hub: {error}") from error
