"""The folder of a saved model: written so that transformers 4.x and 5.x read the same from it, then read back.

5.x renamed what 4.x looks for, and 4.x takes a default where it finds nothing: another score, without a word.
"""

import copy
import json

import torch
from safetensors import SafetensorError
from tokenizers import processors
from transformers import AutoConfig, AutoTokenizer

from rmtutorial.backbones import quiet_transformers
from rmtutorial.files import STALE, folder_aside

PROBES = (
    "Why is the sky blue?  It's 12345.67, I'd say.\n\n\tcafé cafe\u0301 Ångström ﬁne ½ x² \u00a0\u200b",
    "今天天气怎么样？ Привет, мир! مرحبا नमस्ते 한국어 👩\u200d🔬🏳️\u200d🌈 <b>&amp;</b>",
    "def f(x):\n    return x ** 2  # 1_000\r\n",
    " leading and trailing ",
)
NEW_ONLY = ("backend", "is_local", "local_files_only", "add_bos_token", "add_eos_token")  # of tokenizer_config.json
OTHER_ROPE_NAMES = {"gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}}


def for_reward_model(tokenizer, max_length):
    """A copy of a tokenizer that does, in other libraries too, what encoding does here.

    It cuts on the left, pads on the right (absolute positions would shift) and adds no token to a text, since the
    template has written them all: RewardBench and others tokenize the template's text with special tokens.
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.truncation_side, tokenizer.padding_side, tokenizer.model_max_length = "left", "right", max_length
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
    return tokenizer


def save_folder(folder, model, tokenizer, max_shard_size="5GB", finish=lambda aside: None):
    """Save model and tokenizer, aside first, then renamed; what other libraries will read otherwise is printed.

    Args: finish, called with the folder aside when all is written. Raises: OSError, naming the folder.
    """
    with quiet_transformers(), folder_aside(folder, STALE) as aside:
        try:
            model.save_pretrained(aside, max_shard_size=max_shard_size)
            tokenizer.save_pretrained(aside)
        except (SafetensorError, OSError) as error:  # a full disk; safetensors calls it by a name of its own
            raise OSError(
                f"{folder} could not be written ({error}); free some disk, or choose another folder"
            ) from error
        said = [*_config_for_both(aside), *_tokenizer_for_both(aside, tokenizer)]
        finish(aside)
    for line in said:
        print(f"{folder}: {line}")


def _config_for_both(folder):
    """Add the names of 4.x to config.json; returns what cannot be said in both."""
    path = folder / "config.json"
    text = path.read_text(encoding="utf-8")
    config = json.loads(text)
    if "dtype" in config:
        config["torch_dtype"] = config["dtype"]
    rope, said = config.get("rope_parameters") or {}, []
    nested = any(isinstance(value, dict) for value in rope.values())
    if nested and config["model_type"] == "gemma3_text":
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = config.get("_sliding_window_pattern", 6)
        rope = rope["full_attention"]
    elif nested:
        rope = {}
        said = ["transformers 4.x cannot read its rope_parameters, which differ from layer to layer: use 5.x"]
    config |= _old_rope(config, rope)
    if (
        rope.get("rope_type") == "yarn"
        and rope.get("original_max_position_embeddings") != config["max_position_embeddings"]
    ):
        said = ["transformers 4.51 and older compute its YaRN positions otherwise, and other scores from them: use 5.x"]
    before = AutoConfig.from_pretrained(folder).to_dict()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if not _holds(AutoConfig.from_pretrained(folder).to_dict(), before):  # 5.x goes first
        path.write_text(text, encoding="utf-8")
        said = ["its config.json cannot be written for transformers 4.x and 5.x alike: use 5.x"]
    return said


def _holds(found, wanted):
    """Does a nested dict have all of another one?"""
    if not isinstance(wanted, dict):
        return found == wanted
    return isinstance(found, dict) and all(key in found and _holds(found[key], wanted[key]) for key in wanted)


def _old_rope(config, rope):
    """Rotary settings under the names of 4.x."""
    names = OTHER_ROPE_NAMES.get(config["model_type"], {})
    flat = {names.get(key, key): rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    if rope.get("rope_type", "default") == "default":
        return flat
    scaling = {key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor")}
    if config["model_type"] in ("phi3", "phimoe"):  # 4.x wants these three and no other
        scaling = {"type": scaling["rope_type"], **{key: scaling[key] for key in ("short_factor", "long_factor")}}
    return {**flat, "rope_scaling": scaling}


def _tokenizer_for_both(folder, tokenizer):
    """Rewrite tokenizer_config.json for 4.x and 5.x; returns what is read from the folder otherwise than it was."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key not in NEW_ONLY}
    if tokenizer.is_fast:  # by any other name 4.x would not know it, or would change it
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):  # 4.x stops at a list
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    names = ("truncation_side", "padding_side", "model_input_names", "chat_template")
    config |= {name: getattr(tokenizer, name) for name in names if getattr(tokenizer, name) is not None}
    config["clean_up_tokenization_spaces"] = False
    path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return differences(tokenizer, AutoTokenizer.from_pretrained(folder))


def differences(tokenizer, again):
    """Sentences on what a tokenizer that was read back does otherwise."""
    same = ("truncation_side", "padding_side", "model_max_length", "pad_token_id", "eos_token_id", "bos_token_id",
            "chat_template", "model_input_names")  # fmt: skip
    said = [
        f"AutoTokenizer reads {name}={getattr(again, name)!r} from it, not {getattr(tokenizer, name)!r}"
        for name in same
        if getattr(again, name) != getattr(tokenizer, name)
    ]
    special = "".join(token.content for token in tokenizer.added_tokens_decoder.values())
    for text in (*PROBES, special):
        for add in (False, True):
            if again(text, add_special_tokens=add)["input_ids"] != tokenizer(text, add_special_tokens=add)["input_ids"]:
                where = f"AutoTokenizer reads it as {type(again).__name__}, which makes other tokens of some texts"
                return [*said, f"{where} (such as {text[:20]!r}), so their scores differ from those here"]
    return said


def tell_padding(folder, backbone):
    """Print what a reward model's folder cannot carry about batches."""
    if backbone.config.pad_token_id is None:
        print(f"{folder}: its config has no pad_token_id, so other libraries score one answer at a time")
    elif shifted_by_padding(backbone):
        print(
            f"{folder}: positions are absolute, so a library that pads on the left (the saved tokenizer pads on the "
            "right) gives other scores: let it score one answer at a time (RewardBench: --batch_size 1)"
        )


@torch.no_grad()
def shifted_by_padding(backbone):
    """Do padding tokens on the left move the scores, as they do where positions are absolute (GPT-2)?"""
    ids = torch.arange(1, 9, device=backbone.device)[None] % backbone.config.vocab_size
    padded, mask = torch.cat([ids[:, :3], ids], dim=1), torch.ones(1, 11, dtype=torch.int64, device=ids.device)
    mask[:, :3] = 0
    alone = backbone(ids).last_hidden_state[0, -1].float()
    return bool(
        (backbone(padded, attention_mask=mask).last_hidden_state[0, -1].float() - alone).norm() > 0.01 * alone.norm()
    )
