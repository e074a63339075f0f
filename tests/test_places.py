"""Paths that people give: ~ is their home, and a place that cannot be written is known before any work is done."""

import errno
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import tiny_sft
from rmtutorial import places
from rmtutorial.backbones import ModelNotAvailable, cache_folder, embedded_model, load_sft
from rmtutorial.features import FeatureCache
from rmtutorial.files import write_text
from rmtutorial.history import History
from rmtutorial.places import check_append, check_file, check_folder, check_out, check_space, user_path
from rmtutorial.preferences import load_preferences
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model

ROW = '{"prompt": "Why?", "chosen": "We see it.", "rejected": "No."}\n'


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of this test, and a working folder elsewhere."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def no_tilde(folder):
    return not any("~" in path.name for path in folder.rglob("*"))


def test_every_function_that_takes_a_path_knows_the_home_folder(home, pairs):
    """Else a folder called ~ appears where one works, and the model is looked for elsewhere the next day."""
    model, tokenizer = tiny_sft("llama")
    model.save_pretrained(home / "sft")
    tokenizer.save_pretrained(home / "sft")
    rm = RewardModel.from_sft(*load_sft("~/sft"), layers=None)
    config = TrainConfig(epochs=1, batch_size=3, train_top=1, checkpoint_every=1, checkpoint_dir="~/runs/checkpoint")
    history = train_reward_model(rm, pairs, config, cache=FeatureCache(memory=0, folder="~"))
    train_reward_model(rm, pairs, config, resume_from="~/runs/checkpoint")
    rm.save_pretrained("~/rm")
    history.save("~/history.json")
    assert History.load("~/history.json") == history == History.load(home / "runs/checkpoint/history.json")
    assert RewardModel.from_pretrained("~/rm").score("Why?", "No.") == pytest.approx(rm.score("Why?", "No."), abs=1e-6)
    write_text("~/pairs.jsonl", ROW)
    assert load_preferences("~/pairs.jsonl", split="all") == load_preferences(home / "pairs.jsonl", split="all")
    assert {path.name for path in home.iterdir()} == {"sft", "runs", "rm", "history.json", "pairs.jsonl"}
    assert no_tilde(home.parent)


def test_the_commands_know_the_home_folder(home, capsys):
    """A shell leaves --out=~/rm as it is."""
    from rmtutorial.__main__ import main

    model, tokenizer = tiny_sft("llama")
    model.save_pretrained(home / "sft")
    tokenizer.save_pretrained(home / "sft")
    write_text(home / "pairs.jsonl", "".join(ROW.replace("Why?", f"Why {i}?") for i in range(20)))
    options = [
        "--data=~/pairs.jsonl",
        "--model=~/sft",
        "--layers=all",
        "--train_top=1",
        "--epochs=1",
        "--held_out=none",
    ]
    for arguments in (
        ["train", "--out=~/rm", "--checkpoint_dir=~/c", "--checkpoint_every=1", *options],
        ["score", "~/rm", "~/pairs.jsonl", "--out", "~/scored.jsonl"],
        ["evaluate", "~/rm", "~/pairs.jsonl", "--json", "~/report.json"],
    ):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        assert not done.value.code, capsys.readouterr().err
    assert {"rm", "c", "scored.jsonl", "report.json"} <= {path.name for path in home.iterdir()}
    assert no_tilde(home.parent)


def test_the_labels_and_the_cache_know_the_home_folder(home, pairs, monkeypatch):
    """In a Dockerfile nothing replaces the ~ of ENV RMTUTORIAL_CACHE=~/cache."""
    from rmtutorial.lesson import widgets

    widgets.labels.label_your_own(pairs, "~/mine.jsonl").children[0].children[0].click()
    assert len((home / "mine.jsonl").read_text().splitlines()) == 1
    monkeypatch.setenv("RMTUTORIAL_CACHE", "~/cache")
    assert cache_folder() == home / "cache" and no_tilde(home.parent)


def test_without_a_home_folder_a_tilde_is_an_error_and_no_folder_of_that_name(monkeypatch):
    """A container's user may have none."""

    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(ValueError, match=r"~/rm: no home folder is known"):
        user_path("~/rm")


@pytest.mark.parametrize("how", ["literal", "refusal"])
def test_without_a_home_folder_the_cache_names_the_variable_to_set(how, monkeypatch, tmp_path):
    """platformdirs gives ~/.cache back as it is, or refuses, by its version."""

    def user_cache_dir(name):
        if how == "refusal":
            raise RuntimeError("could not determine the home directory")
        return "~no-such-user-of-this-machine/.cache"

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RMTUTORIAL_CACHE", raising=False)
    monkeypatch.setattr("rmtutorial.backbones.user_cache_dir", user_cache_dir)
    with pytest.raises(ModelNotAvailable, match="RMTUTORIAL_CACHE"):
        load_sft()
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_names_folder_reason_and_variable(monkeypatch, tmp_path):
    """Here a file is where its folder should be; a read-only disk says something else after the same words."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("RMTUTORIAL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelNotAvailable, match=r"file.cache cannot be written \(.*\).*RMTUTORIAL_CACHE"):
        embedded_model()


def test_a_converted_model_in_a_cache_that_cannot_be_written_is_used(monkeypatch, tmp_path):
    """A class shares one, read-only: nothing is tried there that is not needed."""
    model, tokenizer = tiny_sft("llama")
    monkeypatch.setenv("RMTUTORIAL_CACHE", str(tmp_path))
    model.save_pretrained(embedded := cache_folder() / "smollm2-135m-instruct-0.1.2")
    tokenizer.save_pretrained(embedded)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda *a, **k: pytest.fail("something was written"))
    assert torch.equal(load_sft()[0].get_input_embeddings().weight, model.get_input_embeddings().weight)


# Tried, not guessed.


def refuse(number):
    def mkdtemp(*arguments, **more):
        raise OSError(number, os.strerror(number))

    return mkdtemp


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_the_check_writes_and_says_why_it_could_not(tmp_path, monkeypatch, number):
    """Root may write everywhere by its permissions, and yet not on a disk that is full or read-only."""
    monkeypatch.setattr(tempfile, "mkdtemp", refuse(number))
    for check in (check_folder, check_file, check_append):
        with pytest.raises(OSError) as error:
            check(tmp_path / "deep" / "place")
        assert str(tmp_path) in str(error.value) and os.strerror(number) in str(error.value)


def test_the_check_leaves_nothing_behind(tmp_path):
    """No folder is made for a run that may be refused for another reason."""
    for check in (check_folder, check_file, check_append):
        check(tmp_path / "deep" / "place")
    assert not list(tmp_path.iterdir())


def test_a_mounted_disk_is_refused_as_a_folder_to_replace(tmp_path, monkeypatch):
    """A container's volume cannot be renamed: each save would fail."""
    monkeypatch.setattr(places.os.path, "ismount", lambda path: Path(path) == tmp_path.resolve())
    with pytest.raises(FileExistsError, match="choose a folder inside"):
        check_folder(tmp_path)
    check_folder(tmp_path / "inside")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices here")
def test_a_device_or_a_folder_is_no_file_to_replace(tmp_path):
    """Written aside and renamed, /dev/null would become a file, for the whole machine."""
    for path in ("/dev/null", tmp_path):
        for check in (check_file, check_append):
            with pytest.raises(FileExistsError, match="no ordinary file"):
                check(path)


def test_an_output_of_a_command_needs_its_folder(tmp_path):
    """A typing error in it shall not make a folder."""
    with pytest.raises(FileNotFoundError, match=r"--out .*no.scored.jsonl: its folder does not exist"):
        check_out("--out", tmp_path / "no" / "scored.jsonl")


def test_too_little_space_is_told_with_both_numbers(tmp_path, monkeypatch):
    """Before the training, whose result would not fit."""
    monkeypatch.setattr(places.shutil, "disk_usage", lambda folder: SimpleNamespace(free=3_000_000))
    check_space(tmp_path / "new", 3_000_000, "the model")
    with pytest.raises(OSError, match="3 MB free; the model needs 5 MB"):
        check_space(tmp_path / "new", 5_000_000, "the model")


def test_a_feature_cache_looks_at_its_folder_when_it_is_made(tmp_path):
    """Not when the memory is full, an hour later."""
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        FeatureCache(folder=tmp_path / "nowhere")


def test_without_a_temporary_folder_features_are_computed_anew(pairs, monkeypatch):
    """That costs time and not the run."""

    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("rmtutorial.features.tempfile.gettempdir", nowhere)
    rms = [RewardModel.from_sft(*tiny_sft("llama"), layers=None) for _ in range(2)]
    for rm, cache in zip(rms, (FeatureCache(memory=0), None)):
        train_reward_model(rm, pairs, TrainConfig(train_top=1, batch_size=3, cache=cache is not None), cache=cache)
    assert torch.equal(rms[0].reward_head.weight, rms[1].reward_head.weight)
