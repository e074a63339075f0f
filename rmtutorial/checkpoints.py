"""Stop and go on: a training run as a folder of safetensors and JSON, and never a pickle."""

import json
import signal
import threading
import zlib
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from rmtutorial.features import frozen_checksum
from rmtutorial.files import folder_aside
from rmtutorial.history import History
from rmtutorial.processes import shared_like, whole

MAY_CHANGE = (
    "checkpoint_dir", "checkpoint_every", "eval_every", "micro_batch_tokens", "cache", "compile", "fsdp",
)  # fmt: skip  # without another result


def fingerprint(rm, pairs, config):
    """What a run depends on, as a dict of plain values: settings, pairs, and the part of the model that stays fixed."""
    texts = repr([(pair.prompt, pair.chosen, pair.rejected) for pair in pairs])
    settings = {key: value for key, value in asdict(config).items() if key not in MAY_CHANGE}
    trained = {name: list(p.shape) for name, p in rm.named_parameters() if p.requires_grad}
    return {
        **settings,
        "the pairs": zlib.crc32(texts.encode()),
        "the frozen weights": frozen_checksum(rm),
        "the shapes of the trained weights": zlib.crc32(repr(trained).encode()),
        **rm.settings(),
    }


def save_checkpoint(folder, model, optimizer, run, history, accelerator=None):
    """Write the trained weights, the state of AdamW and the history; the schedule follows from the step.

    Every process must call this; the main one writes.
    """
    weights, moments = {}, {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            weights[name] = whole(p.detach()).contiguous()
            moments |= {f"{name}.{key}": whole(value).contiguous() for key, value in optimizer.state.get(p, {}).items()}
    if accelerator is None or accelerator.is_main_process:
        with folder_aside(folder) as aside:
            save_file(weights, aside / "weights.safetensors")
            save_file(moments, aside / "optimizer.safetensors")
            history.save(aside / "history.json")
            (aside / "run.json").write_text(json.dumps(run, indent=1), encoding="utf-8")
    if accelerator is not None:
        accelerator.wait_for_everyone()


def load_checkpoint(folder, model, optimizer, run):
    """Put a saved run back into model and optimizer, and return its History.

    Raises: FileNotFoundError; ValueError when the run was made with other pairs, settings or another model.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"resume_from={str(folder)!r}: no checkpoint there (no run.json)")
    saved = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    changed = [
        f"{key} differ" if key.startswith("the ") else f"{key} was {saved.get(key)!r}, is {value!r}"
        for key, value in run.items()
        if saved.get(key) != value
    ]
    if changed:
        raise ValueError(
            f"resume_from={str(folder)!r} is of another run: {'; '.join(changed)}. Use the same, or start anew."
        )
    weights, moments = _read(folder / "weights.safetensors"), _read(folder / "optimizer.safetensors")
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad:
                continue
            p.copy_(shared_like(weights[name], p))
            state = {key: moments[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            optimizer.state[p] = {k: v.to(p.device) if k == "step" else shared_like(v, p) for k, v in state.items()}
    return History.load(folder / "history.json")


def _read(path):
    """Copies in memory: load_file maps the file, and Windows does not rename a folder with a mapped file in it."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


@contextmanager
def stop_on_ctrl_c():
    """Yield a function that says whether Ctrl-C was pressed.

    The first Ctrl-C waits for the end of the step, so that weights and optimizer state belong together; the
    second one interrupts at once.
    """
    pressed = threading.Event()

    def first_press(signum, frame):
        pressed.set()
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread may listen to signals
        return
    before = signal.signal(signal.SIGINT, first_press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
