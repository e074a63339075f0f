"""Judge pairs yourself: buttons, a file of your labels, and a reward head fitted on them."""

import html
import json
from pathlib import Path

import ipywidgets
import torch

from rmtutorial.data.build import chance
from rmtutorial.files import write_text
from rmtutorial.intervals import wilson_interval
from rmtutorial.probe import judge, train_head
from rmtutorial.recipe import TrainConfig


def label_your_own(pairs, path, features=None, held_out=None, seed=0):
    """Judge pairs yourself: which answer is better? Labels are kept in `path`, a preference file, and go on from there.

    Args: pairs to judge; features (N, 2, H) of the same pairs and held_out (M, 2, H), if a reward model is to be
        fitted on the labels.
    Returns: a VBox of [buttons, text]; which answer stands first is random, the bundled label is hidden until judged.
    """
    path = Path(path)
    labels = read_labels(path)
    first, second, skip = (ipywidgets.Button(description=text) for text in ("A is better", "B is better", "skip"))
    text = ipywidgets.HTML()
    skipped = set()

    def show(message=""):
        pair = next((p for p in pairs if p.id not in labels and p.id not in skipped), None)
        for button in (first, second, skip):
            button.disabled = pair is None
        text.value = message + (render_question(pair, seed) if pair else "<p>All judged.</p>")
        return pair

    current = [show(labels_summary(pairs, labels, features, held_out))]

    def answered(button):
        pair = current[0]
        if button is skip:
            skipped.add(pair.id)
        else:
            labels[pair.id] = (button is first) == chosen_first(pair, seed)  # True: as the bundled label says
            write_labels(path, pairs, labels)
        current[0] = show(labels_summary(pairs, labels, features, held_out))

    for button in (first, second, skip):
        button.on_click(answered)
    return ipywidgets.VBox([ipywidgets.HBox([first, second, skip]), text])


def chosen_first(pair, seed):
    return chance(f"{seed} {pair.id}") < 0.5


def render_question(pair, seed):
    answers = (pair.chosen, pair.rejected) if chosen_first(pair, seed) else (pair.rejected, pair.chosen)
    lines = [("Prompt", pair.prompt), ("A", answers[0]), ("B", answers[1])]
    return "".join(f"<p><b>{name}</b><br>{html.escape(str(t)).replace(chr(10), '<br>')}</p>" for name, t in lines)


def read_labels(path):
    """{id: does the reader agree with the bundled label?} of a file that `label_your_own` wrote."""
    if not path.is_file():
        return {}
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["agrees"] for row in rows}


def write_labels(path, pairs, labels):
    """In TRL's columns, the reader's choice as `chosen`."""
    judged = [p for p in pairs if p.id in labels]
    answers = [(p.chosen, p.rejected) if labels[p.id] else (p.rejected, p.chosen) for p in judged]
    rows = [
        {"id": p.id, "prompt": p.prompt, "chosen": chosen, "rejected": rejected, "agrees": labels[p.id]}
        for p, (chosen, rejected) in zip(judged, answers)
    ]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def labels_summary(pairs, labels, features=None, held_out=None, least=8):
    """How often the reader agrees, and what a head fitted on the reader's labels reaches on held-out pairs."""
    judged = [i for i, pair in enumerate(pairs) if pair.id in labels]
    if not judged:
        return "<p>Nothing judged yet.</p>"
    agree = [labels[pairs[i].id] for i in judged]
    low, high = wilson_interval(sum(agree) / len(agree), len(agree))
    message = f"<p>{len(judged)} judged; you agree with the bundled label in {sum(agree)} [{low:.2f}, {high:.2f}]."
    if features is not None and len(judged) >= least:
        mine = torch.stack([features[i] if ok else features[i].flip(0) for i, ok in zip(judged, agree)])
        w, _ = train_head(mine, TrainConfig(epochs=20, head_lr=3e-3))
        message += f" A reward head fitted on your {len(judged)} labels ranks {judge(held_out, w)['accuracy']:.2f} of {len(held_out)} held-out pairs as the bundled labels do."  # fmt: skip
    return message + "</p><hr>"
