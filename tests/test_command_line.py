"""python -m rmtutorial VERB, as a person at a terminal meets it."""

import io
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification, BertTokenizer

from conftest import tiny_sft
from rmtutorial.__main__ import VERBS, main, parser
from rmtutorial.classifier import Classifier, load_scorer
from rmtutorial.evaluation import evaluate
from rmtutorial.preferences import load_preferences
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel

ROWS = [
    {"prompt": "Why is the sky blue?", "response": "Because air scatters blue light more.", "id": 7},
    {"prompt": [{"role": "user", "content": "Where is the cat?"}], "responses": ["On the mat.", "We see it.", "No."]},
    {"prompt": "Is red light blue?", "chosen": "No.", "rejected": "Yes, it is blue."},
]


@pytest.fixture(autouse=True)
def no_bars(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.fixture
def folder(tmp_path, sft):
    """A saved reward model with a random head."""
    rm = RewardModel.from_sft(*sft, layers=None)
    torch.manual_seed(1)
    torch.nn.init.normal_(rm.reward_head.weight)
    rm.save_pretrained(tmp_path / "rm")
    return tmp_path / "rm"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return path


def run(*arguments):
    """The exit code of `rmtutorial ...`; None counts as 0."""
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return stopped.value.code or 0


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def expected(rm):
    """The rewards of ROWS one by one, by the model's own `score`."""
    return [
        {"reward": rm.score(ROWS[0]["prompt"], ROWS[0]["response"])},
        {"rewards": [rm.score(ROWS[1]["prompt"], answer) for answer in ROWS[1]["responses"]]},
        {f"reward_{name}": rm.score(ROWS[2]["prompt"], ROWS[2][name]) for name in ("chosen", "rejected")},
    ]


@pytest.mark.parametrize("at_a_time", [1, 2, 64])
def test_score_gives_each_row_back_with_its_rewards_in_the_order_of_the_input(folder, rows, capsys, at_a_time):
    """Whatever is read together: the numbers are those of answers scored alone, and the row's own columns stay."""
    assert run("score", folder, rows, "--rows", at_a_time) == 0
    found = lines(capsys.readouterr().out)
    for row, out, wanted in zip(ROWS, found, expected(RewardModel.from_pretrained(folder)), strict=True):
        assert {name: out[name] for name in row} == row
        assert all(out[name] == pytest.approx(wanted[name], abs=1e-5) for name in wanted)


def test_score_reads_stdin_and_writes_a_file(folder, rows, tmp_path, monkeypatch):
    """A pipe in, a file out: the same as from file to stdout."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(rows.read_text(encoding="utf-8")))
    assert run("score", folder, "-", "--out", tmp_path / "scored.jsonl") == 0
    assert len(lines((tmp_path / "scored.jsonl").read_text(encoding="utf-8"))) == 3


def test_score_streams(folder, tmp_path, monkeypatch, capsys):
    """The first rewards are out before the third row is read."""

    def slowly():
        yield json.dumps(ROWS[0])
        yield json.dumps(ROWS[2])
        assert len(lines(capsys.readouterr().out)) == 2
        yield json.dumps(ROWS[0])

    monkeypatch.setattr(sys, "stdin", slowly())
    assert run("score", folder, "-", "--rows", 1) == 0


@pytest.mark.parametrize(
    "row, message",
    [
        ({"prompt": "Why?"}, "row 2: there must be prompt and response"),
        ({"prompt": "Why?", "response": " "}, "row 2: response is empty"),
        ({"prompt": "Why?", "responses": []}, "row 2: responses must be a list with at least one answer"),
        ({"prompt": "Why?", "responses": ["a", 3]}, "row 2: answer 2 of responses is not text but int"),
        ({"prompt": None, "response": "It is."}, "row 2: prompt is null"),
        ({"prompt": "Why?", "chosen": "a", "rejected": "a"}, "row 2: chosen and rejected are identical"),
    ],
)
def test_a_bad_row_of_a_file_is_named_before_the_model_loads_and_nothing_is_written(
    rows, tmp_path, capsys, row, message
):
    """Exit 2, the row and the reason on stderr, no traceback, no output file."""
    rows.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(row), encoding="utf-8")
    assert run("score", tmp_path / "no model", rows, "--out", tmp_path / "scored.jsonl") == 2
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and out == ""
    assert not (tmp_path / "scored.jsonl").exists()


def test_a_bad_line_of_stdin_ends_the_run_after_the_rows_before_it(folder, monkeypatch, capsys):
    """They are whole lines, and the message says which line was wrong. A file that was to be written is not."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(ROWS[0]) + "\n{broken"))
    assert run("score", folder, "-", "--rows", 1) == 2
    out, err = capsys.readouterr()
    assert len(lines(out)) == 1 and "stdin, line 2" in err


def test_evaluate_prints_the_table_by_axis_and_writes_the_same_numbers(folder, tmp_path, capsys, pairs):
    """What `evaluate` finds in Python, as a table and as JSON."""
    path = tmp_path / "pairs.jsonl"
    columns = ("prompt", "chosen", "rejected", "axis")
    path.write_text("\n".join(json.dumps({c: getattr(p, c) for c in columns}) for p in pairs), encoding="utf-8")
    assert run("evaluate", folder, path, "--json", tmp_path / "report.json") == 0
    report = evaluate(RewardModel.from_pretrained(folder), load_preferences(path, split="all"))
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert found["n"] == 6 and found["loss"] == pytest.approx(report.loss) and set(found["by_axis"]) == {"a", "b"}
    printed = capsys.readouterr().out
    assert str(report) in printed and report.to_frame().round(3).to_string() in printed


def test_score_reads_tables_and_other_peoples_columns(folder, tmp_path, capsys):
    """The row comes back as it was, under its own names; a conversation is read up to its last answer."""
    table, turns = tmp_path / "ROWS.CSV", tmp_path / "turns.json"
    table.write_text("q,text\nWhy is the sky blue?,Because air scatters blue light more.\n", encoding="utf-8")
    messages = [{"from": "human", "value": ROWS[0]["prompt"]}, {"from": "gpt", "value": ROWS[0]["response"]}]
    turns.write_text(json.dumps({"response": messages}) + "\n" + json.dumps(ROWS[0]), encoding="utf-8")
    assert run("score", folder, table, "--columns", "prompt=q", "response=text") == 0
    (row,) = lines(capsys.readouterr().out)
    assert run("score", folder, turns) == 0
    wanted = expected(RewardModel.from_pretrained(folder))[0]["reward"]
    rewards = [row["reward"], *(found["reward"] for found in lines(capsys.readouterr().out))]
    assert rewards == pytest.approx([wanted] * 3, abs=1e-5) and list(row) == ["q", "text", "reward"]


def test_evaluate_leaves_bad_rows_out_and_says_so(folder, tmp_path, capsys):
    """Under the file's own names; without the option the file is refused."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"question": f"Where is cat {i}?", "chosen": "On the mat.", "rejected": "No." if i else ""} for i in range(6)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = ["--columns", "prompt=question"]
    assert run("evaluate", folder, path, *options) == 2 and "line 1: rejected is empty" in capsys.readouterr().err
    assert run("evaluate", folder, path, *options, "--bad_rows", "skip") == 0
    out, err = capsys.readouterr()
    assert "on 5 pairs" in out and "1 of 6 rows left out" in err and "1: rejected is empty (lines 1)" in err


def test_train_reads_the_file_once_and_counts_what_it_leaves_out_once(tmp_path, capsys, monkeypatch):
    """Pairs to train on and pairs to hold out are parts of one reading."""
    rows = [
        {"question": f"Where is cat {i}?", "chosen": "On the mat.", "rejected": "No." if i else ""} for i in range(40)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given = {}
    monkeypatch.setattr("rmtutorial.commands.train._train", lambda options, config, *pairs: given.update(pairs=pairs))
    options = ["--data", path, "--columns", "prompt=question", "--bad_rows", "skip", "--out", tmp_path / "rm"]
    assert run("train", *options) == 0
    trained, held_out = given["pairs"]
    assert len(trained) + len(held_out) == 39 and held_out
    assert capsys.readouterr().err.count("1 of 40 rows left out") == 1
    assert run("train", *options, "--held_out", "none") == 0
    assert [len(given["pairs"][0]), given["pairs"][1]] == [39, None]  # nothing is held out, so nothing is left aside


def test_a_file_too_small_to_hold_out_says_which_option_trains_on_all_of_it(tmp_path, capsys):
    """Three pairs, and the default command line."""
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        "\n".join(json.dumps({"prompt": f"Question {i}?", "chosen": "a", "rejected": "b"}) for i in range(3))
    )
    assert run("train", "--data", path, "--out", tmp_path / "rm") == 2
    assert "--held_out none" in capsys.readouterr().err


def test_a_renaming_that_is_none_gets_a_usage_line(tmp_path, capsys):
    """--columns wants ours=theirs."""
    assert run("evaluate", "rm", "file", "--columns", "question") == 2
    assert "'question': write our name of a column" in capsys.readouterr().err


def test_evaluate_and_score_take_the_bundled_pairs(folder, capsys, monkeypatch):
    """A tiny model knows nothing, on 112 pairs that every installation has."""
    assert run("evaluate", folder, "bundled", "--split", "ood") == 0
    assert "on 112 pairs" in capsys.readouterr().out
    assert run("score", folder, Path(__file__).parents[1] / "rmtutorial/data/ood.jsonl") == 0
    assert len(lines(capsys.readouterr().out)) == 112


@pytest.fixture
def encoder(tmp_path):
    """A reward model of another make: BERT, with a head of another name, without a chat template."""
    words = sorted({word for row in ROWS for word in str(row).lower().replace(".", " .").replace("?", " ?").split()})
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "."]), encoding="utf-8")
    tokenizer = BertTokenizer(str(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=64, max_position_embeddings=64, num_labels=1, initializer_range=0.5)  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_score_reads_an_encoder_as_transformers_does(encoder, tmp_path, capsys):
    """Prompt and answer are its two segments; alone by hand, or in a padded batch here, the score is one."""
    texts = [{"prompt": "Why is the sky blue ?", "response": r} for r in ("No .", "Because air scatters blue light .")]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
    assert run("score", encoder, path) == 0
    found = [row["reward"] for row in lines(capsys.readouterr().out)]
    scorer = load_scorer(str(encoder))
    assert isinstance(scorer, Classifier)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(encoder), scorer.tokenizer
    with torch.no_grad():
        alone = [model(**tokenizer(t["prompt"], t["response"], return_tensors="pt")).logits.item() for t in texts]
    assert found == pytest.approx(alone, abs=1e-5) and abs(alone[0] - alone[1]) > 1e-3
    assert run("evaluate", encoder, "bundled") == 0


def test_a_decoder_scores_the_same_packed_and_as_padded_rows(folder, pairs):
    """RewardModel and Classifier read one folder by different routes."""
    rm, plain = RewardModel.from_pretrained(folder), load_scorer(folder)
    assert isinstance(plain, RewardModel)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    padded = Classifier(model.eval(), rm.tokenizer)
    for one, other in zip(rm.score_pairs(pairs), padded.score_encoded(padded.encode_pairs(pairs)).unbind(1)):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_what_is_too_long_for_an_encoder_loses_the_beginning_of_its_prompt(encoder):
    """At most 64 tokens here, and the end of the answer is read."""
    scorer = load_scorer(str(encoder))
    long, short = (scorer.encode("cat " * n + "sky", ["No ."])[0] for n in (200, 3))
    assert len(long.ids) == 64 and long.ids[-4:] == short.ids[-4:]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "--lr", "-1"], "lr=-1.0: must be a number from 0 up"),
        (["train", "--data", "missing.jsonl"], "missing.jsonl: no such file"),
        (["train", "--train_top", "20"], "train_top 20: only 16 layers are kept"),
        (["train", "--resume", "--checkpoint_dir", "nowhere"], "no checkpoint in nowhere"),
        (["train", "--precision", "fp8"], "choose auto, fp32, bf16"),
        (["train", "--size", "0"], "size=0"),
        (["train", "--max_length", "0"], "max_length 0"),
        (["train", "--out", "."], "there is something already"),
        (["score", "missing", "missing.jsonl"], "missing.jsonl: no such file"),
        (["score", "missing", "-", "--rows", "0"], "--rows 0"),
        (["evaluate", "missing", "missing.jsonl"], "missing.jsonl: no such file"),
        (["evaluate", "missing", "bundled", "--split", "tset"], "split='tset'"),
        (["evaluate", "missing", "bundled", "--json", "no/report.json"], "its folder does not exist"),
    ],
)
def test_bad_values_are_refused_before_the_model_loads(arguments, message, monkeypatch, tmp_path, capsys):
    """Minutes of loading, then a typing error: not here. The message names the value; exit 2, no traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    for loader in ("backbones.load_sft", "classifier.load_scorer"):
        monkeypatch.setattr(f"rmtutorial.{loader}", lambda *a, **k: pytest.fail("the model was loaded"))
    out = ["--out", "rm"] if arguments[0] == "train" else []
    assert run(arguments[0], *out, *arguments[1:]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["score", "evaluate"])
@pytest.mark.parametrize(
    "model, message", [("nowhere/rm", "is no folder, and the Hub could not be reached"), ("empty", "no config.json")]
)
def test_a_model_that_is_not_there_is_one_line_and_exit_2(verb, model, message, rows, tmp_path, capsys, monkeypatch):
    """A misspelt folder may be a Hub id: the message says both."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    file = rows if verb == "score" else "bundled"
    assert run(verb, model, file) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def test_a_typing_error_gets_a_usage_line_and_exit_2(capsys):
    """argparse's own: unknown verb, unknown option."""
    assert run("scroe") == run("score", "--nothing") == run() == 2
    assert "usage: rmtutorial" in capsys.readouterr().err


def test_help_of_each_verb_fits_a_screen_and_shows_an_example(capsys):
    """At most 100 columns and 48 lines, and 24 for all verbs but `train` with its whole recipe."""
    for verb in VERBS:
        assert run(verb, "--help") == 0
        text = capsys.readouterr().out
        assert "example: rmtutorial " + verb in text
        assert max(map(len, text.splitlines())) <= 100
        assert len(text.splitlines()) <= (48 if verb == "train" else 24)


def test_help_explains_every_option_of_the_recipe(capsys):
    """The comment beside each field of TrainConfig is its help; a field without one would be missing."""
    verb = parser(["train"])._subparsers._group_actions[0].choices["train"]
    text = verb.format_help()
    for field in fields(TrainConfig):
        assert f"--{field.name} " in text
    for action in verb._actions:
        assert len(action.help) > 10, action.dest


def test_every_file_of_commands_is_a_verb():
    """A new verb is one file and one line."""
    folder = Path(__file__).parents[1] / "rmtutorial" / "commands"
    assert {path.stem for path in folder.glob("[a-z]*.py")} == set(VERBS)


def test_the_console_script_and_the_module_are_one_command(tmp_path):
    """`rmtutorial` is installed beside python; a pipe that is closed early is no error message."""
    script = Path(sys.executable).with_name("rmtutorial")
    outputs = {
        subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60).stdout
        for command in ([str(script)], [sys.executable, "-m", "rmtutorial"])
    }
    assert len(outputs) == 1 and "evaluate" in outputs.pop()


def test_ctrl_c_ends_with_one_line_and_130(monkeypatch, capsys, tmp_path):
    """A stopped training says where it can go on."""

    def stopped(*arguments):
        raise KeyboardInterrupt("stopped after step 3 of 9; go on with resume_from='out/checkpoint'")

    monkeypatch.setattr("rmtutorial.commands.train._train", stopped)
    assert run("train", "--out", tmp_path / "rm") == 130
    assert "stopped after step 3 of 9" in capsys.readouterr().err


def test_train_score_evaluate_one_after_the_other(tmp_path, capsys, rows):
    """The bundled pairs, a tiny model: a reward model is trained, scores a file and is judged."""
    model, tokenizer = tiny_sft("llama")
    model.save_pretrained(tmp_path / "sft")
    tokenizer.save_pretrained(tmp_path / "sft")
    options = ["--model", tmp_path / "sft", "--layers", "all", "--train_top", "2", "--epochs", "1", "--size", "16"]
    assert run("train", "--out", tmp_path / "rm", "--held_out", "none", *options) == 0
    assert run("score", tmp_path / "rm", rows) == 0
    assert run("evaluate", tmp_path / "rm", "bundled") == 0
    assert "reward model in" in capsys.readouterr().out
