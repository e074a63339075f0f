"""One row of a preference file: what a PreferencePair is, and what can be wrong with a row that is to become one."""

from dataclasses import dataclass, fields

ROLES = ("system", "user", "assistant")


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


class BadPreferences(ValueError):
    """Rows that cannot be used; the message lists every one with its line number and reason."""


def to_pair(row):
    """Make a PreferencePair of one row in TRL's columns; ValueError says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError(f"expected an object with columns, got {type(row).__name__}")
    for column in ("chosen", "rejected"):
        if column not in row:
            raise ValueError(f"column {column!r} is missing; there are {', '.join(map(str, row)) or 'none'}")
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if chosen == rejected and chosen:
        raise ValueError(f"chosen and rejected are identical: {str(chosen)[:40]!r}")
    if prompt is None:
        prompt, chosen, rejected = _split_off_prompt(chosen, rejected)
    check_prompt(prompt)
    if isinstance(prompt, list) and len(prompt) == 1 and prompt[0].get("role") == "user":
        prompt = prompt[0]["content"]
    chosen, rejected = answer_text(chosen, "chosen"), answer_text(rejected, "rejected")
    if chosen == rejected:
        raise ValueError(f"chosen and rejected are identical: {chosen[:40]!r}")
    _check_characters([chosen, rejected, str(row.get("group", "")), *_texts(prompt)])
    extra = {f.name: _detail(row[f.name], f) for f in fields(PreferencePair)[3:] if row.get(f.name) is not None}
    return PreferencePair(prompt, chosen, rejected, **extra)


def _texts(prompt):
    return [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]


def _check_characters(texts):
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a character (a lone surrogate): a text was cut within an emoji or the like") from None


def _detail(value, field):
    try:
        return field.type(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{field.name} must be {field.type.__name__}, not {value!r}") from None


def answer_text(value, column):
    """The text of an answer, which may come as text or as one assistant message."""
    if isinstance(value, list):
        if len(value) != 1 or not isinstance(value[0], dict) or value[0].get("role") != "assistant":
            raise ValueError(f"{column} must be text or exactly one assistant message")
        value = value[0].get("content")
    if not isinstance(value, str):
        raise ValueError(f"{column} is not text but {type(value).__name__}: {str(value)[:40]}")
    if not value.strip():
        raise ValueError(f"{column} is empty")
    return value


def check_prompt(prompt):
    """ValueError unless the prompt is text, or chat messages with texts."""
    messages = prompt if isinstance(prompt, list) else [{"content": prompt}]
    texts = [message.get("content") if isinstance(message, dict) else None for message in messages]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"prompt is not text but {type(prompt).__name__}: {str(prompt)[:40]}")
    wrong = [message.get("role") for message in messages if message.get("role") not in ROLES]
    if isinstance(prompt, list) and wrong:
        raise ValueError(f"prompt has a message with the role {wrong[0]!r}; it must be one of {', '.join(ROLES)}")
    if not any(text.strip() for text in texts):
        raise ValueError("prompt is empty")


def _split_off_prompt(chosen, rejected):
    """TRL's implicit prompt: what both sides begin with, whole messages or whole words."""
    if not isinstance(chosen, (list, str)) or type(chosen) is not type(rejected):
        raise ValueError("without a prompt, chosen and rejected must both be text or both be chat messages")
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if isinstance(chosen, str):
        same = max(chosen.rfind(" ", 0, same), chosen.rfind("\n", 0, same)) + 1
    if same == 0:
        raise ValueError("no prompt: the column is missing, and chosen and rejected have no common beginning")
    return chosen[:same], chosen[same:], rejected[same:]
