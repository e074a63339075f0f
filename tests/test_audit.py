"""The audit of a preference file: a healthy one has nothing to be said of, and each fault is found, placed and explained."""

import importlib.util
import json
import random
import re

import pytest

from conftest import tiny_tokenizer
from rmtutorial.__main__ import main
from rmtutorial.audit import audit
from rmtutorial.audit_pairs import is_one_word
from rmtutorial.near_duplicates import near_duplicates, similarity
from rmtutorial.preferences import load_preferences
from rmtutorial.scripts import script
from rmtutorial.shortcuts import shortcuts
from rmtutorial.splits import units_of

RENSA = pytest.mark.skipif(importlib.util.find_spec("rensa") is None, reason="rensa is not installed")
LETTERS = {"Latin": "etaoinshrdlucm", "Han": "的一是不了人我在有他这中大来上国个到说们", "Cyrillic": "оеаинтсрвлкмдп"}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A folder with a tokenizer, and nothing else: the audit needs no more."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(chat=True).save_pretrained(folder)
    return str(folder)


def text(chance, words, letters="Latin"):
    """Random words; of Han one long word without a space."""
    gap = "" if letters == "Han" else " "
    return gap.join("".join(chance.choices(LETTERS[letters], k=chance.randint(2, 7))) for _ in range(words)) + "."


def healthy(n=120, letters="Latin", words=(8, 8)):
    """Different prompts, answers that differ in nothing that can be seen; chosen with words[0], rejected with words[1]."""
    chance = random.Random(1)
    return [{"prompt": text(chance, 9, letters), "chosen": text(chance, words[0], letters), "rejected": text(chance, words[1], letters)} for _ in range(n)]  # fmt: skip


def serious(found):
    return [finding.what for finding in found.findings if finding.level != "note"]


def only(found, words):
    """The one finding that says so, which has a number, a place, a reason and a remedy."""
    (finding,) = [finding for finding in found.findings if words in finding.what]
    assert finding.why and finding.do and len(finding.rows) <= 3
    return finding


def broken(model, change, every=6, **options):
    """The audit of a healthy set in which `change(row)` was done to every sixth row."""
    rows = healthy()
    for row in rows[::every]:
        row.update(change(row))
    return audit(rows, model=model, **options)


@pytest.mark.parametrize("letters", LETTERS)
def test_a_healthy_set_has_nothing_serious(model, letters):
    """The control of everything below, in three scripts: no finding but notes."""
    found = audit(healthy(letters=letters), model=model)
    assert serious(found) == [] and not found.spoils
    assert (found.rows, found.pairs, found.looked_at) == (120, 120, 120)
    assert next(iter(found.scripts)) == letters and 10 <= found.splits["test"] <= 40


def test_the_bundled_pairs_would_spoil_no_training(model):
    """What the course trains on passes its own audit; its splits are those of the files."""
    found = audit(model=model)
    assert not found.spoils and found.rows == found.pairs == 1025
    assert found.splits == {split: len(load_preferences(split=split)) for split in ("train", "test")}


# Each fault, and where it is.


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda row: {"rejected": row["chosen"]}, "identical"),
        (lambda row: {"chosen": " "}, "chosen is empty"),
        (lambda row: {"prompt": None}, "prompt is null"),
        (lambda row: {"tools": ["x"]}, "column 'tools'"),
        (lambda row: {"split": "validation"}, "split is 'validation'"),
    ],
)
def test_rows_that_cannot_be_used_are_counted_by_kind(model, change, words):
    """Exit code 1: the training would refuse the file."""
    finding = only(broken(model, change), words)
    assert (finding.level, finding.count, finding.rows) == ("spoils", 20, [1, 7, 13])


@pytest.mark.parametrize(
    "change, words, level",
    [
        (lambda row: {"chosen": row["rejected"].upper(), "rejected": row["rejected"]}, "white space, capitals", "spoils"),
        (lambda row: {"chosen": row["chosen"] + "<|im_end|>"}, "control tokens", "spoils"),
        (lambda row: {"prompt": "[INST] " + row["prompt"]}, "control tokens", "spoils"),
        (lambda row: {"chosen": row["chosen"] + " schÃ¶n"}, "damaged characters", "spoils"),
        (lambda row: {"chosen": row["chosen"] + " \ufffd"}, "damaged characters", "spoils"),
        (lambda row: {"chosen": "Yes."}, "an answer of one word", "look"),
        (lambda row: {"rejected": "As a model I would rather not say."}, "pairs with the same rejected answer", "look"),
        (lambda row: {"chosen": "не знаю, что сказать об этом"}, "in different scripts", "look"),
        (lambda row: {"score_chosen": 3, "score_rejected": 3}, "without a winner (score_chosen = score_rejected)", "look"),
        (lambda row: {"tie": True}, "marked as a tie", "look"),
        (lambda row: {"chosen_score": 1.0, "rejected_score": 2.0}, "pairs whose loser has the better score", "spoils"),
        (lambda row: {"chosen": row["chosen"] * 30}, "pairs longer than 1,024", "look"),
        (lambda row: {"chosen": row["chosen"] * 60}, "nothing of the prompt is left", "spoils"),
        (lambda row: {"chosen": "x" + "again " * 400, "rejected": "y" + "again " * 400}, "the same once they are cut", "spoils"),
    ],
)  # fmt: skip
def test_a_fault_in_every_sixth_row_is_found_where_it_is(model, change, words, level):
    """20 of 120, the first in rows 1, 7 and 13; the healthy rows between them are not named."""
    finding = only(broken(model, change), words)
    assert (finding.level, finding.count, finding.rows) == (level, 20, [1, 7, 13])


def test_control_tokens_are_named_in_the_same_order_in_every_process(model):
    """Equally frequent ones by name: the order of a set of texts depends on the process."""
    finding = only(broken(model, lambda row: {"chosen": row["chosen"] + "<|im_start|><|im_end|>"}), "control tokens")
    assert finding.why.startswith("(<|im_end|> 20, <|im_start|> 20; in 20 chosen)")


def test_scores_of_a_table_are_numbers_too(model, tmp_path):
    """In a CSV everything is text; the place is counted in the file's own unit."""
    rows = [{**row, "score_chosen": 1, "score_rejected": 2} for row in healthy(60)]
    path = tmp_path / "a.csv"
    path.write_text("".join(",".join(map(str, values)) + "\n" for values in [rows[0], *(row.values() for row in rows)]))
    finding = only(audit(path, model=model), "pairs whose loser has the better score")
    assert (finding.count, finding.unit) == (60, "row")
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert only(audit(path, model=model), "pairs whose loser has the better score").unit == "line"


def test_one_row_of_many_is_worth_a_look_and_no_more(model):
    """A hundred and twenty rows are not spoilt by one: the level follows the share."""
    assert only(broken(model, lambda row: {"chosen": row["chosen"] + " \ufffd"}, 1000), "damaged").level == "look"


def test_pairs_that_are_there_twice(model):
    """The later ones are named."""
    rows = healthy()
    finding = only(audit(rows + rows[:30], model=model), "pairs that repeat")
    assert (finding.level, finding.count, finding.rows) == ("spoils", 30, [121, 122, 123])


def test_pairs_that_contradict_each_other(model):
    """Both sides of the quarrel are named. Three answers in an order contradict nothing."""
    rows = healthy()
    against = rows[0] | {"chosen": rows[0]["rejected"], "rejected": rows[0]["chosen"]}
    ranked = [{"prompt": "Which is it?", "chosen": a, "rejected": b} for a, b in ("AB", "BC", "AC")]
    finding = only(audit([*rows, against, *ranked], model=model), "contradict")
    assert (finding.level, finding.count, finding.rows) == ("spoils", 2, [1, 121])


def test_prompts_in_both_splits(model):
    """A column `split` that was made by row; the pairs to test on are named."""
    rows = [row | {"split": "train"} for row in healthy()]
    rows += [
        {**rows[0], "chosen": "Another answer.", "split": "test"},
        *({**row, "split": "test"} for row in healthy(140)[120:]),
    ]
    finding = only(audit(rows, model=model), "in train and in test")
    assert (finding.level, finding.count, finding.rows) == ("spoils", 1, [121])


def test_a_group_that_ties_everything_together(model):
    """Two arms of a study: no fifth can be held out."""
    rows = [row | {"group": "ab"[i % 2]} for i, row in enumerate(healthy())]
    assert only(audit(rows, model=model), "groups that leave no fifth").level == "spoils"


def test_few_prompts_are_a_note(model):
    """They spoil no training, but nothing can be measured on them."""
    found = audit(healthy(12), model=model)
    assert serious(found) == [] and only(found, "few prompts").level == "note" and found.shortcuts == []


def test_a_pair_that_the_chat_template_refuses(model, tmp_path):
    """Some templates know no system turn: the training would stop there."""
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.chat_template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    finding = only(broken(str(tmp_path), lambda row: {"system": "Be brief."}), "cannot be encoded")
    assert finding.level == "spoils" and finding.count == 20 and "no system here" in finding.why


@RENSA
def test_prompts_that_are_nearly_the_same_on_both_sides(model):
    """One letter was changed: the checksum puts it elsewhere, the answer is known."""
    rows = [row | {"split": "train"} for row in healthy()]
    near = [{**row, "prompt": row["prompt"] + "?", "chosen": "Something else.", "rejected": "Nothing.", "split": "test"} for row in rows[:20]]  # fmt: skip
    finding = only(audit(rows + near, model=model), "nearly the same in train and in test")
    assert (finding.level, finding.count, finding.rows) == ("spoils", 20, [121, 122, 123])
    grouped = [row | {"group": str(i % 120)} for i, row in enumerate(rows + near)]
    for row in grouped:
        del row["split"]
    assert not [f for f in audit(grouped, model=model).findings if "nearly" in f.what]  # one group, one side


@RENSA
def test_prompts_of_one_template_are_no_leak(model):
    """A long instruction before different short texts: near each other by the letter, and another question each."""
    task = "Please translate the following words into German, and say nothing else than the translation: "
    rows = [{**row, "prompt": task + row["prompt"][:12]} for row in healthy()]
    assert only(audit(rows, model=model), "nearly the same in train and in test").level == "look"


@RENSA
def test_pairs_that_nearly_repeat_another_one_but_not_mirrored_ones(model):
    """A space or a comma more is the same pair; the same texts with the answers exchanged is another one."""
    rows = healthy()
    near = [{"prompt": row["prompt"], "chosen": row["chosen"] + " Yes", "rejected": row["rejected"] + " No"} for row in rows[:40]]  # fmt: skip
    mirrored = [{"prompt": row["prompt"] + " Not", "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[60:70]]  # fmt: skip
    finding = only(audit(rows + near + mirrored, model=model), "pairs that nearly repeat")
    assert (finding.level, finding.count, finding.rows) == ("spoils", 40, [121, 122, 123])


@RENSA
def test_near_duplicates_point_to_the_first_of_their_kind():
    """In any script; what is short or other stays alone."""
    texts = [
        "苏州的省会是哪里我不知道请告诉我吧谢谢你",
        "a",
        "苏州的省会是哪里我不知道请告诉我吧谢谢您",
        "b",
        "苏州 is a town",
        "A",
    ]
    assert near_duplicates(texts) == [None, None, 0 if similarity(texts[0], texts[2]) > 0.8 else None, None, None, 1]
    long = "the same long sentence about a river and its town " * 3
    assert near_duplicates([long, long + "x", long.upper()]) == [None, 0, 0]


def test_without_the_library_near_duplicates_are_a_note_that_says_so(model, monkeypatch):
    """Not looked for is not the same as not there."""
    monkeypatch.setattr("rmtutorial.near_duplicates.available", lambda: False)
    assert only(audit(healthy(), model=model), "near-duplicates were not looked for").do == "pip install rensa"


# Shortcuts.


@pytest.mark.parametrize("letters", LETTERS)
def test_length_is_a_shortcut_in_any_script(model, letters):
    """Longer answers win: seen without spaces between words too, and called by its name."""
    found = audit(healthy(letters=letters, words=(14, 6)), model=model)
    judges = {judge.name: judge.accuracy for judge in found.shortcuts}
    assert judges["the longer answer"] > 0.95 and judges["length"] > 0.95
    assert only(found, "a shortcut: the longer answer").level == "spoils"


@pytest.mark.parametrize(
    "name, chosen, rejected",
    [("words (2 to 4 characters)", "谢谢你的问题", "我不想说这个"), ("style", "- **", "so "), ("words (2 to 4 characters)", "certainly", "unhappily")],
)  # fmt: skip
def test_words_and_marks_are_shortcuts(model, name, chosen, rejected):
    """The same words at the head of every better answer, in two scripts; a list with bold type."""
    rows = [{**row, "chosen": chosen + row["chosen"], "rejected": rejected + row["rejected"]} for row in healthy()]
    assert {judge.name: judge.accuracy for judge in audit(rows, model=model).shortcuts}[name] > 0.95


def test_the_shorter_answer_is_a_shortcut_too(model):
    """The rule has no sign to learn, so it is turned round by hand."""
    finding = only(audit(healthy(words=(6, 14)), model=model), "a shortcut: the shorter answer")
    assert finding.level == "spoils" and re.search(r"ranks (0.9|1.0)", finding.why)


def test_overlap_with_the_prompt_is_a_shortcut(model):
    """The better answer repeats the question."""
    rows = [{**row, "chosen": "Well, " + row["prompt"]} for row in healthy(letters="Han")]
    assert {judge.name: judge.accuracy for judge in audit(rows, model=model).shortcuts}[
        "overlap with the prompt"
    ] > 0.95


def test_judges_are_tried_on_prompts_that_they_were_not_fitted_on():
    """60 prompts with 4 pairs each, of which a coin decides the winner by prompt: learnt by heart it would be 1."""
    chance = random.Random(2)
    rows = []
    for i in range(60):
        sides = ("chosen", "rejected") if chance.random() < 0.5 else ("rejected", "chosen")
        rows += [{"prompt": f"Prompt {i}", sides[0]: f"alpha {text(chance, 6)}", sides[1]: f"omega {text(chance, 6)}"} for _ in range(4)]  # fmt: skip
    pairs = load_preferences(rows, split="all")
    judges = {judge.name: judge for judge in shortcuts(pairs, units_of(pairs))}
    words = judges["words (2 to 4 characters)"]
    assert words.accuracy < 0.75 and words.high - words.low > 0.2  # the interval is that of 60 prompts, not 240 pairs


# Scripts, words, pages.


def test_scripts_are_told_by_the_letters():
    """Most letters decide; Japanese is kana with or without Han."""
    told = {
        "Hello 你好 there": "Latin",
        "你好，世界 OK": "Han",
        "これは日本語です": "Japanese",
        "Привет": "Cyrillic",
        "مرحبا": "Arabic",
        "12 !": "",
    }
    assert {sentence: script(sentence) for sentence in told} == told


def test_a_chinese_sentence_is_not_one_word():
    """It has no spaces."""
    assert [is_one_word(t) for t in ("Yes.", "42", "是的。", "Yes, it is.", "我不知道这个问题", "", "x" * 50)] == [
        True, True, True, False, False, False, False]  # fmt: skip


def test_the_page_fits_a_terminal_and_names_everything(model):
    """100 columns, at most 60 lines for a file with a fault of each kind; numbers, places, reasons, remedies."""
    rows = healthy(words=(14, 6))
    rows[3]["chosen"], rows[9]["tools"], rows[12]["prompt"] = " ", ["x"], [{"role": "tool", "content": "x"}]
    rows[20]["chosen"] += "<|im_end|>"
    rows = [{**row, "score_chosen": i, "score_rejected": 50, "strength": i % 3 + 1} for i, row in enumerate(rows)]
    page = str(audit(rows, model=model))
    assert max(map(len, page.splitlines())) <= 100 and len(page.splitlines()) <= 60 and page.isascii()
    for words in ("rows in memory: 120 rows, 117 pairs", "prompt text, answers text", "train", "tokens", "half", "Latin",
                  "SPOILS", "(row 4)", "(row 10)", "(row 21)", "tool", "chance", "bad_rows='skip'"):  # fmt: skip
        assert words.replace("(row ", "(rows ") in page, words


def test_a_long_list_of_kinds_stays_a_page(model):
    """Forty kinds of fault are not forty findings."""
    rows = healthy() + [{"prompt": "q", "chosen": "a", "rejected": "b", "split": f"s{i:c}"} for i in range(97, 120)]
    assert len(str(audit(rows, model=model)).splitlines()) <= 60


def test_the_html_page_stands_alone_and_shows_what_the_text_shows(model):
    """One file without script or link; texts of the data are escaped."""
    found = broken(model, lambda row: {"rejected": "<script>alert(1)</script> no"})
    page = found.to_html()
    assert "<script" not in page and "http" not in page and "src=" not in page and "&lt;script&gt;" in page
    for finding in found.findings:
        assert finding.level.upper() in page and f"{finding.count:,}" in page
    assert found._repr_html_() in page and 'lang="en"' in page


def test_the_numbers_as_json(model):
    """Plain values, with the verdict."""
    found = json.loads(json.dumps(broken(model, lambda row: {"chosen": ""}).to_dict()))
    assert found["spoils"] and found["rows"] == 120 and found["findings"][0]["rows"] == [1, 7, 13]
    assert {"name", "accuracy", "low", "high"} == set(found["shortcuts"][0])


# The command line.


@pytest.fixture
def run(model, capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(["audit", *map(str, arguments), "--model", model])
        return stopped.value.code or 0, capsys.readouterr()

    return call


def test_the_verb_prints_writes_and_answers_by_its_exit_code(run, tmp_path):
    """0 for a healthy file, 1 where something would spoil a training, 2 where nothing can be read."""
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.csv"
    good.write_text("\n".join(map(json.dumps, healthy())))
    bad.write_text("q,chosen,rejected\n" + "".join(f"p{i},a,a\n" for i in range(9)))
    code, printed = run(good, "--html", tmp_path / "a.html", "--json", tmp_path / "a.json")
    assert code == 0 and "nothing that would spoil" in printed.out
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "a.json").read_text())["spoils"] is False
    code, printed = run(bad, "--columns", "prompt=q")
    assert code == 1 and "9 rows that cannot be used: chosen and rejected are identical" in printed.out
    assert (
        run(tmp_path / "none.jsonl")[0] == run(good, "--html", "no/a.html")[0] == run(good, "--max_length", 0)[0] == 2
    )


@pytest.mark.parametrize("kind", ["json", "csv", "gz", "parquet", "hh", "ultrafeedback", "sharegpt"])
def test_every_form_is_audited(model, tmp_path, kind):
    """What load_preferences reads: the same pairs, with the form named."""
    import gzip

    import pandas

    rows, path = healthy(60), tmp_path / f"a.{kind}"
    if kind == "json":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "csv":
        pandas.DataFrame(rows).to_csv(path)
    elif kind == "gz":
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif kind == "parquet":
        pytest.importorskip("pyarrow")
        pandas.DataFrame(rows).to_parquet(path)
    form = {"hh": "Human/Assistant text", "ultrafeedback": "conversation", "sharegpt": "one message"}.get(kind, "text")
    found = audit(path if path.exists() else in_form(rows, kind), model=model)
    assert found.pairs == 60 and serious(found) == [] and re.search(f"answers {form}", str(found))


def in_form(rows, kind):
    if kind == "hh":
        return [
            {side: f"\n\nHuman: {r['prompt']}\n\nAssistant: {r[side]}" for side in ("chosen", "rejected")} for r in rows
        ]
    if kind == "sharegpt":
        return [{"conversations": [{"from": "human", "value": r["prompt"]}], **{side: {"from": "gpt", "value": r[side]} for side in ("chosen", "rejected")}} for r in rows]  # fmt: skip
    turns = [{side: [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r[side]}] for side in ("chosen", "rejected")} for r in rows]  # fmt: skip
    return [{"prompt": row["prompt"], **sides} for row, sides in zip(rows, turns)]
