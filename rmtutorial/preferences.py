"""Preference pairs (prompt, chosen, rejected): reading a file of them, and keeping some of them for testing."""

import importlib.util
import json
import zlib
from pathlib import Path

from rmtutorial.places import user_path
from rmtutorial.preference_rows import BadPreferences, PreferencePair, to_pair

__all__ = ["BadPreferences", "PreferencePair", "load_preferences", "read_rows"]

BUNDLED = Path(__file__).parent / "data"
SPLITS = ("train", "test")  # of a learner's own file
BUNDLED_SPLITS = (*SPLITS, "ood", "contrast", "near_tie", "rank4")


def load_preferences(source=None, split="train", axis=None, size=None):
    """Load preference pairs.

    Args:
        source: None for the bundled set; a .jsonl, .json or .parquet file with TRL's columns `prompt`, `chosen`,
            `rejected` (text or chat messages; without `prompt` the common beginning is the prompt); or a Hub id,
            read by the library `datasets`.
        split: "train", "test" or "all" (both); of the bundled set also "ood", "contrast", "near_tie" and "rank4". A
            file without a `split` column is divided by prompt, 80 : 20, the same way each time; a Hub id is asked
            for that split.
        axis: keep one axis of the bundled set.
        size: keep the first `size` pairs.
    Returns: a list of PreferencePair.
    Raises: BadPreferences with all bad rows at once; ValueError, FileNotFoundError, ImportError.
    """
    source = user_path(source) if source is not None and str(source).startswith("~") else source
    if source is not None and not _is_file(source):
        pairs = _checked(enumerate(_hub_rows(source, split), 1), source, [], "row")
    else:
        known = SPLITS if source else BUNDLED_SPLITS
        if split not in (*known, "all"):
            raise ValueError(f"split={split!r}: choose one of {', '.join(known)} or all")
        names = SPLITS if split == "all" else [split]
        pairs = _from_files([Path(source)] if source else [BUNDLED / f"{name}.jsonl" for name in names], split, known)
    if axis is not None:
        known = sorted({pair.axis for pair in pairs} - {""})
        if axis not in known:
            raise ValueError(f"axis={axis!r}: this set has {', '.join(known) or 'no axes'}")
        pairs = [pair for pair in pairs if pair.axis == axis]
    if size is not None and not 1 <= size <= len(pairs):
        raise ValueError(f"size={size}: there are {len(pairs)} pairs; choose 1 to that, or None")
    return pairs[:size]


def _is_file(source):
    looks_like_one = Path(source).suffix in (".jsonl", ".json", ".parquet")
    if looks_like_one and not Path(source).is_file():
        raise FileNotFoundError(f"{source}: no such file")
    return looks_like_one


def _from_files(paths, split, known):
    pairs, named = [], []
    for path in paths:
        rows, errors = read_rows(path)
        errors += [(number, wrong) for number, row in rows if (wrong := _wrong_split(row, known))]
        pairs += _checked(rows, path, errors, "line" if path.suffix == ".jsonl" else "row")
        named += [row.get("split") for _, row in rows]
    splits = [name or held for name, held in zip(named, _split_by_prompt(pairs))]
    chosen = [pair for pair, name in zip(pairs, splits) if split in ("all", name)]
    if not chosen:
        raise ValueError(f"split={split!r}: none of the {len(pairs)} pairs; there are {', '.join(sorted(set(splits)))}")
    return chosen


def _wrong_split(row, known):
    """What is wrong with the row's `split`, or "": a row that no split has would be lost without a word."""
    split = row.get("split") if isinstance(row, dict) else None
    fine = split in (None, "", *known)
    return "" if fine else f"split is {split!r}: must be {' or '.join(SPLITS)} (or leave the column out)"


def _split_by_prompt(pairs):
    """A fifth of the prompts are held out, chosen by a checksum: no seed, and the order of the rows does not matter.

    Pairs that share a prompt or a group belong together, also through a third pair.
    """
    unit = {}  # prompt or group -> another one of the same unit, or itself

    def find(key):
        while unit.setdefault(key, key) != key:
            key = unit[key]
        return key

    for pair in pairs:
        low, high = sorted((find(_prompt_key(pair)), find(f"group {pair.group}" if pair.group else _prompt_key(pair))))
        unit[high] = low
    return ["test" if zlib.crc32(find(_prompt_key(pair)).encode()) % 5 == 0 else "train" for pair in pairs]


def _prompt_key(pair):
    return "prompt " + json.dumps(pair.prompt)


def read_rows(path):
    """[(line or row number, row), ...] of every readable row of a file, and of what could not be read.

    Raises: FileNotFoundError; BadPreferences when nothing can be read.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".parquet":
        import pandas  # slow to import, and only needed here

        return list(enumerate(json.loads(pandas.read_parquet(path).to_json(orient="records")), 1)), []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadPreferences(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    if path.suffix == ".json":
        return _read_json(text, path)
    rows, errors = [], []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                rows.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            errors.append((number, f"broken JSON: {error.msg}"))
    return rows, errors


def _read_json(text, path):
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadPreferences(
            f"{path}: nothing can be read:\n  line {error.lineno}: broken JSON: {error.msg}"
        ) from error
    if not isinstance(rows, list):
        raise BadPreferences(f"{path}: expected a list of rows, got {type(rows).__name__}")
    return list(enumerate(rows, 1)), []


def _hub_rows(source, split):
    if importlib.util.find_spec("datasets") is None:
        raise ImportError(
            f"{source!r} is not a .jsonl, .json or .parquet file; to read it from the Hub run: pip install datasets"
        )
    from datasets import load_dataset

    try:
        return load_dataset(source, split=split)
    except (ConnectionError, OSError) as error:
        raise ConnectionError(f"could not get the data set {source!r} from the Hub: {error}") from error


def _checked(rows, source, errors, unit):
    errors, pairs = list(errors), []
    for number, row in rows:
        try:
            pairs.append(to_pair(row))
        except ValueError as error:
            errors.append((number, str(error)))
    if errors:
        lines = "\n".join(f"  {unit} {number}: {reason}" for number, reason in sorted(errors))
        raise BadPreferences(f"{source}: {len(errors)} bad rows; mend or remove them:\n{lines}")
    if not pairs:
        raise BadPreferences(f"{source}: no rows")
    return pairs
