"""Files as people have them: each kind gives the same pairs, what cannot be read is named, what is skipped is counted."""

import csv
import gzip
import json
import sys
from types import SimpleNamespace

import pandas
import pytest

from rmtutorial.preference_files import read_rows
from rmtutorial.preference_pairs import by_reason
from rmtutorial.preferences import BadPreferences, PreferencePair, load_preferences

ROWS = [{"prompt": f"Which bird is number {i}?", "chosen": f"The wren, {i} of it.", "rejected": "No bird."} for i in range(4)]  # fmt: skip
PAIRS = [PreferencePair(**row) for row in ROWS]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TABLE = "prompt,chosen,rejected\n" + "".join(",".join(f'"{v}"' for v in row.values()) + "\n" for row in ROWS)


def everything(source, **options):
    return load_preferences(source, split="all", **options)


def refusal(source, kind=BadPreferences, **options):
    """The message without the folder, whose name has the words of the test in it."""
    with pytest.raises(kind) as error:
        everything(source, **options)
    return str(error.value).replace(str(getattr(source, "parent", "?")), "")


# Kinds of files.


@pytest.mark.parametrize(
    "name, text",
    [
        ("birds.jsonl", LINES), ("BIRDS.JSONL", LINES), ("birds.ndjson", LINES), ("birds.json", LINES), ("birds.Json", json.dumps(ROWS)),
        ("birds.jsonl", json.dumps(ROWS, indent=1)), ("birds.jsonl.gz", LINES), ("birds.JSON.GZ", json.dumps(ROWS)),
        ("birds.csv", TABLE), ("BIRDS.CSV", TABLE), ("birds.csv.gz", TABLE), ("birds.tsv", TABLE.replace('","', '"\t"').replace(",", "\t", 2)),
        ("birds.csv", TABLE.replace('","', '";"').replace(",", ";", 2)), ("birds.csv", "\ufeff" + TABLE.replace("\n", "\r\n")),
    ],
)  # fmt: skip
def test_a_file_is_read_whatever_its_kind_and_spelling(tmp_path, name, text):
    """The ending is a hint: JSON Lines named .json (pandas, datasets), a list named .jsonl, semicolons (Excel)."""
    write = gzip.open if name.lower().endswith(".gz") else open
    with write(tmp_path / name, "wt", encoding="utf-8", newline="") as file:
        file.write(text)
    assert everything(tmp_path / name) == everything(str(tmp_path / name)) == PAIRS


def test_a_cell_of_a_table_may_have_lines_quotes_and_the_words_that_pandas_takes_for_nothing(tmp_path):
    """The answers NA, None and null are texts; only an empty cell is null."""
    rows = [("Say it.", "NA", "null"), ("Quote.", 'He said "yes, but".\nTwice.', "None"), ("More?", "nan", "-")]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("prompt", "chosen", "rejected", "group"), *((*row, "") for row in rows)])
    assert [(p.prompt, p.chosen, p.rejected, p.group) for p in everything(tmp_path / "t.csv")] == [
        (*row, "") for row in rows
    ]


def test_messages_in_a_cell_are_read_as_json_and_refused_as_pythons_own_text(tmp_path):
    """pandas writes lists into a CSV by str(): that is no list any more, and no answer either."""
    answers = [[{"role": "assistant", "content": text}] for text in ("Yes.", "No.")]
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    columns = dict(zip(("chosen", "rejected"), answers))
    pandas.DataFrame([{"prompt": "Is it?"} | {k: json.dumps(v) for k, v in columns.items()}]).to_csv(good)
    pandas.DataFrame([{"prompt": "Is it?"} | columns]).to_csv(bad)
    assert everything(good) == [PreferencePair("Is it?", "Yes.", "No.")]
    assert "row 1: messages written by str()" in refusal(bad) and ".jsonl or .parquet" in refusal(bad)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.xlsx", b"PK", "a file of the kind .xlsx is not read"), ("a.txt", b"text", "kind .txt"),
        ("pairs", b"text", "without ending"), ("a.jsonl.gz", b"no gzip", "no whole gzip file"),
        ("a.jsonl.gz", gzip.compress(LINES.encode())[:-20], "no whole gzip file"),
        ("a.json", b'{"data": [1]}', "list"), ("a.json", b'{\n"prompt": "q"\n}', "several lines"),
        ("a.jsonl", b'{\n"prompt": "q"\n}\n', "several lines"), ("a.csv", b'prompt,chosen,rejected\nq,"a,b\n', "row 1: broken CSV"),
        ("a.csv", b"prompt,chosen,rejected\nq,a,b,c\n", "row 1: more cells"), ("a.csv", "prompt,é".encode("cp1252"), "save it as UTF-8"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"), ("a.csv", b"", "no rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_a_remedy_and_never_looked_for_on_the_hub(tmp_path, name, content, message):
    """It is there, so it is no Hub id; the message has the file's name and says what to do."""
    (tmp_path / name).write_bytes(content)
    found = refusal(tmp_path / name)
    assert message in found and name in found and "Hub" not in found


def test_a_broken_parquet_file_is_named(tmp_path):
    """pyarrow's own message has no name in it."""
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    assert "a.parquet: no whole Parquet file" in refusal(tmp_path / "a.parquet")


def test_a_folder_says_what_is_in_it(tmp_path):
    """Which of its files was meant, nobody can know."""
    (tmp_path / "train.jsonl").write_text(LINES)
    assert "is a folder (train.jsonl); name one file in it" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.txt", "./pairs", "~/no such pairs", "a/b/c", "pairs.jsonl.gz"])
def test_what_looks_like_a_path_is_no_hub_id(tmp_path, monkeypatch, name):
    """Nobody who mistyped a file wants to install `datasets`."""
    monkeypatch.chdir(tmp_path)
    assert f"{name}: no such file" in refusal(name, FileNotFoundError)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    """~ is for the shell, but a path in quotes or in Python never meets one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "birds.jsonl").write_text(LINES)
    assert everything("~/birds.jsonl") == PAIRS


# Rows in memory.


def test_rows_in_memory_are_read_like_a_file():
    """A list, a generator, a frame, pairs: a list of dicts is what people have in a notebook."""
    sources = [ROWS, tuple(ROWS), (row for row in ROWS), pandas.DataFrame(ROWS), pandas.DataFrame(ROWS, index=[3, 1, 4, 1]), PAIRS]  # fmt: skip
    for source in sources:
        assert everything(source) == PAIRS


def test_what_is_missing_in_a_frame_is_missing():
    """NaN, NA and None are no group, no id and no strength; whole numbers that became 2.0 are whole again."""
    frame = pandas.DataFrame(ROWS).assign(group=[float("nan"), None, pandas.NA, "g"], strength=[2.0, float("nan"), 3, 1],
                                          id=[7.0, float("nan"), 8.0, 9.0], system=[None, float("nan"), pandas.NA, ""])  # fmt: skip
    pairs = everything(frame)
    assert [p.group for p in pairs] == ["", "", "", "g"] and [p.strength for p in pairs] == [2, 0, 3, 1]
    assert [p.id for p in pairs] == ["7", "", "8", "9"] and [p.prompt for p in pairs] == [row["prompt"] for row in ROWS]


def test_datasets_objects_are_read_and_a_dict_of_them_by_its_splits():
    """What load_dataset and load_from_disk give."""
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_list(ROWS)
    assert everything(whole) == everything(whole.to_iterable_dataset()) == PAIRS
    both = datasets.DatasetDict({"train_prefs": whole, "test_prefs": whole.select([0])})
    assert load_preferences(both, split="test_prefs") == PAIRS[:1] and len(everything(both)) == 5


def test_a_dict_of_splits_names_those_that_it_has():
    """UltraFeedback's are called train_prefs and test_prefs."""
    assert load_preferences({"train_prefs": ROWS}, split="train_prefs") == PAIRS
    with pytest.raises(ValueError, match="split='train': this set has train_prefs"):
        load_preferences({"train_prefs": ROWS})


@pytest.mark.parametrize("source", [7, b"bytes", SimpleNamespace()])
def test_what_is_no_set_of_pairs_is_called_so(source):
    """With its type, and what would be one."""
    assert type(source).__name__ in refusal(source, TypeError) and "list of dicts" in refusal(source, TypeError)


def test_a_bad_row_in_memory_has_its_number():
    """Counted from 1, as in a file."""
    assert "rows in memory: 1 bad rows" in refusal([ROWS[0], {}]) and "row 2: column 'chosen'" in refusal([ROWS[0], {}])


# Names of columns.


def test_columns_are_renamed_with_one_argument(tmp_path):
    """The file's own names stay, and what is mapped to None is left out."""
    rows = [{"q": row["prompt"], "good": row["chosen"], "bad": row["rejected"], "tools": ["x"], "prompt": "?"} for row in ROWS]  # fmt: skip
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad", "tools": None}
    assert everything(rows, columns=columns) == PAIRS


@pytest.mark.parametrize(
    "columns, message",
    [({"prompt": "frage"}, "'frage'}: no row has it; there are prompt, chosen, rejected"), ({"propmt": "q"}, "'propmt' is no column of ours")],
)  # fmt: skip
def test_a_misspelt_column_is_refused_before_any_row_is_read(columns, message):
    """Otherwise every row would lack a prompt, or a name would do nothing."""
    assert message in refusal(ROWS, ValueError, columns=columns)


def test_a_missing_answer_names_the_columns_that_might_be_it():
    """`chosen` is called differently in half of the sets."""
    assert "columns={'chosen': 'winner'} (--columns chosen=winner)" in refusal([{"prompt": "q", "winner": "a"}])


# Bad rows.


def many_bad():
    """200 rows: every second is bad, in three ways."""
    bad = [{"prompt": "q", "chosen": "a", "rejected": "a"}, {"prompt": "q", "chosen": " ", "rejected": "a"}, {"prompt": 3, "chosen": "a", "rejected": "b"}]  # fmt: skip
    return [bad[i % 3] if i % 2 else {"prompt": f"q{i}", "chosen": "a", "rejected": "b"} for i in range(200)]


def test_a_message_stays_short_however_long_the_file():
    """The first ten by number, then how many of each kind."""
    lines = refusal(many_bad()).splitlines()
    assert "100 bad rows" in lines[0] and len(lines) <= 20 and "90 more" in lines[11]
    assert [line for line in lines if "identical" in line][-1].strip().startswith("33: chosen and rejected are identical (rows ")  # fmt: skip


def test_bad_rows_are_left_out_and_counted_aloud(capsys):
    """On stderr, so that a pipe stays clean: how many of how many, why, and where to look."""
    pairs = everything(many_bad(), bad_rows="skip")
    out, err = capsys.readouterr()
    assert len(pairs) == 100 and out == ""
    assert "rows in memory: 100 of 200 rows left out" in err and "(rows 4, 10, 16, ...)" in err and len(err.splitlines()) == 4  # fmt: skip


def test_lines_that_are_no_json_count_among_the_bad_rows(tmp_path, capsys):
    """Half a line at the end of a file that is still being written."""
    (tmp_path / "a.jsonl").write_text(LINES + '{"prompt": "half')
    assert everything(tmp_path / "a.jsonl", bad_rows="skip") == PAIRS
    assert "1 of 5 rows left out" in capsys.readouterr().err


def test_nothing_is_left_when_all_rows_are_bad():
    """An empty set is no set, whoever asked for it."""
    assert "no rows left" in refusal([{}], bad_rows="skip")
    assert "choose refuse or skip" in refusal(ROWS, ValueError, bad_rows="ignore")


def test_kinds_of_faults_are_counted_without_their_values():
    """Ten different answers that are identical are one kind."""
    text = by_reason([(i, f"strength must be int, not 'x{i}'") for i in range(7)], "row")
    assert text.strip() == "7: strength must be int (rows 0, 1, 2, ...)"


# The split.


def test_a_group_of_nothing_ties_nothing():
    """NaN as a name would tie every row to every other, and nothing could be held out."""
    rows = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b", "group": float("nan")} for i in range(200)]
    assert 20 <= len(load_preferences(rows, split="test")) <= 60


def test_groups_that_leave_no_fifth_are_refused_by_name():
    """`group` of another project may be an arm of a study; obeyed, half of the pairs or none would be held out."""
    rows = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b", "group": "xy"[i % 2]} for i in range(120)]
    with pytest.raises(
        ValueError, match=r"the column 'group' ties 120 prompts into 2 units .*columns=\{'group': None\}"
    ):
        load_preferences(rows)
    assert len(everything(rows)) == 120
    assert 12 <= len(load_preferences(rows, split="test", columns={"group": None})) <= 40


def test_too_few_pairs_for_a_fifth_say_what_to_do():
    """Three prompts, none of them held out: all, or a column."""
    rows = [{"prompt": f"Question {i}?", "chosen": "a", "rejected": "b"} for i in range(3)]
    with pytest.raises(ValueError, match=r"none of the 3 pairs.*split='all'.*--held_out none.*column 'split'"):
        load_preferences(rows, split="test")


def test_a_row_number_is_that_of_the_file(tmp_path):
    """Blank lines count in JSON Lines, the header of a table does not."""
    (tmp_path / "a.jsonl").write_text("\n" + LINES)
    (tmp_path / "a.csv").write_text(TABLE)
    assert [n for n, _ in read_rows(tmp_path / "a.jsonl")[0]] == [2, 3, 4, 5]
    assert [n for n, _ in read_rows(tmp_path / "a.csv")[0]] == [1, 2, 3, 4]


def test_parquet_without_its_library_says_how_to_install_it(tmp_path, monkeypatch):
    """pandas' own message is a page."""
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in refusal(tmp_path / "a.parquet", ImportError)
