"""The page of an examination as text, for a terminal of 100 columns."""

import textwrap

WIDTH = 100
MARK = {"fail": "FAIL", "warn": "warn", "skipped": "-", "ok": "ok"}


def verdict(examination):
    """The first line: may the scores be believed?"""
    count = {status: sum(f.status == status for f in examination.findings) for status in MARK}
    said = (
        f"{count['fail']} of {len(examination.findings)} checks fail: scores are wrong"
        if count["fail"]
        else "no check fails"
    )
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    return f"{examination.model}: {said}; {count['warn']} warnings, {count['ok']} in order{skipped}"


def page(examination):
    """One page: what the model is, then every check, the worst first."""
    lines = [
        *textwrap.wrap(verdict(examination), WIDTH),
        *textwrap.wrap(f"{examination.kind}; {examination.texts:,} texts read", WIDTH),
    ]
    lines += [line for note in examination.notes for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([*lines, "", *(line for finding in examination.findings for line in _lines(finding))])


def _lines(finding):
    head = f"{MARK[finding.status]:<5} {finding.name:<15} "
    lines = textwrap.wrap(head + finding.found, WIDTH, subsequent_indent=" " * len(head))
    if finding.do:
        lines += textwrap.wrap(f"{'':<{len(head)}}-> {finding.do}", WIDTH, subsequent_indent=" " * (len(head) + 3))
    if finding.status in ("fail", "warn"):
        lines += textwrap.wrap(
            f"{'':<{len(head)}}   see {finding.guards}", WIDTH, subsequent_indent=" " * (len(head) + 3)
        )
    return lines
