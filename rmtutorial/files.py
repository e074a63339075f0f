"""Write aside, then rename: a reader sees the old file or the new one, never half of one."""

import glob
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from rmtutorial.places import check_folder, is_there, user_path

# Of a model that was saved before: beside the files of a new one they would mislead whoever loads it.
STALE = ("model*.safetensors", "model.safetensors.index.json", "reward_model.safetensors", "generation_config.json",
         "chat_template.jinja", "additional_chat_templates", "added_tokens.json", "special_tokens_map.json",
         "tokenizer*.json", "vocab.*", "merges.txt",
         "pytorch_model*.bin", "pytorch_model.bin.index.json", "tf_model*.h5", "flax_model*.msgpack",  # other weights
         "consolidated*.safetensors", "params.json", "tekken.json",  # Mistral's form, which vLLM prefers
         "adapter_config.json", "adapter_model.*",  # LoRA: peft would add it to the new weights
         "tokenizer.model", "spiece.model", "sentencepiece.*.model", "*_processor_config.json", "processor_config.json",
         "modules.json", "config_sentence_transformers.json", "sentence_*_config.json")  # fmt: skip
OLD = "-old-"  # after its name: where a folder waits while another takes its place


@contextmanager
def folder_aside(folder, stale=()):
    """Yield an empty temporary folder beside `folder`; on success it takes the place of `folder`.

    What lay in `folder` and is neither written anew nor called `stale` (patterns of names) is kept. When the body
    raises (disk full, Ctrl-C), the temporary folder is removed and `folder` stays as it was.
    Raises: OSError, as `check_folder`.
    """
    check_folder(folder)
    put_back(folder)
    folder = user_path(folder).resolve()  # where a link leads, so that it stays a link
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        for path in (aside, *aside.rglob("*")):  # mkdtemp and safetensors make theirs private
            path.chmod(0o755 if path.is_dir() else 0o644)
        _swap(aside, folder, stale)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _swap(aside, folder, stale):
    # A folder that is not empty cannot be renamed over, so the old one steps aside first.
    if not folder.exists():
        aside.rename(folder)
        return
    for path in folder.iterdir():  # what is kept goes along under a second name: a kill shall not leave it behind
        if not (aside / path.name).exists() and not any(path.match(pattern) for pattern in stale):
            _link(path, aside / path.name)
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}{OLD}", dir=folder.parent)) / "old"
    try:
        folder.rename(old)
        aside.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old.parent, ignore_errors=True)
        raise
    shutil.rmtree(old.parent, ignore_errors=True)


def put_back(folder):
    """Undo half a swap: killed between the two renames, a process leaves the folder beside its place.

    Whoever reads or writes a folder that `folder_aside` makes calls this first.
    """
    folder = user_path(folder).resolve()
    if is_there(folder) or not is_there(folder.parent):
        return
    for old in folder.parent.glob(f".{glob.escape(folder.name)}{OLD}*/old"):
        old.rename(folder)
        old.parent.rmdir()
        return


def _link(source, target):
    """`source` under a second name too, folders with all that is in them; a copy where the disk has no hard links."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=lambda a, b: _link(Path(a), Path(b)))
    else:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def write_text(path, text):
    """Write `text` to `path` (UTF-8), aside first."""
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
