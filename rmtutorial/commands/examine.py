"""rmtutorial examine: a check-up for any reward model; exit code 1 where a check fails that makes scores wrong."""

import json

from rmtutorial.commands._reading import add_bad_rows, add_columns
from rmtutorial.places import check_out

EXAMPLE = """
Exit code 0: no check fails, there may be warnings. 1: a check fails, scores are wrong.

example: rmtutorial examine out/rm --html report.html
"""


def add_arguments(p):
    p.epilog = EXAMPLE
    p.add_argument("model", metavar="MODEL", help="folder or Hub id of a sequence classification model with one label")
    p.add_argument("--pairs", metavar="FILE", help="pairs whose better answer is plain (default: bundled rankings)")
    add_columns(p)
    add_bad_rows(p)
    p.add_argument("--html", metavar="FILE", help="write the page there as HTML")
    p.add_argument("--json", metavar="FILE", help="write all findings there")


def run(options):
    """Print the page; 1 if scores are wrong."""
    for name in ("html", "json"):
        if path := getattr(options, name):
            check_out(f"--{name}", path)

    pairs = None
    if options.pairs:
        from rmtutorial.preferences import load_preferences

        pairs = load_preferences(options.pairs, "all", columns=dict(options.columns), bad_rows=options.bad_rows)

    from rmtutorial.examine import examine
    from rmtutorial.files import write_text
    from rmtutorial.machine import look_around

    found = examine(options.model, pairs=pairs, device=look_around().device)
    print(found)
    if options.html:
        write_text(options.html, found.to_html())
    if options.json:
        write_text(options.json, json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    return int(found.wrong)
