"""Tables with cells (CSV, Parquet), and what their values are in JSON's terms."""

import csv
import gzip
import json
import re

from rmtutorial.preference_rows import BadPreferences

# A list of messages in a cell of a table: written as JSON, or by str(), which no longer is one.
LIST_OF_MESSAGES = re.compile(r"""\s*\[\s*\{\s*['"](role|content|from|value)['"]\s*:""")


def plain(value):
    """Lists, dicts and values as JSON has them: no arrays, and nothing that stands for a missing value but None."""
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy's arrays and scalars
        return plain(value.tolist())
    return None if _is_missing(value) else value


def _is_missing(value):
    """None, NaN, and pandas' NA and NaT: only they differ from themselves, or cannot say whether they do."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def open_text(path):
    """The file as text, unpacked where it is a .gz."""
    # Lines end at "\n" only: U+2028 may stand unescaped within JSON, and a table's cell may have lines.
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="\n")
    return path.open(encoding="utf-8-sig", newline="\n")


def read_csv(path):
    """A table with a header. Empty cells are null; the separator is the one that the header has most of."""
    csv.field_size_limit(2**31 - 1)  # of 131,072 characters: a conversation may be longer
    rows, errors = [], []
    with open_text(path) as file:
        header = file.readline()
        file.seek(0)
        table = csv.DictReader(file, delimiter=max(",;\t", key=header.count), strict=True)
        try:
            for number, row in enumerate(table, 1):
                try:
                    rows.append((number, _cells(row)))
                except ValueError as error:
                    errors.append((number, str(error)))
        except csv.Error as error:
            errors.append((len(rows) + len(errors) + 1, f"broken CSV: {error}; nothing behind it was read"))
    return rows, errors


def _cells(row):
    if None in row:  # what csv calls the cells for which there is no name
        raise ValueError(f"more cells than the header has columns: {str(row[None])[:40]}")
    return {name.strip(): _cell(cell) for name, cell in row.items()}


def _cell(text):
    """Text, None for an empty cell, or the messages that were written into it as JSON."""
    if not text or not LIST_OF_MESSAGES.match(text):
        return text or None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise ValueError(
            f"messages written by str(), not as JSON: {text[:40]!r}; write the rows as .jsonl or .parquet"
        ) from None


def read_parquet(path):
    """The rows of a Parquet file; the index that pandas writes beside the columns is none of them."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ImportError(f"{path}: to read Parquet run: pip install pyarrow") from error
    try:
        batches = [batch.to_pylist() for batch in parquet.ParquetFile(path).iter_batches(1000)]
    except ArrowException as error:
        raise BadPreferences(f"{path}: no whole Parquet file ({str(error).splitlines()[0]}); fetch it anew") from error
    rows = [{name: plain(v) for name, v in row.items() if "__index_level_" not in name} for b in batches for row in b]
    return list(enumerate(rows, 1)), []
