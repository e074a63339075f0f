"""Write aside, then rename: a reader sees the old file or the new one, never half of one."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

# Of a model that was saved before: beside the files of a new one they would mislead whoever loads it.
STALE = ("model*.safetensors", "model.safetensors.index.json", "reward_model.safetensors", "generation_config.json",
         "chat_template.jinja", "additional_chat_templates", "added_tokens.json", "special_tokens_map.json",
         "tokenizer*.json", "vocab.*", "merges.txt",
         "pytorch_model*.bin", "pytorch_model.bin.index.json", "tf_model*.h5", "flax_model*.msgpack",  # other weights
         "consolidated*.safetensors", "params.json", "tekken.json",  # Mistral's form, which vLLM prefers
         "adapter_config.json", "adapter_model.*",  # LoRA: peft would add it to the new weights
         "tokenizer.model", "spiece.model", "sentencepiece.*.model", "*_processor_config.json", "processor_config.json",
         "modules.json", "config_sentence_transformers.json", "sentence_*_config.json")  # fmt: skip


@contextmanager
def folder_aside(folder, stale=()):
    """Yield an empty temporary folder beside `folder`; on success it takes the place of `folder`.

    What lay in `folder` and is neither written anew nor called `stale` (patterns of names) is kept. When the body
    raises (disk full, Ctrl-C), the temporary folder is removed and `folder` stays as it was.
    Raises: FileExistsError, as `check_folder`.
    """
    check_folder(folder)
    folder = Path(folder).resolve()  # where a link leads, so that it stays a link
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        for path in (aside, *aside.rglob("*")):  # mkdtemp and safetensors make theirs private
            path.chmod(0o755 if path.is_dir() else 0o644)
        _swap(aside, folder, stale)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_folder(folder):
    """FileExistsError if nothing can be saved as `folder`: it is a file, or we stand in it and it would move away."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise FileExistsError(f"{folder} is a file; choose a folder")
    if Path.cwd().is_relative_to(Path(folder).resolve()):
        raise FileExistsError(f"{folder} is the working folder or one around it; choose a folder inside, or elsewhere")


def _swap(aside, folder, stale):
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
        old.parent.rmdir()
        raise
    for path in list(old.iterdir()):
        if not (folder / path.name).exists() and not any(path.match(pattern) for pattern in stale):
            path.rename(folder / path.name)
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
