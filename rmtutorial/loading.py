"""Read a reward model of any make as transformers does: its weights, its pad token, its maximum length."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from rmtutorial.backbones import explained, is_path, quiet_transformers
from rmtutorial.files import put_back
from rmtutorial.places import user_path
from rmtutorial.refusals import check_files

MEAN_WEIGHTS = "reward_model.safetensors"  # a name that no other tool looks for


def load_classifier(name, dtype=torch.float32):
    """Read a reward model as transformers does.

    Args: name, a folder or a Hub id of an `AutoModelForSequenceClassification` with one label.
    Returns: (model, tokenizer, settings): pooling and maximum length, as `save_pretrained` wrote them or as the
        foreign model has them. The tokenizer pads with the token that the model pools by.
    Raises: FileNotFoundError, ModelNotAvailable; ValueError for another number of labels, or a head without weights.
    """
    model, tokenizer, settings, missing = read_classifier(name, dtype)
    if missing:  # transformers has filled them with random numbers
        raise ValueError(f"{name}: no weights for {', '.join(missing)}")
    pad = model.config.pad_token_id
    if pad is not None and 0 <= pad < len(tokenizer):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    return model, tokenizer, settings or {"pooling": "last", "max_length": longest(model, tokenizer)}


def read_classifier(name, dtype=torch.float32):
    """The same as it lies there: (model, tokenizer, rmtutorial's settings or None, names of weights that are not in its files).

    Nothing is put right: the tokenizer is as AutoTokenizer reads it, and weights that are missing are random.
    Raises: as `load_classifier`, but for missing weights.
    """
    folder = user_path(name)
    put_back(folder)
    name = folder if is_path(name) or folder.is_dir() else name
    if folder.is_dir():
        with explained(name, folder):
            check_files(folder)
    if name == folder and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{name}: no reward model here (no config.json); pass the folder of save_pretrained")
    with quiet_transformers(), explained(name, name):
        config = AutoConfig.from_pretrained(name)
    if config.num_labels != 1:
        raise ValueError(
            f"{name}: {config.num_labels} labels where a reward model has one. A language model? Use from_sft."
        )
    settings = getattr(config, "rmtutorial", None)
    with quiet_transformers(), explained(name, name):
        read = _read_mean if settings and settings["pooling"] == "mean" else _read
        model, missing = read(name, config, dtype)
        tokenizer = AutoTokenizer.from_pretrained(name)
    return model.eval(), tokenizer, settings, missing


def _read(name, config, dtype):
    """(model, names of weights that are not in its files)."""
    model, info = AutoModelForSequenceClassification.from_pretrained(
        name, config=config, dtype=dtype, output_loading_info=True
    )
    return model, sorted(info["missing_keys"])


def _read_mean(name, config, dtype):
    model = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
    model.load_state_dict(load_file(Path(name) / MEAN_WEIGHTS))
    return model, []


def longest(model, tokenizer):
    """How many tokens a foreign model reads: what its tokenizer says, and no more than it has positions."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None) or 1024
    if "roberta" in config.model_type or config.model_type == "camembert":  # positions begin behind the padding's
        positions -= config.pad_token_id + 1
    return min(tokenizer.model_max_length, positions)
