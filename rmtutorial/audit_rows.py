"""What an audit finds in the rows as they stand: their forms, those that cannot be used, and the raters' columns."""

from collections import Counter, defaultdict

from rmtutorial.audit_findings import SHOWN, Finding
from rmtutorial.messages import has_turns
from rmtutorial.preference_pairs import kind_of_fault

KINDS = 6  # of faults that get a finding of their own
SCORES = (("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen_rating", "rejected_rating"),
          ("rating_chosen", "rating_rejected"), ("reward_chosen", "reward_rejected"))  # fmt: skip
STRENGTHS = ("strength", "margin", "preference_strength")
REFUSED = "A training refuses the file, so that no row is dropped without a word."
WHY = {
    "chosen and rejected are identical": "Nothing can be learned from a pair without a difference.",
    "chosen is empty": "An answer that says nothing, or a generation that failed.",
    "rejected is empty": "An answer that says nothing, or a generation that failed.",
}


def forms(rows):
    """{what a row looks like: how many}, the most frequent first."""
    return dict(Counter(_form(row) for _, row in rows).most_common())


def _form(row):
    if not isinstance(row, dict):
        return "no columns"
    prompt = f"prompt {_kind(row['prompt'])}" if row.get("prompt") is not None else "no prompt column"
    sides = {_kind(row.get(side)) for side in ("chosen", "rejected")}
    return f"{prompt}, answers {' and '.join(sorted(sides))}"


def _kind(value):
    if isinstance(value, str):
        return "Human/Assistant text" if has_turns(value) else "text"
    if isinstance(value, dict):
        return "one message"
    if isinstance(value, list):
        return "one message" if len(value) == 1 else "conversation"
    return "missing" if value is None else type(value).__name__


def bad_rows(errors, unit):
    """A finding for each kind of row that cannot be used."""
    groups = defaultdict(list)
    for number, reason in sorted(errors, key=lambda error: error[0]):
        groups[kind_of_fault(reason)].append((number, reason))
    kinds = sorted(groups.items(), key=lambda group: -len(group[1]))
    found = [_bad_kind(kind, rows, unit) for kind, rows in kinds[:KINDS]]
    rest = [row for _, rows in kinds[KINDS:] for row in rows]
    return found + ([_bad_kind(f"{len(kinds) - KINDS} other faults", rest, unit)] if rest else [])


def _bad_kind(kind, rows, unit):
    remedy = rows[0][1].partition("; ")[2]
    do = "Mend or remove them, or leave them out with bad_rows='skip' (--bad_rows skip)."
    remedy = f"{remedy[:1].upper()}{remedy[1:]}." if remedy else ""
    numbers = [number for number, _ in rows[:SHOWN]]
    return Finding(
        "spoils",
        f"rows that cannot be used: {kind}",
        len(rows),
        numbers,
        WHY.get(kind, REFUSED),
        f"{do} {remedy}".strip(),
        unit,
    )


def ratings(rows, unit):
    """(what columns of ratings say, findings): pairs without a winner, and pairs whose loser has the better score."""
    told, ties, inverted = [], {}, {}
    for better, worse in SCORES:
        both = [(n, _number(row.get(better)), _number(row.get(worse))) for n, row in rows]
        gaps = [(n, a - b) for n, a, b in both if a is not None and b is not None]
        told += _told(f"{better} - {worse}", gaps)
        ties[f"{better} = {worse}"] = [n for n, gap in gaps if gap == 0]
        inverted[f"{better} < {worse}"] = [n for n, gap in gaps if gap < 0]
    for name in STRENGTHS:
        told += _told(name, [(n, value) for n, row in rows if (value := _number(row.get(name))) is not None])
    ties["marked as a tie"] = [n for n, row in rows if _is_tie(row)]
    return "; ".join(told), _ties(ties, len(rows), unit) + _inverted(inverted, len(rows), unit)


def _number(value):
    """A number, also one in the cell of a table; None for anything else."""
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (ValueError, TypeError):
        return None


def _is_tie(row):
    return str(row.get("tie")).lower() == "true" or str(row.get("winner")).lower() in ("tie", "both", "draw")


def _told(name, values):
    values = sorted(value for _, value in values)
    if not values or values[0] == values[-1]:
        return []
    low, half, high = (values[int(q * (len(values) - 1))] for q in (0.05, 0.5, 0.95))
    return [f"{name}: 5 % {low:g}, half {half:g}, 95 % {high:g} ({len(values):,} rows)"]


def _ties(found, total, unit):
    why = "The order of the two answers is then an accident, and the loss learns it as if it were a preference."
    do = "Remove them, or give them to a loss that knows ties."
    return _rated("pairs without a winner", found, 0.2 * total, why, do, unit)


def _inverted(found, total, unit):
    why = "The rejected answer has the better score: a label that is the wrong way round, or scores of another rater."
    do = "Look at the rows named; exchange the answers, or remove the pairs."
    return _rated("pairs whose loser has the better score", found, 0.05 * total, why, do, unit)


def _rated(name, found, spoils, why, do, unit):
    return [
        Finding("spoils" if len(rows) >= spoils else "look", f"{name} ({what})", len(rows), rows[:SHOWN], why, do, unit)
        for what, rows in found.items() if rows
    ]  # fmt: skip
