"""Rows of a preference set as they stand: from a file of one of several kinds, or from memory. Nothing is judged."""

import gzip
import json
import zlib
from dataclasses import asdict, is_dataclass
from pathlib import Path

from rmtutorial.places import user_path
from rmtutorial.preference_rows import BadPreferences
from rmtutorial.preference_tables import open_text, plain, read_csv, read_parquet

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
READABLE = (
    "files that can be read: .jsonl (.ndjson), .json, .csv, .tsv and .parquet, all but the last also with .gz behind"
)
ONE_OF_TWO = "write one row a line and name it .jsonl, or all rows in one list: [{...}, {...}]"
# Endings that no Hub id has: what is called so is a file that is missing, or one of another kind.
OTHERS = (".gz", ".txt", ".xlsx", ".xls", ".arrow", ".zip", ".zst", ".bz2", ".xz", ".yaml", ".yml", ".pkl")


def kind_of(path):
    """The ending that says how a file is read, in small letters and without .gz."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix.replace(".ndjson", ".jsonl")


def unit_of(path):
    """What its rows are counted in: an editor shows lines of JSON Lines."""
    return "line" if kind_of(path) == ".jsonl" else "row"


def local_file(source):
    """The Path of a file that is there, or None where `source` can only be a Hub id.

    Raises: FileNotFoundError for what is called like a file and is none; BadPreferences for a folder or a file of a
        kind that cannot be read.
    """
    path, text = user_path(source), str(source)
    if path.is_dir():
        inside = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
        raise BadPreferences(
            f"{source}: is a folder ({inside}); name one file in it (a folder of save_to_disk: pass load_from_disk({text!r})). {READABLE}"
        )
    if path.is_file():
        if kind_of(path) not in KINDS or path.name.lower().endswith(".parquet.gz"):
            raise BadPreferences(
                f"{source}: a file of the kind {path.suffix or 'without ending'} is not read; {READABLE}"
            )
        return path
    looks_like_one = path.suffix.lower() in KINDS + OTHERS
    if looks_like_one or text.startswith((".", "/", "~")) or text.count("/") > 1 or "\\" in text:
        raise FileNotFoundError(f"{source}: no such file")
    return None


def read_rows(path):
    """[(line or row number, row), ...] of every readable row of a file, and [(number, fault), ...] of the others.

    Raises: FileNotFoundError; BadPreferences when nothing can be read.
    """
    path = local_file(Path(path)) or Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return {".parquet": read_parquet, ".csv": read_csv, ".tsv": read_csv}.get(kind_of(path), _json)(path)
    except UnicodeDecodeError as error:
        raise BadPreferences(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadPreferences(f"{path}: no whole gzip file ({error}); fetch it anew") from error


def rows_in_memory(source):
    """The same of a list of rows, a pandas frame, a `datasets.Dataset`, or PreferencePairs."""
    if hasattr(source, "to_dict") and hasattr(source, "columns"):  # a pandas frame iterates over its columns
        source = source.to_dict("records")
    return [(i, plain(asdict(row) if is_dataclass(row) else row)) for i, row in enumerate(source, 1)], []


def _json(path):
    """JSON Lines or one list, whatever the ending says: pandas and `datasets` write the one into .json."""
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "").strip()
    if first.startswith("version https://git-lfs"):
        raise BadPreferences(f"{path}: only a pointer of Git LFS, not the file itself; run: git lfs pull")
    if first.startswith("[") and (rows := _json_list(path)) is not None:
        return rows, []
    rows, errors = _json_lines(path)
    if first and not rows and first in "{[":
        raise BadPreferences(f"{path}: a JSON object over several lines; {ONE_OF_TWO}")
    if kind_of(path) == ".json" and len(rows) == 1 and not errors:
        (row,) = rows
        raise BadPreferences(f"{path}: expected a list of rows, got one {type(row[1]).__name__}; {ONE_OF_TWO}")
    return rows, errors


def _json_list(path):
    """The rows of a file that is one list; None for JSON Lines of which the first is a list."""
    with open_text(path) as file:
        text = file.read()
    try:
        return list(enumerate(plain(json.loads(text)), 1))
    except (json.JSONDecodeError, RecursionError) as error:
        if kind_of(path) == ".jsonl":
            return None
        place = f"line {error.lineno}: broken JSON: {error.msg}" if hasattr(error, "lineno") else "nested too deeply"
        raise BadPreferences(f"{path}: nothing can be read:\n  {place}") from error


def _json_lines(path):
    rows, errors = [], []
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            try:
                if line.strip():
                    rows.append((number, plain(json.loads(line))))
            except (json.JSONDecodeError, RecursionError) as error:
                errors.append((number, f"broken JSON: {getattr(error, 'msg', error)}"))
    return rows, errors
