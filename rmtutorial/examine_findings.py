"""What one check of a reward model finds."""

from dataclasses import dataclass

STATUSES = (
    "fail",
    "warn",
    "skipped",
    "ok",
)  # makes scores wrong; to be known before use; not looked at; as it should be


@dataclass
class Finding:
    """What a check found, with its numbers; the reports that it guards against; and what to do."""

    name: str
    status: str
    found: str
    guards: str  # threads as owner/repo#number, or papers
    do: str = ""


def finding(name, status, found, guards, do):
    """A Finding; where all is as it should be there is nothing to do."""
    return Finding(name, status, found, guards, "" if status == "ok" else do)


def order(findings):
    """The worst first, otherwise as they were looked at."""
    return sorted(findings, key=lambda one: STATUSES.index(one.status))


def names(texts, most=3):
    """a, b, c and 2 more"""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
