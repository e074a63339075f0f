"""A reward model of any make, read by transformers' own class: for scoring and evaluating, not for training.

Letters: N examples, K answers of one prompt, B rows of a padded batch, T tokens.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from rmtutorial.chat import settle_template, tell_control_tokens
from rmtutorial.encoding import Encoded, encode_answers, naming, rows_of
from rmtutorial.loading import load_classifier, longest
from rmtutorial.refusals import check_ids, rope_limit
from rmtutorial.reward_model import RewardModel


def load_scorer(name):
    """The RewardModel in a folder or on the Hub; a Classifier where its architecture cannot be packed.

    Raises: as `load_classifier`.
    """
    try:
        return RewardModel.from_pretrained(name)
    except NotImplementedError:
        model, tokenizer, _ = load_classifier(name)
        return Classifier(model, tokenizer)


@dataclass(frozen=True)
class EncodedRow(Encoded):
    """An Encoded answer with the segment of each token, for encoders that read prompt and answer as two segments."""

    segments: list | None = None


class Classifier(nn.Module):
    """Any sequence classification model with one label, an encoder too. Every answer is a padded row of its own."""

    rows = 16  # of one forward pass

    def __init__(self, model, tokenizer, max_length=None):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.max_length = min(longest(model, tokenizer), max_length or math.inf)
        if model.config.pad_token_id is None or rope_limit(model.config):
            self.rows = 1  # transformers takes no more without a pad token; and a score is of one text, not its batch
        settle_template(tokenizer)

    def encode(self, prompt, responses):
        """The Encoded answers (K,) to one prompt: by the chat template; without one, as two segments."""
        return self.encode_rows([(prompt, responses)])[0]

    def encode_rows(self, rows, names=None):
        """Of every (prompt, responses) the Encoded answers; a ValueError begins with the row's name, if it has one."""
        if self.tokenizer.chat_template:
            encoded = encode_answers(self.tokenizer, rows, self.max_length, names)
        else:
            encoded = [naming(name, self._segments, *row) for name, row in zip(names or [""] * len(rows), rows)]
        return check_ids(encoded, names, self.model.get_input_embeddings(), self.tokenizer)

    def _segments(self, prompt, responses):
        if not isinstance(prompt, str):
            raise ValueError("this model's tokenizer has no chat template, so a prompt must be text, not messages")
        self.tokenizer.truncation_side = "left"
        found = [  # a [SEP] in the text is text
            self.tokenizer(prompt, response, truncation=True, max_length=self.max_length, split_special_tokens=True)
            for response in responses
        ]
        return [EncodedRow(row["input_ids"], row.sequence_ids().index(1), row.get("token_type_ids")) for row in found]

    def encode_pairs(self, pairs):
        """The two Encoded answers [chosen, rejected] of every PreferencePair."""
        encoded = self.encode_rows(*rows_of(pairs))
        tell_control_tokens(self.tokenizer, pairs)
        return encoded

    @torch.no_grad()
    def score_encoded(self, examples, cache=None):
        """Rewards (N, K), float32 on the CPU, of N encoded examples of K answers each; `cache` is not used."""
        answers = [answer for example in examples for answer in example]
        rewards = torch.empty(len(answers))
        order = sorted(range(len(answers)), key=lambda i: len(answers[i].ids))  # rows of like length: little padding
        for at in range(0, len(order), self.rows):
            group = order[at : at + self.rows]
            rewards[group] = self.model(**self._batch([answers[i] for i in group])).logits[:, 0].float().cpu()
        return rewards.view(len(examples), -1)

    def _batch(self, answers):
        """Padded input_ids and attention_mask (B, T), with token_type_ids where the tokenizer has them."""
        columns = {"input_ids": [answer.ids for answer in answers]}
        if getattr(answers[0], "segments", None):
            columns["token_type_ids"] = [answer.segments for answer in answers]
        device = next(self.model.parameters()).device
        if len(answers) == 1:
            return {name: torch.tensor(rows, device=device) for name, rows in columns.items()}
        return self.tokenizer.pad(columns, padding=True, padding_side="right", return_tensors="pt").to(device)
