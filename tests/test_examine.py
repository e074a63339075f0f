"""The examination is tried by mutation: a model that is broken in one way is caught by the check for it, and by no other.

The healthy one is a tiny random Llama whose head was fitted in closed form to the very texts of the checks, so that it
has no weakness that they could see. A broken one differs from it in one thing; where that changes what the head reads,
the head is fitted anew.
"""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from rmtutorial import examine_rows
from rmtutorial import examine as examine_module
from rmtutorial.__main__ import main
from rmtutorial.backbones import CHAT_TEMPLATE
from rmtutorial.examine import CHECKS, examine
from rmtutorial.examine_html import page
from rmtutorial.examine_rows import Rows, rows_of, spread
from rmtutorial.examine_subject import open_subject
from rmtutorial.preference_rows import texts_of

PAD, START, END = 0, 1, 2  # <|endoftext|>, <|im_start|>, <|im_end|>
SYSTEM = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are kind.<|im_end|>\n{% endif %}"
MARGIN = 2.0  # of every pair of a healthy model


@pytest.fixture(scope="module")
def rows():
    """A few of the bundled ones."""
    whole = rows_of()
    contrast = {name: pairs[:5] for name, pairs in whole.contrast.items()}
    return Rows(whole.easy[:8], whole.mirrors[:5], contrast)


@pytest.fixture(scope="module")
def tokenizer(rows):
    """Byte-level BPE of the bundled texts; its pad token stands in no text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    texts = [text for pair in all_pairs(rows) for text in (*texts_of(pair.prompt), pair.chosen, pair.rejected)]
    made.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=special[1], eos_token=special[2], pad_token=special[0],
                                   model_max_length=256, padding_side="right", truncation_side="left")  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast


def all_pairs(rows):
    mirrored = [pair for both in rows.mirrors for pair in both]
    return [*rows.easy, *mirrored, *(pair for pairs in rows.contrast.values() for pair in pairs)]


@pytest.fixture(autouse=True)
def few_rows(rows, monkeypatch):
    """Every examination here reads the few; pairs of one's own as they are."""
    monkeypatch.setattr(examine_rows, "FEW", 3)
    whole = rows_of
    monkeypatch.setattr(examine_module, "rows_of", lambda pairs: rows if pairs is None else whole(pairs))


def llama(kind=LlamaForSequenceClassification, **changes):
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": 1500, "initializer_range": 0.1,
             "pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END, "num_labels": 1}  # fmt: skip
    torch.manual_seed(0)
    return kind(LlamaConfig(**sizes | changes)).eval()


def fitted(model, tokenizer, rows, wrong=()):
    """The model with a head for which every pair has its MARGIN, those of the `wrong` slices the other way round.

    And an answer without its end mark, or with a blank behind it, has the reward of the answer itself, and no prompt is
    above another. The head w is the solution of least norm of D w = t, one row of D for each of these differences of
    pooled states.
    """
    head, model.score = model.score, torch.nn.Identity()
    subject = open_subject(model, tokenizer)
    read = {}

    def state(text):
        key = tuple(text.ids)
        if key not in read:
            read[key] = states(model, text)
        return read[key]

    def both(pair):
        return [state(text) for text in subject.encode_pairs([pair])]

    backward = {pair for name in wrong for pair in rows.contrast[name]}
    D, t = [], []
    for pair in all_pairs(rows):
        chosen, rejected = both(pair)
        D.append(chosen - rejected)
        t.append(-MARGIN if pair in backward else MARGIN)
    for pair in rows.few:
        for answer in (pair.chosen, pair.rejected):
            text, *blanks = subject.encode(pair.prompt, [answer, answer + " ", answer + "\n"])
            cut = replace(text, ids=text.ids[: -len(subject.tail())])
            D += [state(other) - state(text) for other in (*blanks, cut)]
    D += [sum(both(pair)) - sum(both(rows.easy[0])) for pair in rows.easy[1:]]  # no prompt stands higher than another
    t += [0.0] * (len(D) - len(t))
    model.score = head
    head.weight.data = (torch.linalg.pinv(torch.stack(D).double(), rtol=1e-3) @ torch.tensor(t).double()).float()[None]
    return model


@torch.no_grad()
def states(model, text):
    """The pooled state (H,) that the head would read."""
    return model(
        input_ids=torch.tensor([text.ids]), attention_mask=torch.ones(1, len(text.ids), dtype=torch.int64)
    ).logits[0]


@pytest.fixture(scope="module")
def healthy(tokenizer, rows):
    return fitted(llama(), tokenizer, rows)


def caught(found):
    """The checks that are not content; what was skipped caught nothing."""
    return [finding.name for finding in found.findings if finding.status in ("fail", "warn")]


def test_a_healthy_model_passes_every_check(healthy, tokenizer):
    """The control of all that follows. Only loading twice is skipped: it is in memory."""
    found = examine(healthy, tokenizer)
    assert caught(found) == [] and not found.wrong and len(found.findings) == len(CHECKS) >= 15, str(found)
    assert [finding.name for finding in found.findings if finding.status == "skipped"] == ["weights"]


class Broken(LlamaForSequenceClassification):
    """Its forward reads as transformers does; one of the mutations changes ids, mask, mode or scores on the way."""

    def forward(self, input_ids=None, attention_mask=None, **how):
        mask = self.masked(input_ids, attention_mask)
        hidden = self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state  # (B, T, H)
        at = self.read(input_ids, attention_mask)  # (B,)
        logits = self.score(hidden[torch.arange(len(at)), at])
        return SimpleNamespace(logits=self.scored(logits, input_ids, attention_mask))

    def masked(self, ids, mask):
        return mask

    def read(self, ids, mask):
        return last_of(ids != PAD)

    def scored(self, logits, ids, mask):
        return logits


def last_of(there):
    """The last place (B,) where something (B, T) is."""
    return (there.int() * torch.arange(1, there.shape[1] + 1)).argmax(1)


class NoHeadSaved(Broken):
    def save_pretrained(self, folder, **how):
        super().save_pretrained(folder, state_dict={k: v for k, v in self.state_dict().items() if "score" not in k})


class FarFromZero(Broken):
    def scored(self, logits, ids, mask):
        return logits + 1000


class CentredByBatch(Broken):
    def scored(self, logits, ids, mask):
        return logits - logits.mean(0) if len(logits) > 1 else logits


class ReadsTheRowsEnd(Broken):
    def read(self, ids, mask):
        return torch.full((len(ids),), ids.shape[1] - 1)


class CountsTheMask(Broken):
    def read(self, ids, mask):
        return mask.sum(1) - 1


class MasksByIds(Broken):
    def masked(self, ids, mask):
        return (ids != PAD).long()


class LikesCutAnswers(Broken):
    def scored(self, logits, ids, mask):
        last = last_of(ids != PAD)[:, None]
        near = (torch.arange(ids.shape[1]) > last - 4) & (torch.arange(ids.shape[1]) <= last)
        return logits + 5 * MARGIN * ~((ids == END) & near).any(1, keepdim=True)


class DislikesBlanks(Broken):
    """`blanks` are the ids of a blank and of a newline."""

    blanks = ()

    def scored(self, logits, ids, mask):
        end = last_of(ids == END)
        before = ids[torch.arange(len(ids)), end - 1]
        return logits - 5 * MARGIN * torch.isin(before, torch.tensor(self.blanks))[:, None]


class OffByThree(Broken):
    def read(self, ids, mask):
        return last_of(ids != PAD) - 3


class NoPrompt(Broken):
    def masked(self, ids, mask):
        turn = last_of(ids == START)[:, None]  # the assistant's
        return mask * (torch.arange(ids.shape[1]) >= turn)


class LevelByPrompt(Broken):
    def scored(self, logits, ids, mask):
        turn = last_of(ids == START)[:, None]
        asked = ids * mask * (torch.arange(ids.shape[1]) < turn)
        return logits + 3 * MARGIN * (asked.sum(1, keepdim=True) % 7)


def of_healthy(kind):
    """A mutation of how the healthy weights are read."""

    def made(healthy, tokenizer, rows):
        model = kind(copy.deepcopy(healthy.config)).eval()
        model.load_state_dict(healthy.state_dict())
        return model, tokenizer

    return made


def anew(kind=LlamaForSequenceClassification, wrong=(), **config):
    """A mutation that changes what the head reads: the head is fitted to that."""

    def made(healthy, tokenizer, rows):
        return fitted(llama(kind, **config), tokenizer, rows, wrong), tokenizer

    return made


def of_tokenizer(change, fit=False):
    """A mutation of the tokenizer."""

    def made(healthy, tokenizer, rows):
        other = copy.deepcopy(tokenizer)
        change(other)
        return fitted(llama(), other, rows) if fit else healthy, other

    return made


def in_train_mode(healthy, tokenizer, rows):
    model = copy.deepcopy(healthy)
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    return model.train(), tokenizer


def with_head(value):
    def made(healthy, tokenizer, rows):
        model = copy.deepcopy(healthy)
        model.score.weight.data.fill_(value)
        return model, tokenizer

    return made


def minds_blanks(healthy, tokenizer, rows):
    model, _ = of_healthy(DislikesBlanks)(healthy, tokenizer, rows)
    model.blanks = [tokenizer.convert_tokens_to_ids(token) for token in ("\u0120", "\u010a")]
    return model, tokenizer


def double_bos(tokenizer):
    bos = [(tokenizer.bos_token, START)]
    tokenizer._tokenizer.post_processor = TemplateProcessing(single=f"{tokenizer.bos_token} $A", special_tokens=bos)


LONG_ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 32, "long_factor": [4.0] * 32,
             "original_max_position_embeddings": 160}  # fmt: skip
MUTATIONS = {
    "spread": (with_head(0.0), "fail"),
    "spread, NaN": (with_head(float("nan")), "fail"),
    "repeat": (in_train_mode, "fail"),
    "saved": (of_healthy(NoHeadSaved), "fail"),
    "saved, tokenizer": (of_tokenizer(lambda t: setattr(t, "save_pretrained", lambda folder: lose(t, folder))), "warn"),
    "bf16": (of_healthy(FarFromZero), "fail"),
    "batch": (of_healthy(CentredByBatch), "fail"),
    "padded right": (of_healthy(ReadsTheRowsEnd), "fail"),
    "padded left": (of_healthy(CountsTheMask), "warn"),
    "padded far": (anew(rope_parameters=LONG_ROPE), "fail"),
    "under mask": (of_healthy(MasksByIds), "fail"),
    "pad token": (of_tokenizer(lambda t: setattr(t, "pad_token", "<|im_end|>")), "fail"),
    "maximum length": (of_tokenizer(lambda t: setattr(t, "truncation_side", "right")), "warn"),
    "maximum length, none": (of_tokenizer(lambda t: setattr(t, "model_max_length", 10**30)), "warn"),
    "end mark": (of_healthy(LikesCutAnswers), "warn"),
    "second BOS": (of_tokenizer(double_bos), "warn"),
    "system turn": (of_tokenizer(lambda t: setattr(t, "chat_template", SYSTEM + CHAT_TEMPLATE), fit=True), "warn"),
    "trailing blank": (minds_blanks, "warn"),
    "position": (anew(OffByThree), "fail"),
    "prompt": (anew(NoPrompt), "fail"),
    "offset": (of_healthy(LevelByPrompt), "warn"),
    "length": (anew(wrong=["the shorter one is right"]), "warn"),
    "terse": (anew(wrong=["the single word is right"]), "warn"),
    "format": (anew(wrong=["it is decoration"]), "warn"),
    "flattery": (anew(wrong=["the user is wrong"]), "warn"),
    "refusal": (anew(wrong=["it would do none"]), "warn"),
}


def lose(tokenizer, folder):
    other = copy.deepcopy(tokenizer)
    vars(other).pop("save_pretrained", None)
    other.padding_side = "left"
    other.save_pretrained(folder)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_model_that_is_broken_in_one_way_is_caught_by_that_check_and_by_no_other(healthy, tokenizer, rows, mutation):
    """And a check that makes scores wrong fails, one that is to be known before use warns; both say what to do."""
    make, status = MUTATIONS[mutation]
    found = examine(*make(healthy, tokenizer, rows))
    name = mutation.partition(",")[0]
    assert caught(found) == [name], str(found)
    assert found[name].status == status and found[name].do and found[name].guards
    assert found.wrong == (status == "fail")


def test_every_check_has_a_mutation():
    """Those of saved folders and of exchanged pairs stand below."""
    tried = {mutation.partition(",")[0] for mutation in MUTATIONS} | {"weights", "sign"}
    assert tried == {finding for finding in NAMES}


NAMES = ("weights", "spread", "repeat", "saved", "bf16", "batch", "padded right", "padded left", "padded far", "under mask",
         "pad token", "maximum length", "end mark", "second BOS", "system turn", "trailing blank", "position", "prompt", "sign",
         "offset", "length", "terse", "format", "flattery", "refusal")  # fmt: skip
