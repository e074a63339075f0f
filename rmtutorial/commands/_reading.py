"""Options of the verbs that read preference files: how the file calls its columns, and what happens to bad rows."""

import argparse


def add_columns(p):
    p.add_argument("--columns", type=_renaming, nargs="+", action="extend", default=[], metavar="OURS=THEIRS",
                   help="names in the file, e.g. prompt=question; OURS= leaves a column out")  # fmt: skip


def add_bad_rows(p):
    p.add_argument("--bad_rows", choices=("refuse", "skip"), default="refuse",
                   help="skip: leave them out, and say how many and why (default: refuse)")  # fmt: skip


def _renaming(text):
    ours, equals, theirs = text.partition("=")
    if not equals or not ours:
        raise argparse.ArgumentTypeError(f"{text!r}: write our name of a column, =, and the file's: prompt=question")
    return ours, theirs or None
