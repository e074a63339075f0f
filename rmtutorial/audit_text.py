"""The page of an audit as text, for a terminal of 100 columns."""

import textwrap

WIDTH = 100
MARK = {"spoils": "SPOILS", "look": "LOOK", "note": "note"}


def page(audit):
    """One page: what the set is, how long, how far shortcuts get, and what was found."""
    parts = [verdict(audit), "", *_set(audit), "", *_tokens(audit), *_shortcuts(audit), *_findings(audit)]
    return "\n".join(line.rstrip() for line in parts)


def verdict(audit):
    """The first line: the answer to "may I train on it?"."""
    spoils = sum(finding.level == "spoils" for finding in audit.findings)
    look = sum(finding.level == "look" for finding in audit.findings)
    said = f"{spoils} would spoil a training" if spoils else "nothing that would spoil a training"
    return f"{audit.source}: {audit.rows:,} rows, {audit.pairs:,} pairs; {said}, {look} to look at"


def percent(shares):
    """Latin 98 %, Han 2 %."""
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(shares.items())[:5])


def _set(audit):
    forms = list(audit.forms.items())
    rows = [("rows", f"{n:,}  {form}") for form, n in forms[:4]]
    rows += [("", f"{sum(n for _, n in forms[4:]):,}  of {len(forms) - 4} other forms")] if len(forms) > 4 else []
    rows += [("split", ", ".join(f"{name} {n:,}" for name, n in audit.splits.items()))]
    rows += [("ratings", audit.ratings), ("scripts", percent(audit.scripts)), ("languages", percent(audit.languages))]
    return [line for name, text in rows if text for line in _wrapped(f"{name:<10}{text}", 10)]


def _wrapped(text, indent):
    """Lines of at most WIDTH; all but the first are indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent)


def _tokens(audit):
    if not audit.tokens:
        return []
    names = list(next(iter(audit.tokens.values())))
    lines = [f"{'tokens':<20}" + "".join(f"{name:>9}" for name in names)]
    lines += [f"  {part:<18}" + "".join(f"{n:>9,}" for n in counts.values()) for part, counts in audit.tokens.items()]
    return [*lines, f"  ({audit.looked_at:,} of {audit.pairs:,} pairs; max_length {audit.max_length:,})", ""]


def _shortcuts(audit):
    if not audit.shortcuts:
        return []
    lines = ["shortcuts: share of pairs ranked right without understanding, 0.50 is chance"]
    for judge in audit.shortcuts:
        bar = "#" * round(30 * judge.accuracy)
        lines.append(f"  {judge.name:<26}{judge.accuracy:.2f} [{judge.low:.2f}, {judge.high:.2f}]  {bar:<15}")
    return [*lines, ""]


def where(finding):
    """(rows 3, 17, 40, ...)"""
    more = ", ..." if finding.count > len(finding.rows) else ""
    return f"({finding.unit}s {', '.join(map(str, finding.rows))}{more})" if finding.rows else ""


def _findings(audit):
    lines = ["nothing found"] if not audit.findings else []
    for finding in audit.findings:
        count = f"{finding.count:,} " if finding.count else ""
        head = f"{MARK[finding.level]:<7} {count}{finding.what} {where(finding)}".rstrip()
        rest = f"{finding.why} {finding.do}"
        short = len(head) + len(rest) + 2 <= WIDTH
        lines += [f"{head}. {rest}"] if short else [*_wrapped(head, 8), *_wrapped(f"{'':<8}{rest}", 8)]
    return lines
