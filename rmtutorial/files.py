"""Write aside, then rename: a reader sees the old file or the new one, never half of one."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_aside(folder):
    """Yield an empty temporary folder beside `folder`; on success it takes the place of `folder`.

    When the body raises (disk full, Ctrl-C), the temporary folder is removed and `folder` stays as it was.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        for path in (aside, *aside.rglob("*")):  # mkdtemp and safetensors make theirs private
            path.chmod(0o755 if path.is_dir() else 0o644)
        _swap(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _swap(aside, folder):
    # A folder that is not empty cannot be renamed over, so the old one steps aside first.
    if not folder.exists():
        aside.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)) / "old"
    folder.rename(old)
    aside.rename(folder)
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
