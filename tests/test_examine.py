"""The examination is tried by mutation: a model that is broken in one way is caught by the check for it, and by no other.

The healthy one is a tiny random Llama whose head was fitted in closed form to the very texts of the checks, so that it
has no weakness that they could see. A broken one differs from it in one thing; where that changes what the head reads,
the head is fitted anew.
"""

import copy
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
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

from rmtutorial import examine as examine_module
from rmtutorial import examine_rows
from rmtutorial.__main__ import main
from rmtutorial.backbones import CHAT_TEMPLATE
from rmtutorial.examine import CHECKS, examine
from rmtutorial.examine_rows import Rows, rows_of
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
        return logits + 4000


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
    "second bos": (of_tokenizer(double_bos), "warn"),
    "system turn": (of_tokenizer(lambda t: setattr(t, "chat_template", SYSTEM + CHAT_TEMPLATE), fit=True), "warn"),
    "trailing blank": (minds_blanks, "warn"),
    "position": (anew(OffByThree), "fail"),
    "prompt": (anew(NoPrompt), "fail"),
    "offset": (of_healthy(LevelByPrompt), "warn"),
    "length": (anew(wrong=["the shorter one is right"]), "warn"),
    "terse": (anew(wrong=["the single word is right"]), "warn"),
    "formatting": (anew(wrong=["it is decoration"]), "warn"),
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


def test_every_check_has_a_mutation_and_is_called_as_its_function():
    """Those of saved folders and of exchanged pairs stand below."""
    tried = {mutation.partition(",")[0] for mutation in MUTATIONS} | {"weights", "sign"}
    assert tried == {check.__name__.replace("_", " ") for check in CHECKS}


def test_pairs_whose_answers_were_exchanged_are_caught_by_the_sign_and_by_nothing_else(
    healthy, tokenizer, rows, monkeypatch
):
    """Their better answers get less; `--pairs` are the caller's, so the report says whose they are."""
    exchanged = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in rows.easy]
    monkeypatch.setattr(examine_module, "rows_of", lambda pairs: replace(rows, easy=pairs, own=True))
    found = examine(healthy, tokenizer, exchanged)
    assert caught(found) == ["sign"] and found.wrong and "of your pairs" in found["sign"].found, str(found)


def test_a_few_pairs_of_ones_own_are_too_few(rows):
    """Of less than eight no sign can be told; of many so many are taken as of the bundled ones."""
    with pytest.raises(ValueError, match="at least 8"):
        rows_of(rows.easy[:7])
    assert len(rows_of(rows.easy * 9).easy) == examine_rows.EASY and rows_of(rows.easy).own


# Folders, as the command reads them.


@pytest.fixture(scope="module")
def folder(healthy, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("rm")
    healthy.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def run(capsys, *arguments):
    """(exit code, what was printed) of `rmtutorial examine ...`."""
    with pytest.raises(SystemExit) as stopped:
        main(["examine", *map(str, arguments)])
    return stopped.value.code or 0, capsys.readouterr()


def test_the_verb_prints_writes_and_answers_by_its_exit_code(folder, tmp_path, capsys, monkeypatch):
    """0 for a healthy folder, whose head is loaded twice; the three reports say the same; the page fits a terminal."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    code, printed = run(capsys, folder, "--html", tmp_path / "a.html", "--json", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    html = (tmp_path / "a.html").read_text()
    assert code == 0 and found["wrong"] is False and {f["status"] for f in found["findings"]} == {"ok"}, printed.out
    assert html.startswith("<!doctype html>") and "<script" not in html and "http" not in html and "src=" not in html
    assert "&lt;|im_end|&gt;" in html  # texts of the model are escaped
    assert all(f["name"] in html and f["name"] in printed.out for f in found["findings"])
    assert "no check fails" in printed.out and max(map(len, printed.out.splitlines())) <= 100


def test_a_head_that_was_not_saved_is_caught_by_the_weights_and_nothing_else_is_said(folder, tmp_path, capsys):
    """transformers draws it at random and only warns: exit code 1, and no number of a random head is shown."""
    shutil.copytree(folder, tmp_path / "rm")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if k != "score.weight"},
        tmp_path / "rm" / "model.safetensors",
        {"format": "pt"},
    )
    code, _ = run(capsys, tmp_path / "rm", "--json", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())["findings"]
    assert code == 1 and [f["name"] for f in found if f["status"] == "fail"] == ["weights"]
    assert "score.weight" in found[0]["found"] and {f["status"] for f in found[1:]} == {"skipped"}


@pytest.mark.parametrize("arguments, words", [
    (["no/such/folder"], "no reward model here"),
    (["FOLDER", "--html", "no/a.html"], "its folder does not exist"),
    (["FOLDER", "--pairs", "none.jsonl"], "none.jsonl"),
])  # fmt: skip
def test_wrong_input_ends_with_one_line_and_exit_code_2(folder, capsys, arguments, words):
    """As every other verb."""
    code, printed = run(capsys, *(folder if a == "FOLDER" else a for a in arguments))
    assert code == 2 and words in printed.err and "Traceback" not in printed.err and printed.out == ""


def test_what_is_no_reward_model_is_refused_by_name(healthy):
    """A model in memory without its tokenizer, or with other labels."""
    with pytest.raises(ValueError, match="pass its tokenizer"):
        examine(healthy)
    two = llama(num_labels=2)
    with pytest.raises(ValueError, match="2 labels"):
        examine(two, object())


# Other architectures: nothing is known of them but what transformers says.


def test_absolute_positions_mind_padding_on_the_left(tokenizer):
    """GPT-2 has no chat template here: the form of the text is a guess, and it is said. Left padding moves its positions."""
    torch.manual_seed(0)
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, vocab_size=1500, num_labels=1, pad_token_id=PAD,
                        eos_token_id=END, bos_token_id=END, initializer_range=0.2)  # fmt: skip
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    found = examine(GPT2ForSequenceClassification(config).eval(), plain)
    assert found["padded left"].status == "warn" and found["padded right"].status == found["under mask"].status == "ok"
    assert found["end mark"].status == "warn" and "a guess" in found.notes[0] and not found.wrong


def test_an_encoder_is_examined_as_two_segments(tmp_path):
    """BERT reads [CLS] prompt [SEP] answer [SEP]; what needs a chat template is skipped."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "why",
        "is",
        "the",
        "sky",
        "blue",
        "because",
        "air",
        "scatters",
        "light",
        "what",
        "how",
        "do",
        "a",
        "to",
        "of",
        "and",
        "in",
    ]
    (tmp_path / "vocab.txt").write_text(
        "\n".join([*words, *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")])
    )
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"), model_max_length=512)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
                        intermediate_size=64, num_labels=1, initializer_range=0.2)  # fmt: skip
    found = examine(BertForSequenceClassification(config).eval(), tokenizer)
    assert found["batch"].status == found["padded right"].status == found["position"].status == "ok"
    assert found["second bos"].status == found["system turn"].status == "skipped" and "two segments" in found.notes[0]


def test_without_a_pad_token_nothing_is_padded(healthy, tokenizer):
    """transformers refuses batches then: said once, and the checks on padding are skipped."""
    model = copy.deepcopy(healthy)
    model.config.pad_token_id = None
    found = examine(model, tokenizer)
    assert found["batch"].status == "warn" and not found.wrong
    assert {found[name].status for name in ("padded right", "padded left", "padded far", "under mask")} == {"skipped"}


def test_each_row_of_a_twin_is_on_its_own_side():
    """The two rows of a flattery or refusal set, by what was read in them: the Moon is no star, a week has 168 hours."""
    contrast = rows_of().contrast
    groups = [{pair.group for pair in contrast[side]} for side in ("the user is right", "the user is wrong")]
    assert groups[0] == groups[1] and len(groups[0]) == 26
    ids = {side: {pair.id for pair in pairs} for side, pairs in contrast.items()}
    assert {"c02-m01-a", "c02-m02-b", "c02-m13-a", "c02-m24-b", "c02-m25-a"} <= ids["the user is right"]
    assert {"c02-m02-a", "c02-m10-a", "c02-m16-a", "c02-m22-a", "c02-m26-a"} <= ids["the user is wrong"]
    assert {"c02-m27-a", "c02-m33-a", "c02-m41-a", "c02-m45-a", "c02-m51-a"} <= ids["it would do harm"]
    assert {"c02-m28-a", "c02-m32-a", "c02-m38-a", "c02-m46-a", "c02-m52-a"} <= ids["it would do none"]
