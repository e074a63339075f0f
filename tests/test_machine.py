"""What a notebook or a command finds out about its machine."""

import pytest
import torch

from rmtutorial import machine
from rmtutorial.recipe import TrainConfig, autocast

GIB = 2**30


@pytest.mark.parametrize(
    "cuda, memory, profile", [(False, 2 * GIB, "binder"), (False, 16 * GIB, "laptop"), (True, 12 * GIB, "gpu")]
)
def test_the_profile_follows_from_gpu_and_memory(monkeypatch, cuda, memory, profile):
    """A limit below 4 GiB means a container such as Binder's; a GPU comes first."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(machine, "memory_limit", lambda: memory)
    found = machine.look_around()
    assert found.profile == profile and f"profile {profile}" in str(found)


def test_a_gpu_takes_more_tokens_at_a_time():
    """The gradient is that of the whole batch either way; only memory and speed change."""
    assert TrainConfig(**machine.Machine("gpu", "cuda", 8, 12.0).training).micro_batch_tokens > 4096
    assert TrainConfig(**machine.Machine("binder", "cpu", 1, 2.0).training) == TrainConfig()


@pytest.mark.parametrize("capability, bf16", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bf16_is_chosen_by_capability(monkeypatch, capability, bf16):
    """A T4 (7.5) only emulates bfloat16, though torch calls it supported."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    asked = []
    monkeypatch.setattr(torch, "autocast", lambda device, dtype, enabled: asked.append((device, dtype, enabled)))
    autocast(torch.device("cuda"), "auto")
    assert asked == [("cuda", torch.bfloat16, bf16)]


def test_threads_follow_omp_num_threads(monkeypatch):
    """Binder gives one core on a machine that shows many, and says so in this variable."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.usable_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert machine.usable_cores() >= 1
