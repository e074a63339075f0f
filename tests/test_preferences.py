"""Preference files: every form gives the same pairs, the split leaks nothing, and bad rows are named, all at once."""

import importlib.util
import json

import pytest

from rmtutorial.preferences import BadPreferences, PreferencePair, load_preferences

ROW = {"prompt": "Why is the sky blue?", "chosen": "Air scatters blue light more.", "rejected": "It is."}
NEEDS_PYARROW = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")


def write_jsonl(path, rows):
    """One line a row; a row that is a string is written as it stands, so that it can be broken."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_json(path, rows):
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return path


def write_parquet(path, rows):
    import pandas

    pandas.DataFrame(rows).to_parquet(path)
    return path


def many_rows(n, prompts, groups=0):
    """n rows over `prompts` prompts; row i is in group i modulo `groups`."""
    return [
        {
            "prompt": f"Question {i % prompts}?",
            "chosen": f"Good answer {i}.",
            "rejected": f"Bad answer {i}.",
            **({"group": f"g{i % groups}"} if groups else {}),
        }
        for i in range(n)
    ]


def refusal(path):
    """The message without the folder: its name has the words of the test in it."""
    with pytest.raises(BadPreferences) as error:
        load_preferences(path, split="all")
    return str(error.value).replace(str(path.parent), "")


def as_messages(row):
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {column: [{"role": roles[column], "content": text}] for column, text in row.items()}


# One set, three kinds of file, two kinds of column.


@pytest.mark.parametrize(
    ("suffix", "write"),
    [(".jsonl", write_jsonl), (".json", write_json), pytest.param(".parquet", write_parquet, marks=NEEDS_PYARROW)],
)
@pytest.mark.parametrize("messages", [False, True])
def test_every_file_format_gives_the_pairs_that_were_written(tmp_path, suffix, write, messages):
    """The format of the file is no part of the data; Parquet hands lists back as numpy arrays."""
    rows = [{**ROW, "prompt": f"Why {i}?"} for i in range(12)]
    path = write(tmp_path / f"pairs{suffix}", [as_messages(row) for row in rows] if messages else rows)
    assert load_preferences(path, split="all") == [PreferencePair(**row) for row in rows]


def test_a_conversation_as_prompt_stays_a_list_of_messages(tmp_path):
    """Only a single user turn is the same thing as its text."""
    turns = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
    ]
    (pair,) = load_preferences(write_jsonl(tmp_path / "p.jsonl", [{**ROW, "prompt": turns}]), split="all")
    assert pair.prompt == turns


def test_extra_columns_are_kept_and_unknown_ones_ignored(tmp_path):
    """Files of other projects have columns that the course does not know; null means absent."""
    row = {**ROW, "id": "x", "axis": "tone", "difficulty": 2, "topic": None, "score": 0.5}
    (pair,) = load_preferences(write_jsonl(tmp_path / "p.jsonl", [row]), split="all")
    assert pair == PreferencePair(**ROW, id="x", axis="tone", difficulty=2)


def test_a_byte_order_mark_and_a_line_separator_inside_a_text_do_not_matter(tmp_path):
    """Windows editors write the mark; U+2028 may stand unescaped in JSON and is not the end of a line there."""
    row = {**ROW, "chosen": "one\u2028two \u00e9"}
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row, ensure_ascii=False).encode())
    assert load_preferences(path, split="all") == [PreferencePair(**row)]


# The prompt that nobody wrote into a column.


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("Q: red or blue? A: blue", "Q: red or blue? A: red", "Q: red or blue? A: "),
        ("Why?\nBecause.", "Why?\nBetter not.", "Why?\n"),  # both answers begin with "Be": half a word is no prompt
        ("Say it. Yes", "Say it. Yes, I do", "Say it. "),  # one side is the beginning of the other
    ],
)
def test_implicit_prompt_of_texts_is_their_common_beginning_in_whole_words(tmp_path, chosen, rejected, prompt):
    """Where the caller says so: prompt + answer is again the text, and the answers differ from their first word on."""
    path = write_jsonl(tmp_path / "p.jsonl", [{"chosen": chosen, "rejected": rejected}])
    (pair,) = load_preferences(path, split="all", columns={"prompt": None})
    assert (pair.prompt, pair.prompt + pair.chosen, pair.prompt + pair.rejected) == (prompt, chosen, rejected)


def test_implicit_prompt_of_messages_is_their_common_beginning(tmp_path):
    """HH-RLHF and UltraFeedback come like this: two whole conversations that differ in the last message."""
    start = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]
    sides = {side: [*start, {"role": "assistant", "content": ROW[side]}] for side in ("chosen", "rejected")}
    path = write_jsonl(tmp_path / "p.jsonl", [sides, {side: turns[1:] for side, turns in sides.items()}])
    with_system, user_only = load_preferences(path, split="all")
    assert (with_system.prompt, with_system.chosen, with_system.rejected) == (start, ROW["chosen"], ROW["rejected"])
    assert user_only == PreferencePair("Why?", ROW["chosen"], ROW["rejected"])


# The split.


def test_split_holds_out_about_a_fifth_of_the_prompts_and_loses_none(tmp_path):
    """200 prompts, 80 : 20: a fair coin of 0.2 gives 40 +- 5.7 held-out prompts; 20 to 60 is 3.5 of those."""
    path = write_jsonl(tmp_path / "p.jsonl", many_rows(600, prompts=200))
    train, test, everything = (load_preferences(path, split=split) for split in ("train", "test", "all"))
    prompts_of_train, prompts_of_test = ({pair.prompt for pair in pairs} for pairs in (train, test))
    assert not prompts_of_train & prompts_of_test
    assert 20 <= len(prompts_of_test) <= 60
    assert {*train, *test} == {*everything} and len(train) + len(test) == len(everything) == 600


def test_split_is_the_same_on_each_call_and_does_not_depend_on_the_order_of_the_rows(tmp_path):
    """A split that moves when rows are added or shuffled leaks yesterday's test prompts into today's training."""
    rows = many_rows(300, prompts=200)
    path, backwards = tmp_path / "p.jsonl", write_jsonl(tmp_path / "b.jsonl", rows[50:][::-1])
    test = load_preferences(write_jsonl(path, rows), split="test")
    assert test == load_preferences(path, split="test")
    assert set(load_preferences(backwards, split="test")) == set(test) & set(load_preferences(backwards, split="all"))


def test_the_pairs_of_a_group_stay_in_one_split(tmp_path):
    """A mirror set has two prompts and the same two answers: its twin in training gives the test answer away."""
    path = write_jsonl(tmp_path / "p.jsonl", many_rows(400, prompts=400, groups=100))
    groups = [{pair.group for pair in load_preferences(path, split=split)} for split in ("train", "test")]
    assert all(groups) and not groups[0] & groups[1]
    assert len(groups[0] | groups[1]) == 100


def test_no_prompt_is_in_both_splits_even_where_its_pairs_are_in_several_groups(tmp_path):
    """Both promises at once: rows that are linked by a prompt or by a group, however far, are one unit."""
    path = write_jsonl(tmp_path / "p.jsonl", many_rows(400, prompts=100, groups=400))
    train, test = ({pair.prompt for pair in load_preferences(path, split=split)} for split in ("train", "test"))
    assert not train & test


def test_a_split_column_is_obeyed(tmp_path):
    """Who made the set has divided it already; here against what the checksum of the prompt would say."""
    rows = many_rows(100, prompts=100)
    for i, row in enumerate(rows):
        row["split"] = "test" if i < 50 else "train"
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    for split in ("train", "test"):
        wanted = [row["prompt"] for row in rows if row["split"] == split]
        assert [pair.prompt for pair in load_preferences(path, split=split)] == wanted


# What is refused.


def test_all_bad_rows_are_refused_at_once_with_line_number_and_reason(tmp_path):
    """One run shows all that has to be mended; blank lines count, as they do in an editor."""
    rows = [ROW, "", {**ROW, "rejected": " "}, {"prompt": "q", "chosen": "a"}, "   ", {**ROW, "chosen": 7}]
    rows += [{**ROW, "rejected": ROW["chosen"]}, "[1, 2]", '"text"', {**ROW, "prompt": " "}, {**ROW, "prompt": 3}]
    rows += [ROW] * 5 + ['{"prompt": "q", "chosen"'] + [{**ROW, "chosen": [{"role": "user", "content": "a"}]}]
    lines = refusal(write_jsonl(tmp_path / "p.jsonl", rows)).splitlines()
    wanted = {3: "empty", 4: "'rejected' is missing", 6: "not text but int: 7", 7: "identical", 8: "list",
              9: "str", 10: "prompt is empty", 11: "prompt is not text but int: 3", 17: "broken JSON",
              18: "assistant"}  # fmt: skip
    assert "p.jsonl" in lines[0] and " 10 bad rows" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == [f"line {number}" for number in wanted]
    assert all(reason in line for reason, line in zip(wanted.values(), lines[1:]))


@pytest.mark.parametrize("prompt", [["Why?"], [{"role": "user", "content": "Why?"}, "Because?"], [None]])
def test_a_prompt_list_that_is_not_all_messages_is_a_bad_row(tmp_path, prompt):
    """It would break later, in the chat template, where nobody knows the line any more."""
    assert "line 2: prompt" in refusal(write_jsonl(tmp_path / "p.jsonl", [ROW, {**ROW, "prompt": prompt}]))


def test_a_row_without_any_prompt_is_a_bad_row(tmp_path):
    """No prompt column and nothing in common: there is no prompt to be found."""
    message = refusal(write_jsonl(tmp_path / "p.jsonl", [ROW, {"chosen": "Yes.", "rejected": "No."}]))
    assert "line 2: no prompt" in message and "column" in message


def test_identical_conversations_without_a_prompt_column_are_called_identical(tmp_path):
    """The common beginning swallows both answers; the reason is still that the two sides do not differ."""
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    message = refusal(write_jsonl(tmp_path / "p.jsonl", [{"chosen": turns, "rejected": turns}]))
    assert "line 1: " in message and "identical" in message


@pytest.mark.parametrize("column", ["id", "group"])
def test_whole_numbers_as_id_or_group_are_read_as_text(tmp_path, column):
    """Most files on the Hub number their rows; the fields of a PreferencePair are text."""
    path = write_jsonl(tmp_path / "p.jsonl", [{**ROW, column: 7}])
    (pair,) = load_preferences(path, split="all")
    assert getattr(pair, column) == "7"


@pytest.mark.parametrize("text", ["3", "null", json.dumps(ROW)])
def test_a_json_file_that_is_no_list_of_rows_is_refused_with_its_name(tmp_path, text):
    """A single object is no list; its three keys are not three bad rows."""
    path = tmp_path / "p.json"
    path.write_text(text)
    message = refusal(path)
    assert "p.json" in message and "list" in message


def test_broken_json_file_is_refused_with_its_line(tmp_path):
    """A comma too many is found by its line, like in an editor."""
    path = tmp_path / "p.json"
    path.write_text("[\n" + json.dumps(ROW) + ",\n]\n")
    assert "broken JSON" in refusal(path)
    assert refusal(path).splitlines()[1].strip().startswith(("line 2:", "line 3:"))  # Pythons differ in the place


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"split": 1}, "split is 1: must be train or test"),
        ({"split": "validation"}, "split is 'validation': must be train or test"),
        ({"group": "x\ud83d"}, "half of a character"),
        ({"chosen": "ok \ud83d"}, "half of a character"),
        ({"prompt": [{"role": "user", "content": "\udc00"}]}, "half of a character"),
        ({"strength": float("inf")}, "strength must be int, not inf"),
    ],
)
def test_a_value_that_would_fail_later_is_a_bad_row(tmp_path, change, reason):
    """Named with its line, before anything is trained; a row that no split has would be lost without a word."""
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    message = refusal(write_jsonl(tmp_path / "pairs.jsonl", [row, row | change]))
    assert f"line 2: {reason}" in message and "1 bad rows" in message


def test_a_file_that_is_not_utf_8_is_named(tmp_path):
    """What PowerShell writes with >."""
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "Why?", "chosen": "a", "rejected": "b"}', encoding="utf-16")
    assert "pairs.jsonl: not UTF-8" in refusal(path) and "save it as UTF-8" in refusal(path)


def test_empty_file_is_refused_with_its_name(tmp_path):
    """Training on nothing would fail much later and say less."""
    assert "empty.jsonl: no rows" in refusal(write_jsonl(tmp_path / "empty.jsonl", ["", "  "]))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"split": "dev"}, "split='dev'"), ({"axis": "charm"}, "axis='charm'"), ({"size": 0}, "size=0"),
     ({"size": 10**6}, "size=1000000")],
)  # fmt: skip
def test_an_unknown_choice_is_refused_with_the_value(arguments, named):
    """The message says what was asked for and what there is."""
    with pytest.raises(ValueError, match=named) as error:
        load_preferences(**arguments)
    assert "choose" in str(error.value) or "this set has" in str(error.value)


@pytest.mark.parametrize("name", ["nowhere.jsonl", "nowhere.json", "nowhere.parquet"])
def test_a_missing_file_is_refused_with_its_name(tmp_path, name):
    """It is no Hub id either, so nobody should be told to install `datasets`."""
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
        load_preferences(tmp_path / name)


def test_a_hub_id_without_the_library_says_how_to_install_it(monkeypatch):
    """The core does not depend on `datasets`; only who wants the Hub needs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install datasets") as error:
        load_preferences("somebody/some-preferences")
    assert "'somebody/some-preferences'" in str(error.value)


# The set that comes with the package.


def test_the_bundled_splits_share_no_prompt_and_no_group():
    """Otherwise the held-out accuracy of every notebook is too good."""
    train, test = load_preferences(split="train"), load_preferences(split="test")
    assert len(train) > len(test) > 0
    assert not {pair.prompt for pair in train} & {pair.prompt for pair in test}
    assert not {pair.group for pair in train} & {pair.group for pair in test}
    assert load_preferences(split="all") == train + test


def test_the_bundled_pairs_have_distinct_ids_and_a_group_each():
    """Error messages name pairs by their id, and a pair without a group could be split from its twin."""
    pairs = load_preferences(split="all")
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert all(pair.id and pair.group and pair.axis for pair in pairs)


def test_axis_and_size_keep_the_first_pairs_of_the_axis():
    """`size` counts after `axis`, in the order of the file."""
    pairs = load_preferences(axis="tone", size=5)
    assert pairs == [pair for pair in load_preferences() if pair.axis == "tone"][:5]
    assert len(pairs) == 5
