"""rmtutorial evaluate: the report of a reward model on a preference file, as a table and as JSON."""

import json

from rmtutorial.commands._reading import add_bad_rows, add_columns
from rmtutorial.places import check_out

EXAMPLE = """
example: rmtutorial evaluate out/rm pairs.jsonl --json report.json
"""


def add_arguments(p):
    p.epilog = EXAMPLE
    p.add_argument("model", metavar="MODEL", help="folder or Hub id of a sequence classification model with one label")
    p.add_argument("file", metavar="FILE", help="preference file (.jsonl, .json, .csv, .parquet), Hub id, or `bundled`")
    add_columns(p)
    add_bad_rows(p)
    p.add_argument("--split", help="rows to judge: train, test or all (default: all; of the bundled pairs: test)")
    p.add_argument("--json", metavar="FILE", help="write the report there too")


def run(options):
    from rmtutorial.preferences import load_preferences

    bundled = options.file == "bundled"
    split = options.split or ("test" if bundled else "all")
    if options.json:
        check_out("--json", options.json)
    source = None if bundled else options.file
    pairs = load_preferences(source, split=split, columns=dict(options.columns), bad_rows=options.bad_rows)

    from rmtutorial.classifier import load_scorer
    from rmtutorial.evaluation import evaluate
    from rmtutorial.files import write_text
    from rmtutorial.machine import look_around

    report = evaluate(load_scorer(options.model).to(look_around().device), pairs)
    print(f"{options.model} on {options.file}, split {split}: {report}\n")
    print(report.to_frame().round(3).to_string())
    if options.json:
        found = {"model": options.model, "file": options.file, "split": split, **report.to_dict()}
        write_text(options.json, json.dumps(found, indent=1))
