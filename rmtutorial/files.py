"""Write aside, then rename: a reader sees the old file or the new one, never half of one."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

SAVED = {".safetensors", ".json", ".jinja", "merges.txt", "vocab.txt", "tokenizer.model"}  # what saves consist of


@contextmanager
def folder_aside(folder):
    """Yield an empty temporary folder beside `folder`; on success it takes the place of `folder`.

    When the body raises (disk full, Ctrl-C), the temporary folder is removed and `folder` stays as it was.
    Raises: FileExistsError, as `refuse_foreign`.
    """
    folder = Path(folder).expanduser().resolve()
    refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        for path in (aside, *aside.rglob("*")):  # mkdtemp and safetensors make theirs private
            path.chmod(0o755 if path.is_dir() else 0o644)
        _swap(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def refuse_foreign(folder):
    """FileExistsError if `folder` holds more than what a save of a model or a run put there: it would be deleted."""
    folder = Path(folder).expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose a folder")
    here = list(folder.iterdir()) if folder.is_dir() else []
    foreign = [path.name for path in here if path.is_dir() or (path.suffix not in SAVED and path.name not in SAVED)]
    if here and not {"config.json", "run.json"} & {path.name for path in here}:
        foreign = [path.name for path in here]  # not a save of ours at all
    if foreign:
        names = ", ".join(sorted(foreign)[:3]) + ", ..." * (len(foreign) > 3)
        raise FileExistsError(f"{folder} holds {names}, which saving there would delete; choose a new folder")


def _swap(aside, folder):
    # A folder that is not empty cannot be renamed over, so the old one steps aside first.
    if not folder.exists():
        aside.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)) / "old"
    folder.rename(old)
    try:
        aside.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old.parent, ignore_errors=True)


def write_text(path, text):
    """Write `text` to `path` (UTF-8), aside first."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
