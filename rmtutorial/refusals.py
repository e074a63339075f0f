"""Models, tokenizers and folders that cannot be used: each is refused by name, with what to do, before any work."""

import json
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

DECODERS = "use a decoder such as Llama, Qwen3 or GPT-2"
POINTER = b"version https://git-lfs"


def check_language_model(model):
    """ValueError for what is no plain language model of transformers: adapters, wrappers, quantized weights."""
    kind = type(model).__name__
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"{kind} is no model of transformers. Of a peft model pass model.merge_and_unload(), of a wrapped one "
            "(torch.compile, DDP) the model inside"
        )
    if any(".lora_" in name or ".base_layer." in name for name, _ in model.named_parameters()):
        raise ValueError(f"{kind} has LoRA adapters inside: pass what peft's model.merge_and_unload() returns")
    if getattr(model, "hf_quantizer", None) is not None:
        raise ValueError(f"{kind} has quantized weights, which cannot learn: load it without quantization_config")
    if model.config.is_encoder_decoder:
        raise ValueError(f"{kind} has an encoder and a decoder: {DECODERS}")


def check_tokenizer(tokenizer, embedding):
    """ValueError unless a text ends, can be padded, and every token has a row of the embedding."""
    if tokenizer.eos_token is None and (tokenizer.pad_token is None or tokenizer.chat_template is None):
        raise ValueError(
            "the tokenizer has no end token (eos_token): nothing would divide prompt and answer, end the answer, or pad a "
            "batch. Set tokenizer.eos_token to the token that ends a text in this model"
        )
    last = max(len(tokenizer) - 1, *tokenizer.added_tokens_decoder, -1)
    if last >= embedding.num_embeddings:
        raise ValueError(
            f"the tokenizer's ids go up to {last} ({tokenizer.convert_ids_to_tokens(last)!r}), the model's embedding has "
            f"{embedding.num_embeddings} rows: call model.resize_token_embeddings({last + 1}) and train the new tokens, or "
            "take the tokenizer that belongs to the model"
        )


def check_ids(encoded, names, embedding, tokenizer):
    """The same for lists of Encoded answers, where the tokenizer as a whole need not fit; names as in `encode_answers`."""
    tops = [max((max(answer.ids) for answer in answers), default=-1) for answers in encoded]
    top = max(tops, default=-1)
    if top >= embedding.num_embeddings:
        row = f"{names[tops.index(top)]}: " if names else ""
        raise ValueError(
            f"{row}token {tokenizer.convert_ids_to_tokens(top)!r} has the id {top}, the model's embedding (vocabulary) has "
            f"{embedding.num_embeddings} rows: call resize_token_embeddings, or take the tokenizer that belongs to the model"
        )
    return encoded


def classification_shell(config):
    """The `*ForSequenceClassification` of a config, without memory. ValueError if it could not hold a reward model."""
    try:
        with torch.device("meta"):
            shell = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise ValueError(
            f"{config.model_type}: transformers has no class for sequence classification with it, so the reward model "
            f"could not be saved; {DECODERS}"
        ) from error
    if "score" not in dict(shell.named_children()):
        raise ValueError(f"{type(shell).__name__} has no `score` head; {DECODERS}")
    return shell


def check_learns(model):
    """ValueError if weights that learn are too coarse: bfloat16 has 8 bits, and a step of 1e-4 is rounded away."""
    coarse = {p.dtype for p in model.parameters() if p.requires_grad and p.dtype in (torch.bfloat16, torch.float16)}
    if coarse:
        raise ValueError(
            f"weights in {', '.join(map(str, coarse))} would hardly move, since steps of ordinary size are rounded away: "
            "load the model in float32 (load_sft does), or call .float(); TrainConfig(precision='bf16') still computes in bf16"
        )


def rope_limit(config):
    """From how many tokens on rotary frequencies depend on the longest text of the batch; None where they never do."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope] if "rope_type" in rope else [kind for kind in rope.values() if isinstance(kind, dict)]
    limits = [
        kind.get("original_max_position_embeddings") or config.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") in ("longrope", "dynamic")
    ]
    return min(limits, default=None)


def check_packable(backbone, max_length):
    """NotImplementedError if the config says that a score would depend on more than its own text."""
    config, name = backbone.config, type(backbone).__name__
    if getattr(config, "max_position_embeddings", None) is None:
        raise NotImplementedError(f"{name}: its config has no max_position_embeddings (ALiBi has none); {DECODERS}")
    limit = rope_limit(config)
    if limit and max_length > limit:
        raise NotImplementedError(
            f"{name}: beyond {limit} tokens its rotary position embedding changes with the longest text of the batch, and a "
            f"score would depend on its neighbours: pass max_length={limit} or less"
        )
    chunk = getattr(config, "attention_chunk_size", None)
    if chunk and max_length > chunk:
        raise NotImplementedError(
            f"{name}: its attention is cut into chunks of {chunk} tokens: pass max_length={chunk} or less"
        )


@contextmanager
def packing_explained(backbone):
    """What a backbone that cannot read packed answers raises, as one NotImplementedError that says what to use."""
    try:
        yield
    except (AttributeError, TypeError, IndexError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError | NotImplementedError):
            raise
        reason = str(error).strip().partition("\n")[0][:120]
        raise NotImplementedError(
            f"{type(backbone).__name__}: it cannot read several answers packed into one row ({reason}); {DECODERS}"
        ) from error


def check_files(folder):
    """ValueError, naming the file, for a LoRA folder, Git LFS pointers and weights that are not whole."""
    folder = Path(folder)
    if (folder / "adapter_config.json").is_file():
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
        raise ValueError(
            f"{folder} has a LoRA adapter (adapter_config.json) for {base or 'another model'}, which must become part of the model first: "
            "load it with peft, then model.merge_and_unload().save_pretrained(FOLDER), and use FOLDER"
        )
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".safetensors", ".bin", ".json", ".model"):
            with path.open("rb") as file:
                if file.read(len(POINTER)) == POINTER:
                    raise ValueError(f"{path} is a Git LFS pointer, not the file itself: run git lfs pull there")
        if path.suffix == ".safetensors" and not _whole(path):
            raise ValueError(
                f"{path}: the weights are not whole ({path.stat().st_size} bytes); download or copy them again"
            )


def _whole(path):
    """Is a safetensors file as long as its header says? 8 bytes, the header in JSON, then the tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length + 8 > path.stat().st_size:
            return False
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return False
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return path.stat().st_size == 8 + length + max(ends, default=0)
