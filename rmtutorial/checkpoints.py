"""Stop and go on: a training run as a folder of safetensors and JSON, and never a pickle."""

import json
import signal
import threading
import zlib
from contextlib import contextmanager
from dataclasses import asdict

import torch
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rmtutorial.features import frozen_checksum
from rmtutorial.files import folder_aside
from rmtutorial.history import History
from rmtutorial.places import user_path
from rmtutorial.processes import shared_like, whole
from rmtutorial.run_folder import REMEDY, saved_run

MAY_CHANGE = (
    "checkpoint_dir", "checkpoint_every", "eval_every", "micro_batch_tokens", "cache", "compile", "fsdp",
)  # fmt: skip  # without another result
UPDATES = "updates"  # the setting that says how often the optimizer moves in one step; where there is none, once
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW, for each weight


def fingerprint(rm, config, name, rows):
    """What a run depends on, as a dict of plain values: settings, data, and the part of the model that stays fixed.

    Args: name, of the data ("the pairs"); rows, what the run reads of each of them, as plain values.
    """
    texts = 0  # crc32 of repr([row, ...]), a row at a time: the whole text may be large
    for number, row in enumerate(rows):
        texts = zlib.crc32(f"{', ' if number else '['}{row!r}".encode(), texts)
    settings = {key: value for key, value in asdict(config).items() if key not in MAY_CHANGE}
    trained = {name: list(p.shape) for name, p in rm.named_parameters() if p.requires_grad}
    return {
        **settings,
        name: zlib.crc32(b"]", texts),
        "the frozen weights": frozen_checksum(rm),
        "the shapes of the trained weights": zlib.crc32(repr(trained).encode()),
        **rm.settings(),
    }


def save_checkpoint(folder, model, optimizer, run, history, accelerator=None):
    """Write the trained weights, the state of AdamW and the history; the schedule follows from the step.

    Every process must call this; the main one writes. Raises: OSError, in every process, if it could not.
    """
    weights, moments, problem = {}, {}, None
    for name, p in model.named_parameters():
        if p.requires_grad:
            weights[name] = whole(p.detach()).contiguous()
            moments |= {f"{name}.{key}": whole(value).contiguous() for key, value in optimizer.state.get(p, {}).items()}
    if accelerator is None or accelerator.is_main_process:
        try:
            with folder_aside(folder) as aside:
                save_file(weights, aside / "weights.safetensors")
                save_file(moments, aside / "optimizer.safetensors")
                history.save(aside / "history.json")
                (aside / "run.json").write_text(json.dumps(run, indent=1), encoding="utf-8")
        except (OSError, SafetensorError) as error:  # a full disk is the one or the other
            problem = str(error)
    if accelerator is not None:
        (problem,) = broadcast_object_list([problem])
    if problem is not None:
        raise OSError(problem)


def load_checkpoint(folder, model, optimizer, run):
    """Put a saved run back into model and optimizer, and return its History.

    Everything is read and compared before anything is changed.
    Raises: FileNotFoundError; ValueError when the run was made with other pairs, settings or another model, or a file
        of it is broken, missing, or of another step.
    """
    saved = saved_run(folder)
    changed = [
        f"{key} differ" if key.startswith("the ") else f"{key} was {saved.get(key)!r}, is {value!r}"
        for key, value in run.items()
        if saved.get(key) != value
    ]
    if changed:
        raise ValueError(
            f"resume_from={str(folder)!r} is of another run: {'; '.join(changed)}. Use the same, or start anew."
        )
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    try:
        history, weights, states = _read_run(user_path(folder), trained, run.get(UPDATES, 1))
    except (ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"resume_from={str(folder)!r}: {error}. {REMEDY}") from error
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(shared_like(weights[name], p))
            state = states[name].items()
            optimizer.state[p] = {k: v.to(p.device) if k == "step" else shared_like(v, p) for k, v in state}
    return history


def _read_run(folder, trained, updates):
    """(History, {name: weights}, {name: state of AdamW}) of a checkpoint; errors name the file.

    Args: updates, of the optimizer in one step of the history.
    """
    history = History.load(folder / "history.json")
    weights, moments = (_read(folder / f"{name}.safetensors") for name in ("weights", "optimizer"))
    states = {name: {key: moments.get(f"{name}.{key}") for key in MOMENTS} for name in trained}
    for name, p in trained.items():
        shapes = [x is not None and x.shape for x in (weights.get(name), *states[name].values())]
        if shapes != [p.shape, torch.Size([]), p.shape, p.shape]:
            raise ValueError(f"weights.safetensors or optimizer.safetensors: {name} is missing or of another shape")
        if (step := int(states[name]["step"])) != len(history.steps) * updates:
            raise ValueError(
                f"optimizer.safetensors is of step {step // updates}, history.json of step {len(history.steps)}"
            )
    if not history.steps or not {"tokens", "seconds"} <= set(history.steps[-1]):
        raise ValueError("history.json: its last row has no tokens and seconds")
    return history, weights, states


def _read(path):
    """Copies in memory: load_file maps the file, and Windows does not rename a folder with a mapped file in it."""
    try:
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error


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
