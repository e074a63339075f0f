"""rmtutorial score: a reward for every answer of a file, in the order of the input."""

import itertools
import json
import os
import sys
from contextlib import contextmanager

from tqdm.auto import tqdm

from rmtutorial.commands._reading import add_columns
from rmtutorial.places import check_out, user_path
from rmtutorial.preference_pairs import BadPreferences, listed, no_prompt, read_source, rename_row, renamed

EPILOG = """
A row has prompt and response, or responses (a list), or chosen and rejected; prompts are text or
chat messages. The rows come back with reward, rewards, or reward_chosen and reward_rejected.

example: rmtutorial score out/rm answers.jsonl --out scored.jsonl
"""


def add_arguments(p):
    p.epilog = EPILOG
    p.add_argument("model", metavar="MODEL", help="folder or Hub id of a sequence classification model with one label")
    p.add_argument(
        "file", metavar="FILE", help="rows to score (.jsonl, .json, .csv, .parquet), or - for JSON lines on stdin"
    )
    p.add_argument("--out", metavar="FILE", default="-", help="where the rows go (default: -, stdout)")
    add_columns(p)
    p.add_argument("--rows", type=int, default=64, metavar="N", help="read, score and write N at a time (default: 64)")


def run(options):
    if options.rows < 1:
        raise ValueError(f"--rows {options.rows}: must be at least 1")
    if options.out != "-":
        check_out("--out", options.out)
    columns = dict(options.columns)
    rows = stdin_rows(columns) if options.file == "-" else file_rows(options.file, columns)  # whole, before we load
    scorer = _load(options.model)
    total = None if options.file == "-" else len(rows)
    with _output(options.out) as out, tqdm(total=total, desc="scoring", disable="TQDM_DISABLE" in os.environ) as bar:
        rows = iter(rows)
        while part := list(itertools.islice(rows, options.rows)):
            for (row, _, _), rewards in zip(part, score_rows(scorer, part, bar.n)):
                out.write(json.dumps({**row, **named(row, rewards, columns)}, ensure_ascii=False, default=str) + "\n")
            out.flush()
            bar.update(len(part))


def _load(model):
    from rmtutorial.classifier import load_scorer
    from rmtutorial.machine import look_around

    return load_scorer(model).to(look_around().device)


def file_rows(file, columns):
    """[(row, prompt, answers), ...] of a file. BadPreferences names the rows that cannot be scored."""
    numbered, errors, _, _ = read_source(file)
    rows = []
    for (number, row), (_, ours) in zip(numbered, renamed(numbered, columns, file)):
        try:
            rows.append((row, *prompt_and_answers(ours, no_prompt(columns))))
        except ValueError as error:
            errors.append((number, str(error)))
    if errors:
        raise BadPreferences(
            f"{file}: {len(errors)} rows cannot be scored; nothing was written:\n{listed(errors, 'row')}"
        )
    if not rows:
        raise BadPreferences(f"{file}: no rows")
    return rows


def stdin_rows(columns):
    """The same of stdin, one by one as they come."""
    for number, line in enumerate(sys.stdin, 1):
        if line.strip():
            try:
                row = json.loads(line)
                yield (row, *prompt_and_answers(rename_row(row, columns), no_prompt(columns)))
            except ValueError as error:  # a JSONDecodeError is one
                raise ValueError(f"stdin, line {number}: {error}; the rows before it were scored") from None


def prompt_and_answers(row, implicit=False):
    """(prompt, answers) of a row: one answer, several, or chosen and rejected. ValueError says what is wrong."""
    from rmtutorial import preference_rows, prompts

    preference_rows.check_columns(row, ())
    if "chosen" in row or "rejected" in row:
        pair = preference_rows.to_pair(row, implicit)
        return pair.prompt, [pair.chosen, pair.rejected]
    if not {"response", "responses"} & set(row):
        raise ValueError(
            f"there must be prompt and response, responses, or chosen and rejected; there are {', '.join(row)}"
        )
    answers = {"response": row["response"]} if "response" in row else row["responses"]
    if "response" not in row:
        if not isinstance(answers, list) or not answers:
            raise ValueError("responses must be a list with at least one answer")
        answers = {f"answer {k} of responses": answer for k, answer in enumerate(answers, 1)}
    prompt, texts = prompts.prompt_and_answers(row, answers)
    preference_rows.check_characters([*preference_rows.texts_of(prompt), *texts])
    return prompt, texts


def score_rows(scorer, rows, before=0):
    """The rewards of each row's answers, a list of lists in the order of the rows; so many were scored before them."""
    found = [None] * len(rows)
    names = [f"row {number}" for number in range(before + 1, before + 1 + len(rows))]
    encoded = scorer.encode_rows([(prompt, answers) for _, prompt, answers in rows], names)
    for k in {len(answers) for answers in encoded}:  # rows with as many answers are read together
        group = [i for i, answers in enumerate(encoded) if len(answers) == k]
        for i, rewards in zip(group, scorer.score_encoded([encoded[i] for i in group]).tolist()):
            found[i] = rewards
    return found


def named(row, rewards, columns):
    row = rename_row(row, columns)
    if "chosen" in row:
        return {"reward_chosen": rewards[0], "reward_rejected": rewards[1]}
    return {"reward": rewards[0]} if "response" in row else {"rewards": rewards}


@contextmanager
def _output(path):
    """A text file to write to: stdout, or a file written aside that takes its name when all is done."""
    if path == "-":
        yield sys.stdout
        return
    path = user_path(path)
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as out:
            yield out
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
