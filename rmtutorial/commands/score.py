"""rmtutorial score: a reward for every answer of a file, in the order of the input."""

import itertools
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

EPILOG = """
A row has prompt and response, or responses (a list), or chosen and rejected; prompts are text or
chat messages. The rows come back with reward, rewards, or reward_chosen and reward_rejected.

example: rmtutorial score out/rm answers.jsonl --out scored.jsonl
"""


def add_arguments(p):
    p.epilog = EPILOG
    p.add_argument("model", metavar="MODEL", help="folder or Hub id of a sequence classification model with one label")
    p.add_argument("file", metavar="FILE", help="rows to score (.jsonl, .json, .parquet), or - for JSON lines on stdin")
    p.add_argument("--out", metavar="FILE", default="-", help="where the rows go (default: -, stdout)")
    p.add_argument("--rows", type=int, default=64, metavar="N", help="read, score and write N at a time (default: 64)")


def run(options):
    if options.rows < 1:
        raise ValueError(f"--rows {options.rows}: must be at least 1")
    rows = stdin_rows() if options.file == "-" else file_rows(options.file)  # a file is checked whole, before we load
    scorer = _load(options.model)
    total = None if options.file == "-" else len(rows)
    with _output(options.out) as out, tqdm(total=total, desc="scoring", disable="TQDM_DISABLE" in os.environ) as bar:
        rows = iter(rows)
        while part := list(itertools.islice(rows, options.rows)):
            for (row, _, _), rewards in zip(part, score_rows(scorer, part, bar.n)):
                out.write(json.dumps({**row, **named(row, rewards)}, ensure_ascii=False) + "\n")
            out.flush()
            bar.update(len(part))


def _load(model):
    from rmtutorial.classifier import load_scorer
    from rmtutorial.machine import look_around

    return load_scorer(model).to(look_around().device)


def file_rows(file):
    """[(row, prompt, answers), ...] of a file. BadPreferences names every row that cannot be scored."""
    from rmtutorial.preferences import BadPreferences, read_rows

    numbered, errors = read_rows(Path(file).expanduser())
    rows = []
    for number, row in numbered:
        try:
            rows.append((row, *prompt_and_answers(row)))
        except ValueError as error:
            errors.append((number, str(error)))
    if errors:
        lines = "\n".join(f"  row {number}: {reason}" for number, reason in sorted(errors)[:10])
        raise BadPreferences(f"{file}: {len(errors)} rows cannot be scored; nothing was written:\n{lines}")
    if not rows:
        raise BadPreferences(f"{file}: no rows")
    return rows


def stdin_rows():
    """The same of stdin, one by one as they come."""
    for number, line in enumerate(sys.stdin, 1):
        if line.strip():
            try:
                row = json.loads(line)
                yield (row, *prompt_and_answers(row))
            except ValueError as error:  # a JSONDecodeError is one
                raise ValueError(f"stdin, line {number}: {error}; the rows before it were scored") from None


def prompt_and_answers(row):
    """(prompt, answers) of a row: one answer, several, or chosen and rejected. ValueError says what is wrong."""
    from rmtutorial.preference_rows import answer_text, check_prompt, to_pair

    if not isinstance(row, dict):
        raise ValueError(f"expected an object with columns, got {type(row).__name__}")
    if "chosen" in row or "rejected" in row:
        pair = to_pair(row)
        return pair.prompt, [pair.chosen, pair.rejected]
    if "prompt" not in row or not {"response", "responses"} & set(row):
        raise ValueError(
            f"there must be prompt and response, responses, or chosen and rejected; there are {', '.join(row)}"
        )
    check_prompt(row["prompt"])
    if "response" in row:
        return row["prompt"], [answer_text(row["response"], "response")]
    if not isinstance(row["responses"], list) or not row["responses"]:
        raise ValueError("responses must be a list with at least one answer")
    return row["prompt"], [
        answer_text(answer, f"answer {k} of responses") for k, answer in enumerate(row["responses"], 1)
    ]


def score_rows(scorer, rows, before=0):
    """The rewards of each row's answers, a list of lists in the order of the rows; so many were scored before them."""
    found = [None] * len(rows)
    encoded = [_encode(scorer, number, *row[1:]) for number, row in enumerate(rows, before + 1)]
    for k in {len(answers) for answers in encoded}:  # rows with as many answers are read together
        group = [i for i, answers in enumerate(encoded) if len(answers) == k]
        for i, rewards in zip(group, scorer.score_encoded([encoded[i] for i in group]).tolist()):
            found[i] = rewards
    return found


def _encode(scorer, number, prompt, answers):
    try:
        return scorer.encode(prompt, answers)
    except ValueError as error:
        raise ValueError(f"row {number}: {error}") from error


def named(row, rewards):
    if "chosen" in row:
        return {"reward_chosen": rewards[0], "reward_rejected": rewards[1]}
    return {"reward": rewards[0]} if "response" in row else {"rewards": rewards}


@contextmanager
def _output(path):
    """A text file to write to: stdout, or a file written aside that takes its name when all is done."""
    if path == "-":
        yield sys.stdout
        return
    path = Path(path).expanduser()
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as out:
            yield out
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
