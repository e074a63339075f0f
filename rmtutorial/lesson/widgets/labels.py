"""Judge pairs yourself: buttons, a file of your labels, and a reward head fitted on them."""

import html
import json
import os
import threading

import ipywidgets
import torch

from rmtutorial.data.build import chance
from rmtutorial.intervals import accuracy_interval, units
from rmtutorial.places import check_append, user_path
from rmtutorial.preference_rows import PreferencePair
from rmtutorial.probe import judge, train_head
from rmtutorial.recipe import TrainConfig


def label_your_own(pairs, path, features=None, held_out=None, seed=0):
    """Judge pairs yourself: which answer is better? Labels are kept in `path`, a preference file, and go on from there.

    A label is added to the file at once; what is in it, of these pairs or of others, stays.

    Args: pairs to judge; features (N, 2, H) of the same pairs and held_out (M, 2, H), if a reward model is to be
        fitted on the labels.
    Returns: a VBox of [buttons, text]; which answer stands first is random, the bundled label is hidden until judged.
    Raises: OSError if `path` cannot be written; ValueError if something else than labels is in it.
    """
    path = user_path(path)
    check_append(path)
    labels, others = read_labels(path)
    first, second, skip = (ipywidgets.Button(description=text) for text in ("A is better", "B is better", "skip"))
    text = ipywidgets.HTML()
    skipped, one_at_a_time = set(), threading.Lock()

    def show(message=""):
        pair = next((p for p in pairs if not {comparison(p)} & (labels.keys() | skipped)), None)
        for button in (first, second, skip):
            button.disabled = pair is None
        text.value = message + labels_summary(pairs, labels, features, held_out)
        text.value += render_question(pair, seed) if pair else "<p>All judged.</p>"
        return pair

    left = ", ".join(map(str, others[:10]))
    current = [show(f"<p>No label, and left as it is: line {left} of {html.escape(str(path))}.</p>" if others else "")]

    def answered(button):
        with one_at_a_time:  # two clicks at once are two labels, of two pairs
            pair, message = current[0], ""
            if pair is None:
                return
            if button is skip:
                skipped.add(comparison(pair))
            else:
                message = keep_label(path, pair, (button is first) == chosen_first(pair, seed), labels)
            current[0] = show(message)

    for button in (first, second, skip):
        button.on_click(answered)
    return ipywidgets.VBox([ipywidgets.HBox([first, second, skip]), text])


def chosen_first(pair, seed):
    return chance(f"{seed} {pair.id or comparison(pair)}") < 0.5


def render_question(pair, seed):
    answers = (pair.chosen, pair.rejected) if chosen_first(pair, seed) else (pair.rejected, pair.chosen)
    lines = [("Prompt", pair.prompt), ("A", answers[0]), ("B", answers[1])]
    return "".join(f"<p><b>{name}</b><br>{html.escape(str(t)).replace(chr(10), '<br>')}</p>" for name, t in lines)


def comparison(pair):
    """What is compared, whatever its id and whichever answer is called chosen: ids may be missing, or come again."""
    return json.dumps([pair.prompt, *sorted((pair.chosen, pair.rejected))])


def read_labels(path):
    """({comparison: the answer that the reader preferred}, numbers of lines that are no labels); the last label counts."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    labels, others = {}, []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line.decode("utf-8-sig"))
            pair = PreferencePair(row["prompt"], row["chosen"], row["rejected"])
            labels[comparison(pair)] = pair.chosen
        except (ValueError, KeyError, TypeError):
            others += [number] if line.strip() else []
    if others and not labels:
        raise ValueError(f"{path}: line {others[0]} is no label, and no other line is; choose another file")
    return labels, others


def keep_label(path, pair, agrees, labels):
    """Add one line to the file, in TRL's columns, the reader's choice as `chosen`. Returns what went wrong, as HTML, or ""."""
    chosen, rejected = (pair.chosen, pair.rejected) if agrees else (pair.rejected, pair.chosen)
    row = {"id": pair.id, "prompt": pair.prompt, "chosen": chosen, "rejected": rejected, "agrees": agrees}
    try:
        append_line(path, json.dumps(row))
    except OSError as error:  # raised in a button it would be seen nowhere
        return f"<p><b>This label was not kept:</b> {html.escape(f'{path}: {error}')}</p>"
    labels[comparison(pair)] = chosen
    return ""


def append_line(path, line):
    """One write at the end of the file: what another kernel adds meanwhile stays, and a line is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (line + "\n").encode()
    with path.open("ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end and file.seek(end - 1) is not None and file.read(1) != b"\n":
            data = b"\n" + data
        if file.write(data) < len(data):  # the disk is full
            file.truncate(end)
            raise OSError("no space left")


def labels_summary(pairs, labels, features=None, held_out=None, least=8):
    """How often the reader agrees, and what a head fitted on the reader's labels reaches on held-out pairs."""
    judged = [i for i, pair in enumerate(pairs) if comparison(pair) in labels]
    if not judged:
        return "<p>Nothing judged yet.</p>"
    agree = [labels[comparison(pairs[i])] == pairs[i].chosen for i in judged]  # with the bundled label
    low, high = accuracy_interval([float(a) for a in agree], units([pairs[i] for i in judged]))
    message = f"<p>{len(judged)} judged; you agree with the bundled label in {sum(agree)} [{low:.2f}, {high:.2f}]."
    if features is not None and len(judged) >= least:
        mine = torch.stack([features[i] if ok else features[i].flip(0) for i, ok in zip(judged, agree)])
        w, _ = train_head(mine, TrainConfig(epochs=20, head_lr=3e-3))
        message += f" A reward head fitted on your {len(judged)} labels ranks {judge(held_out, w)['accuracy']:.2f} of {len(held_out)} held-out pairs as the bundled labels do."  # fmt: skip
    return message + "</p><hr>"
