"""What this machine offers: cores, memory, a GPU, and the profile that follows."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What this machine offers, and what follows for a training."""

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


def look_around():
    """The Machine that this process runs on. A memory limit below 4 GiB means a container such as Binder's."""
    import torch

    memory = memory_limit() / 2**30
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    profile = "gpu" if device == "cuda" else "binder" if memory < 4 else "laptop"
    return Machine(profile, device, usable_cores(), memory)


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
