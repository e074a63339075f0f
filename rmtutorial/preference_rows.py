"""One row of a preference file: what a PreferencePair is, and what can be wrong with a row that is to become one."""

from dataclasses import dataclass, fields

from rmtutorial.prompts import prompt_and_answers


@dataclass(frozen=True)
class PreferencePair:
    """One comparison: for `prompt`, the answer `chosen` was preferred to `rejected`."""

    prompt: str | list  # one user turn as text, or chat messages [{"role": ..., "content": ...}, ...]
    chosen: str
    rejected: str
    id: str = ""
    group: str = ""  # pairs of one group (a mirror set, the pairs of one ranking) stay in one split
    kind: str = ""  # mirror, edit or rank in the bundled set
    axis: str = ""  # what decides: relevance, tone, ...
    slice: str = ""
    topic: str = ""
    difficulty: int = 0  # 1 easy to 3 hard, 0 unknown
    strength: int = 0  # of the author's preference, 1 slight to 3 clear, 0 unknown


KNOWN = {field.name for field in fields(PreferencePair)}


class BadPreferences(ValueError):
    """Rows that cannot be used; the message lists them with their line numbers and reasons."""


def to_pair(row, implicit=False):
    """Make a PreferencePair of one row; ValueError says what is wrong with it.

    Args: implicit, the prompt is the words that both texts begin with (see `prompts.prompt_and_answers`).
    """
    check_columns(row, ("chosen", "rejected"))
    chosen, rejected = row["chosen"], row["rejected"]
    if chosen == rejected and chosen:
        raise ValueError(f"chosen and rejected are identical: {str(chosen)[:40]!r}")
    prompt, (chosen, rejected) = prompt_and_answers(row, {"chosen": chosen, "rejected": rejected}, implicit)
    if chosen == rejected:
        raise ValueError(f"chosen and rejected are identical: {chosen[:40]!r}")
    check_characters([chosen, rejected, str(row.get("group", "")), *texts_of(prompt)])
    extra = {f.name: _detail(row[f.name], f) for f in fields(PreferencePair)[3:] if row.get(f.name) not in (None, "")}
    return PreferencePair(prompt, chosen, rejected, **extra)


def check_columns(row, columns):
    """ValueError unless the row is an object that has these columns with something in them."""
    if not isinstance(row, dict):
        raise ValueError(f"expected an object with columns, got {type(row).__name__}")
    for column in columns:
        if column not in row:
            there = ", ".join(map(str, row)) or "none"
            other = next((name for name in row if name not in KNOWN), None)
            remedy = (
                f"; if one of them is it: columns={{{column!r}: {other!r}}} (--columns {column}={other})"
                if other
                else ""
            )
            raise ValueError(f"column {column!r} is missing; there are {there}{remedy}")
        if row[column] is None:
            raise ValueError(f"{column} is null")


def texts_of(prompt):
    """The texts of a prompt, which is text or messages."""
    return [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]


def check_characters(texts):
    """ValueError for a half of a character, which no tokenizer takes."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a character (a lone surrogate): a text was cut within an emoji or the like") from None


def _detail(value, field):
    if isinstance(value, float) and value.is_integer():  # whole numbers, where a table has gaps: 2.0
        value = int(value)
    try:
        return field.type(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{field.name} must be {field.type.__name__}, not {value!r}") from None
