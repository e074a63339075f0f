"""Saving loses nothing: neither the old when the new fails, nor what somebody else put there."""

from pathlib import Path

import pytest

from rmtutorial.files import folder_aside


def save(folder, text="new"):
    with folder_aside(folder) as aside:
        (aside / "config.json").write_text(text)


def test_a_save_takes_the_place_of_the_one_before(tmp_path):
    """Whole, and nothing is left beside it."""
    save(tmp_path / "model", "old")
    (tmp_path / "model" / "vocab.txt").write_text("of the old model")
    save(tmp_path / "model")
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["config.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    "names", [["thesis.txt"], ["data.json"], ["config.json", "notes.md"], ["config.json", "other/x"]]
)
def test_a_folder_that_holds_something_else_is_refused_and_stays(tmp_path, names):
    """Without config.json or run.json it is no save; with them it may hold no other files and no folders."""
    for name in names:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(FileExistsError, match="which saving there would delete"):
        save(tmp_path / "mine")
    assert all((tmp_path / "mine" / name).read_text() == "mine" for name in names)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        save(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


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
    assert (tmp_path / "model" / "config.json").read_text() == "old"
