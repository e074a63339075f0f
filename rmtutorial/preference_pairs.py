"""From rows to pairs: what the source calls its columns, which rows cannot be used, and what is said about them."""

import re
import sys
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

from rmtutorial.preference_files import local_file, read_rows, rows_in_memory, unit_of
from rmtutorial.preference_rows import BadPreferences, PreferencePair, to_pair

OURS = {field.name for field in fields(PreferencePair)} | {
    "split",
    "system",
    "history",
    "input",
    "response",
    "responses",
}
SHOWN = 10  # bad rows in one message; of more, how many and why


def read_pairs(source, columns=None, bad_rows="refuse", splits=None):
    """(pairs, [split that each row names, or None]) of a file or of rows in memory.

    Args:
        columns, bad_rows: as in `load_preferences`.
        splits: the names that may stand in a column `split`; None: it is not looked at.
    Raises: BadPreferences.
    """
    rows, errors, name, unit = read_source(source, columns)
    pairs, total = [], len(rows) + len(errors)
    for number, row in rows:
        try:
            pairs.append((to_pair(row, no_prompt(columns)), read_split(row, splits)))
        except ValueError as error:
            errors.append((number, str(error)))
    if errors and bad_rows == "refuse":
        raise BadPreferences(f"{name}: {len(errors)} bad rows; mend or remove them:\n{listed(errors, unit)}")
    if errors:
        print(f"{name}: {len(errors):,} of {total:,} rows left out:\n{by_reason(errors, unit)}", file=sys.stderr)
    if not pairs:
        raise BadPreferences(f"{name}: no rows" + (" left" if errors else ""))
    return [pair for pair, _ in pairs], [split for _, split in pairs]


def no_prompt(columns):
    """Do the `columns` say that there is no prompt but what both texts begin with?"""
    return "prompt" in (columns or {}) and columns["prompt"] is None


def read_split(row, splits):
    """The row's `split`, or None. A row that no split has would be lost without a word."""
    split = row.get("split") or None
    if splits is not None and split not in (None, *splits):
        raise ValueError(f"split is {split!r}: must be {' or '.join(splits)} (or leave the column out)")
    return split


def read_source(source, columns=None):
    """(numbered rows, numbered faults, the source's name, what its rows are called) of a file or rows in memory."""
    if isinstance(source, (str, Path)):
        path = local_file(source)
        if path is None:
            raise FileNotFoundError(f"{source}: no such file")
        rows, errors = read_rows(path)
        name, unit = str(source), unit_of(path)
    elif hasattr(source, "__iter__") and not isinstance(source, (dict, bytes)):
        (rows, errors), name, unit = rows_in_memory(source), "rows in memory", "row"
    else:
        raise TypeError(f"{type(source).__name__} is no set of pairs; pass a path, a Hub id, or rows (a list of dicts)")
    return renamed(rows, columns or {}, name), errors, name, unit


def renamed(rows, columns, name):
    """The rows with our names in place of theirs: columns = {ours: theirs, or None to leave it out}.

    Raises: ValueError for a column that no row has.
    """
    there = {column: None for _, row in rows if isinstance(row, dict) for column in row} if columns else {}
    for ours, theirs in columns.items():
        if theirs is not None and ours not in OURS:
            raise ValueError(f"columns: {ours!r} is no column of ours; choose one of {', '.join(sorted(OURS))}")
        if theirs is not None and theirs not in there:
            raise ValueError(
                f"{name}: columns={{{ours!r}: {theirs!r}}}: no row has it; there are {', '.join(map(str, there))}"
            )
    return [(number, rename_row(row, columns)) for number, row in rows] if columns else rows


def rename_row(row, columns):
    """One row with our names, where it has the columns."""
    if not isinstance(row, dict):
        return row
    gone = {*columns, *columns.values()}
    kept = {column: value for column, value in row.items() if column not in gone}
    return kept | {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}


def listed(errors, unit):
    """A line for each of the first bad rows; of many also how many there are of each kind."""
    errors = sorted(errors, key=lambda error: error[0])
    lines = [f"  {unit} {number}: {reason}" for number, reason in errors[:SHOWN]]
    if len(errors) > SHOWN:
        lines += [f"  ... and {len(errors) - SHOWN:,} more; in all:", by_reason(errors, unit)]
    return "\n".join(lines)


def by_reason(errors, unit, kinds=5):
    """A line for each kind of fault, the most frequent first: how many rows, and the numbers of the first three."""
    groups = defaultdict(list)
    for number, reason in sorted(errors, key=lambda error: error[0]):
        groups[kind_of_fault(reason)].append(number)
    most = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = [
        f"  {len(rows):,}: {kind} ({unit}s {', '.join(map(str, rows[:3]))}{', ...' if len(rows) > 3 else ''})"
        for kind, rows in most[:kinds]
    ]
    rest = most[kinds:]
    return "\n".join(lines + [f"  {sum(len(rows) for _, rows in rest):,}: {len(rest)} other kinds"] * bool(rest))


def kind_of_fault(reason):
    """A reason without its values and its remedy: what rows with the same fault have in common."""
    ends = "; " if reason.startswith(("no prompt", "broken")) else "; |: |, not "
    return re.sub(r"\d+", "N", re.split(ends, reason)[0])
