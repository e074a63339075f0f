"""A reward model under examination: transformers' own class, and texts given to it in every way that libraries have.

Letters: N texts, B rows of a batch, T tokens.
"""

import copy
from dataclasses import dataclass, field

import torch

from rmtutorial.chat import CLOCK, settle_template
from rmtutorial.classifier import Classifier
from rmtutorial.encoding import PLAIN_TEMPLATE
from rmtutorial.loading import longest, read_classifier

AT_ONCE = 16  # texts of equal length in one forward pass


@dataclass
class Subject:
    """The model as it is, its tokenizer, and the score of every text that was read: no text is read twice."""

    name: str
    model: torch.nn.Module  # ids and mask (B, T) -> an output with logits (B, 1)
    tokenizer: object
    max_length: int  # tokens that are read of a text
    source: str | None = None  # folder or Hub id to load again; None for a model in memory
    missing: list = field(default_factory=list)  # weights that its files do not have
    notes: list = field(default_factory=list)  # what was done otherwise than it says
    dated: bool = False  # its chat template writes today's date
    at_once: int = 1  # texts of equal length in one forward pass: more, once it is known that this changes nothing
    scale: float = 1.0  # reward: the median distance of two answers to one prompt
    known: dict = field(default_factory=dict)

    def __post_init__(self):
        self.encoder = Classifier(self.model, self.tokenizer, self.max_length)  # from messages to ids

    @property
    def config(self):
        return self.model.config

    @property
    def pad(self):
        """The id that the model takes for padding, or None."""
        return self.config.pad_token_id

    @property
    def templated(self):
        """Is there a chat template, or are prompt and answer two segments?"""
        return self.tokenizer.chat_template is not None

    def encode(self, prompt, answers):
        """One Encoded text for each answer to a prompt."""
        return self.encoder.encode(prompt, answers)

    def encode_pairs(self, pairs):
        """[chosen, rejected] of every PreferencePair, one behind the other: 2 N texts."""
        both = self.encoder.encode_rows([(pair.prompt, [pair.chosen, pair.rejected]) for pair in pairs])
        return [text for texts in both for text in texts]

    def tail(self):
        """The ids that the chat template writes behind every answer; [] where it writes none."""
        one, two = (text.ids for text in self.encode("Which one?", ["The first one", "All of these two"]))
        same = next((i for i, (a, b) in enumerate(zip(one[::-1], two[::-1])) if a != b), 0)
        return one[len(one) - same :]

    def scores(self, texts):
        """Scores (N,) of Encoded texts, float32, as they are alone: never padded."""
        new = {key(text): text for text in texts if key(text) not in self.known}
        by_length = {}
        for text in new.values():
            by_length.setdefault(len(text.ids), []).append(text)
        for same in by_length.values():
            for at in range(0, len(same), self.at_once):
                part = same[at : at + self.at_once]
                self.known.update(zip(map(key, part), self.forward(part).tolist()))
        return torch.tensor([self.known[key(text)] for text in texts])

    def margins(self, pairs):
        """r(chosen) - r(rejected), (N,), of PreferencePairs."""
        chosen, rejected = self.scores(self.encode_pairs(pairs)).view(-1, 2).unbind(1)
        return chosen - rejected

    def right(self, pairs):
        """Of PreferencePairs, (N,): 1 where the chosen answer has more, 0 where less, 0.5 for a tie up to rounding."""
        margins = self.margins(pairs)
        return torch.where(margins.abs() <= 1e-4 * self.scale, 0.5, (margins > 0).double())

    def forward(self, texts, before=0, behind=0, pad=None):
        """Scores (B,) of texts of equal length in one pass, with so many `pad` ids, masked, on either side."""
        rows = [[pad] * before + list(text.ids) + [pad] * behind for text in texts]  # (B, T)
        mask = [[0] * before + [1] * len(text.ids) + [0] * behind for text in texts]
        inputs = {"input_ids": rows, "attention_mask": mask}
        if getattr(texts[0], "segments", None):
            inputs["token_type_ids"] = [[0] * before + list(text.segments) + [0] * behind for text in texts]
        return self.run(inputs)

    @torch.no_grad()
    def run(self, inputs):
        """Scores (B,), float32 on the CPU, of lists of ids and mask."""
        device = next(self.model.parameters()).device
        logits = self.model(**{name: torch.tensor(rows, device=device) for name, rows in inputs.items()}).logits
        return logits[:, 0].float().cpu()

    def padded(self, texts, side, length, pad=None):
        """Scores (N,) of texts, each a row of its own that is padded on one side to `length` tokens."""
        pad = self.pad if pad is None else pad
        found = []
        for text in texts:
            more = max(0, length - len(text.ids))
            found.append(self.forward([text], *((more, 0) if side == "left" else (0, more)), pad))
        return torch.cat(found)

    def again(self, model, texts):
        """Scores (N,) of the same texts by another copy of the model."""
        return Subject(self.name, model, self.tokenizer, self.max_length, at_once=self.at_once).scores(texts)


def key(text):
    """What makes two texts the same to a model."""
    return tuple(text.ids), tuple(getattr(text, "segments", None) or ())


def open_subject(model, tokenizer=None):
    """The Subject for a folder, a Hub id, or a model of transformers with its tokenizer.

    Raises: as `load_classifier`, but for missing weights; ValueError for a model without tokenizer or with more labels.
    """
    if isinstance(model, torch.nn.Module):
        if tokenizer is None:
            raise ValueError(f"{type(model).__name__} in memory: pass its tokenizer too")
        if model.config.num_labels != 1:
            raise ValueError(f"{type(model).__name__}: {model.config.num_labels} labels where a reward model has one")
        return _subject(type(model).__name__, model, tokenizer)
    read, tokenizer, settings, missing = read_classifier(model)
    if settings and settings["pooling"] == "mean":
        raise ValueError(
            f"{model}: saved with pooling='mean', which only rmtutorial reads; what is examined is what transformers makes "
            "of a folder. Train and save with pooling='last'"
        )
    subject = _subject(str(model), read, tokenizer)
    subject.source, subject.missing = str(model), missing
    return subject


def _subject(name, model, tokenizer):
    tokenizer, notes = copy.deepcopy(tokenizer), []
    dated = bool(CLOCK.search(tokenizer.get_chat_template())) if tokenizer.chat_template else False
    if tokenizer.chat_template is None and hasattr(model, "score") and tokenizer.eos_token:
        tokenizer.chat_template = PLAIN_TEMPLATE
        notes.append(f"It has no chat template: texts are prompt + {tokenizer.eos_token} + answer, which is a guess.")
    elif tokenizer.chat_template is None:
        notes.append("It has no chat template: prompt and answer are given as two segments.")
    settle_template(tokenizer)
    return Subject(name, model, tokenizer, longest(model, tokenizer), notes=notes, dated=dated)
