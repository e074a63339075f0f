"""Paths that a person gives: ~ is their home folder, and whether something can be written there is tried, not guessed."""

import os
import shutil
import tempfile
from pathlib import Path


def user_path(path):
    """`path` as a Path, ~ replaced by the home folder. ValueError where that is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: no home folder is known for ~ (HOME is not set); write the whole path") from None


def check_folder(folder):
    """Try whether `folder` can be written, which happens beside it before it is renamed. Nothing is left behind.

    Raises: FileExistsError if its place is taken: it is a file, a mounted disk, or we stand in it and it would move
        away; OSError, naming the folder and the reason, if nothing can be written there.
    """
    folder = user_path(folder)
    try:
        taken = folder.exists() and not folder.is_dir()
        real = folder.resolve()
    except OSError as error:  # a folder above it may not be entered
        raise not_writable(folder, error) from error
    if taken:
        raise FileExistsError(f"{folder} is a file; choose a folder")
    if Path.cwd().is_relative_to(real):
        raise FileExistsError(f"{folder} is the working folder or one around it; choose a folder inside, or elsewhere")
    if os.path.ismount(real):
        raise FileExistsError(f"{folder} is where a disk is mounted and cannot be renamed; choose a folder inside")
    try:
        check_writable(real.parent)
    except OSError as error:
        raise type(error)(f"{folder}: {error}") from error
    if real.is_dir() and not os.access(real, os.W_OK):
        raise not_writable(folder, PermissionError("Permission denied"))


def check_file(path):
    """The same for a file, which is also written beside `path` before it is renamed."""
    path = user_path(path)
    check_ordinary(path)
    check_writable(path.parent)


def check_out(option, path):
    """`check_file` for an option of the command line, and its folder must exist: a typing error makes no folder."""
    if not user_path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"{option} {path}: its folder does not exist")
    check_file(path)


def check_ordinary(path):
    """FileExistsError if `path` is a folder or a device."""
    try:
        taken = path.exists() and not path.is_file()
    except OSError as error:
        raise not_writable(path, error) from error
    if taken:
        raise FileExistsError(f"{path} is no ordinary file; choose another name")


def check_append(path):
    """OSError unless lines can be added to the file `path`, or it can be made."""
    path = user_path(path)
    check_ordinary(path)
    if path.is_file():
        try:
            path.open("ab").close()
        except OSError as error:
            raise not_writable(path, error) from error
    else:
        check_writable(path.parent)


def check_writable(folder):
    """Write a file in `folder`, or in the nearest folder above it that exists, and remove it: permissions do not tell all.

    Raises: OSError with the folder, the reason and what to do.
    """
    folder = user_path(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".rmtutorial-", dir=existing(folder)) as tried:
            Path(tried, "tried").write_bytes(b"written")
    except OSError as error:
        raise not_writable(folder, error) from error


def not_writable(path, error):
    reason = error.strerror or str(error)
    return type(error)(f"{path} cannot be written ({reason}); choose a place that you may write to")


def existing(folder):
    """The folder itself, or the nearest one above it that exists."""
    folder = user_path(folder).absolute()
    return next(place for place in (folder, *folder.parents) if is_there(place))


def is_there(place):
    """Does it exist, as far as we may look?"""
    try:
        return place.exists()
    except OSError:  # a folder above it may not be entered: the one above that is told
        return False


def check_space(folder, needed, what):
    """OSError if the disk of `folder` has fewer than `needed` bytes free for `what`."""
    free = shutil.disk_usage(existing(folder)).free
    if free < needed:
        raise OSError(
            f"{folder} has {free / 1e6:.0f} MB free; {what} needs {needed / 1e6:.0f} MB. "
            "free some space, or choose a folder on another disk"
        )
