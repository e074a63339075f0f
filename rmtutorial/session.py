"""Start a notebook: seeds, threads, profile, quiet logs, plot style. Called, never run on import."""

import os
import random
import warnings
from dataclasses import dataclass
from pathlib import Path

# Okabe & Ito's colors, told apart by color-blind readers. Chosen is blue and rejected orange everywhere.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
CHOSEN, REJECTED = OKABE_ITO[:2]


@dataclass(frozen=True)
class Session:
    """What this machine offers, and what follows for the notebooks."""

    profile: str  # binder, laptop or gpu
    device: str  # cpu, cuda or mps; training moves the model there by itself
    cores: int
    memory_gib: float

    @property
    def training(self):
        """Settings of TrainConfig for this machine: a GPU takes more tokens at a time, with the same gradient."""
        return {"micro_batch_tokens": 8192} if self.profile == "gpu" else {}

    def __str__(self):
        return f"profile {self.profile}: {self.cores} cores, {self.memory_gib:.0f} GiB memory, {self.device}"


def start(seed=0, threads=None):
    """Prepare this process for a notebook and print one line about the machine.

    Args: seed of Python, numpy and torch; threads for torch (default: the cores this process may use).
    Returns: Session.
    """
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads or usable_cores())
    _quiet_logs()
    _plot_style()
    configure_ic()
    session = look_around()
    print(session)
    return session


def look_around():
    """The Session of this machine. A memory limit below 4 GiB means a container such as Binder's."""
    import torch

    memory = memory_limit() / 2**30
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    profile = "gpu" if device == "cuda" else "binder" if memory < 4 else "laptop"
    return Session(profile, device, usable_cores(), memory)


def usable_cores():
    """Cores that this process may use: fewer than the machine has in a container, under taskset, or by OMP_NUM_THREADS."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):  # Linux
        cores = len(os.sched_getaffinity(0))
        quota = _read("/sys/fs/cgroup/cpu.max").split()
        if len(quota) == 2 and quota[0] != "max":
            cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
        return cores
    return os.cpu_count() or 1


def memory_limit():
    """Bytes of memory for this process: the machine's, or the limit of its container if that is lower."""
    import psutil

    limits = [psutil.virtual_memory().total]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # cgroup v2, v1
        text = _read(path)
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def _read(path):
    return Path(path).read_text().strip() if Path(path).is_file() else ""


def configure_ic():
    """Let icecream print `name: value` to stdout, without prefix or color, tensors as shape and dtype."""
    import torch
    from icecream import argumentToString, ic

    argumentToString.register(torch.Tensor, lambda t: f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}")
    ic.configureOutput(prefix="", outputFunction=print, includeContext=False)
    return ic


def _quiet_logs():
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns after a fork
    os.environ.setdefault("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")  # no token is wanted, and none is missed
    warnings.filterwarnings("ignore", message=".*IProgress not found.*")


def _plot_style():
    import matplotlib.pyplot as plt
    from cycler import cycler

    plt.rcParams.update(
        {
            "figure.figsize": (8, 3.6),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=OKABE_ITO),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "font.size": 11,
        }
    )
