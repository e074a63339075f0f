"""rmtutorial audit: look at a preference file before training on it; exit code 1 where something would spoil that."""

import json

from rmtutorial.commands._reading import add_columns
from rmtutorial.places import check_out

EXAMPLE = """
example: rmtutorial audit pairs.jsonl --html audit.html
"""


def add_arguments(p):
    p.epilog = EXAMPLE
    p.add_argument("file", metavar="FILE", help="preference file (.jsonl, .json, .csv, .parquet), or `bundled`")
    add_columns(p)
    p.add_argument("--model", help="folder or Hub id whose tokenizer counts (default: the embedded SmolLM2)")
    p.add_argument(
        "--max_length", type=int, default=1024, metavar="N", help="of the training, in tokens (default: 1024)"
    )
    p.add_argument("--html", metavar="FILE", help="write the page there as HTML")
    p.add_argument("--json", metavar="FILE", help="write all numbers there")


def run(options):
    """Print the page; 1 if there is a finding that would spoil a training."""
    for name in ("html", "json"):
        if path := getattr(options, name):
            check_out(f"--{name}", path)
    if options.max_length < 1:
        raise ValueError(f"--max_length {options.max_length}: must be at least 1 token")

    from rmtutorial.audit import audit
    from rmtutorial.files import write_text

    source = None if options.file == "bundled" else options.file
    found = audit(source, dict(options.columns), options.model, options.max_length)
    print(found)
    if options.html:
        write_text(options.html, found.to_html())
    if options.json:
        write_text(options.json, json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    return int(found.spoils)
