"""Saving loses nothing: neither the old when the new fails, nor what somebody else put there."""

from pathlib import Path

import pytest

from rmtutorial.files import STALE, folder_aside


def save(folder, text="new", stale=STALE):
    with folder_aside(folder, stale) as aside:
        (aside / "config.json").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_save_takes_the_place_of_the_one_before(tmp_path):
    """Its weights in other files and its tokenizer too, or they would be loaded with the new configuration."""
    save(tmp_path / "model", "old")
    for name in ("model-00001-of-00002.safetensors", "reward_model.safetensors", "vocab.json", "chat_template.jinja"):
        (tmp_path / "model" / name).write_text("of the old model")
    save(tmp_path / "model")
    assert names(tmp_path / "model") == ["config.json"] and names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "config.json").read_text() == "new"


def test_whatever_else_lies_in_the_folder_stays(tmp_path):
    """Notes, data, other models in it, and what file managers and Jupyter leave everywhere."""
    mine = ["thesis.txt", "pairs.json", "adapter.safetensors", ".DS_Store", ".ipynb_checkpoints/x", "other/config.json"]
    for name in mine:
        (tmp_path / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / name).write_text("mine")
    for text in ("first", "second"):
        save(tmp_path / "models", text)
        assert all((tmp_path / "models" / name).read_text() == "mine" for name in mine)
        assert (tmp_path / "models" / "config.json").read_text() == text
    assert names(tmp_path) == ["models"]


def test_a_checkpoint_in_the_folder_of_a_model_leaves_the_model(tmp_path):
    """Without patterns of stale files only those of the same name are replaced."""
    save(tmp_path / "model", "model")
    with folder_aside(tmp_path / "model") as aside:
        (aside / "run.json").write_text("run")
    assert names(tmp_path / "model") == ["config.json", "run.json"]


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        save(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


@pytest.mark.parametrize("folder", [".", ".."])
def test_the_working_folder_is_refused(tmp_path, monkeypatch, folder):
    """It would be renamed under our feet."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FileExistsError, match="working folder"):
        save(folder)


def test_a_link_to_a_folder_on_another_disk_stays_a_link(tmp_path):
    """The files go to where it points."""
    (tmp_path / "big").mkdir()
    try:
        (tmp_path / "link").symlink_to(tmp_path / "big", target_is_directory=True)
    except OSError:
        pytest.skip("this user may not make links")
    save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "big" / "config.json").read_text() == "new"


def test_when_the_last_step_fails_the_old_one_is_back(tmp_path, monkeypatch):
    """The second of two renames may be refused: by Windows, or a full disk."""
    save(tmp_path / "model", "old")
    rename = Path.rename

    def refuse(path, target):
        if path.name.startswith(".model-") and Path(target).name == "model":
            raise PermissionError("in use")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        save(tmp_path / "model")
    assert (tmp_path / "model" / "config.json").read_text() == "old" and names(tmp_path) == ["model"]
