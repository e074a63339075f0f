"""Several processes train the same model as one, whatever the number of pairs in the last batch."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import tiny_sft
from rmtutorial.backbones import load_sft
from rmtutorial.encoding import encode_pairs
from rmtutorial.preferences import load_preferences
from rmtutorial.processes import parts_of_process
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model

# 6 pairs in batches of 5: the last batch has one pair, so one of two processes has none. In parts of 120 tokens one
# process has more parts than the other.
SETTINGS = {"epochs": 2, "batch_size": 5, "lr": 3e-4, "head_lr": 3e-3, "train_top": 3, "micro_batch_tokens": 120}
ACCELERATE = [
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes=2",
    "--num_machines=1",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
ACCELERATE += ["--mixed_precision=no", "--dynamo_backend=no", "--num_cpu_threads_per_process=1"]


two_processes = pytest.mark.skipif(
    sys.platform == "win32", reason="torch for Windows comes without libuv: no rendezvous"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """A tiny SFT model and a file of pairs, as a user has them."""
    folder = tmp_path_factory.mktemp("processes")
    model, tokenizer = tiny_sft("llama")
    model.save_pretrained(folder / "sft")
    tokenizer.save_pretrained(folder / "sft")
    rows = [
        ("Why is the sky blue?", "Because air scatters blue light more.", "It is."),
        ("Where is the cat?", "On the mat.", "On the red mat in the blue light, we see."),
        ("Is red light blue?", "No.", "Yes, it is blue."),
        ("The cat sat.\n\nWho sat?", "The cat sat on the mat, more or less.", "The mat sat."),
        ("See the mat?", "We see it.", "We see the sky."),
        ("Is it on the mat?", "Because the cat sat on it, we see it.", "The sky."),
    ]
    lines = [json.dumps({**dict(zip(("prompt", "chosen", "rejected"), row)), "split": "train"}) for row in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def one_process(folder):
    """The reward model that one process trains."""
    rm = RewardModel.from_sft(*load_sft(str(folder / "sft")), layers=None)
    train_reward_model(rm, load_preferences(folder / "pairs.jsonl"), TrainConfig(**SETTINGS))
    return rm


def start(*arguments, launcher=ACCELERATE):
    free_port = str(20_000 + os.getpid() % 20_000)
    port = "--main_process_port" if launcher is ACCELERATE else "--master_port"
    environment = {**os.environ, "TQDM_DISABLE": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launcher, f"{port}={free_port}", *map(str, arguments)], env=environment,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_same_weights(rm, expected):
    for (name, p), q in zip(rm.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@two_processes
@pytest.mark.parametrize("launcher", [ACCELERATE, TORCHRUN], ids=["accelerate", "torchrun"])
@pytest.mark.parametrize("fsdp", ["false", "true"], ids=["DDP", "FSDP"])
def test_two_processes_train_the_weights_of_one(folder, one_process, fsdp, launcher):
    """The gradient of a mean over pairs does not depend on who reads which pair; one model and history are written."""
    out = folder / f"rm_{fsdp}_{launcher is TORCHRUN}"
    options = [f"--{key}={value}" for key, value in SETTINGS.items()]
    printed = start("-m", "rmtutorial", "train", f"--model={folder / 'sft'}", f"--data={folder / 'pairs.jsonl'}",
                    "--layers=all", "--held_out=train", f"--out={out}", f"--fsdp={fsdp}",
                    f"--checkpoint_dir={folder / 'checkpoint'}", *options, launcher=launcher)  # fmt: skip
    assert printed.count("reward model in") == 1
    assert_same_weights(RewardModel.from_pretrained(out), one_process)
    history = json.loads((out / "history.json").read_text())
    assert [len(history["steps"]), len(history["evaluations"])] == [4, 3]


@two_processes
@pytest.mark.parametrize("fsdp", [False, True], ids=["DDP", "FSDP"])
def test_one_stopped_process_stops_all_and_the_one_checkpoint_resumes_anywhere(folder, one_process, fsdp):
    """Ctrl-C in the second of two processes: both stop after the same step; one process goes on to the same end."""
    checkpoint = folder / f"stopped_{fsdp}"
    worker = Path(__file__).parent / "stopped_worker.py"
    printed = start(worker, folder / "sft", folder / "pairs.jsonl", checkpoint, {**SETTINGS, "fsdp": fsdp})
    assert sorted(re.findall(r"process \d: stopped after step \d of 4", printed)) == [
        "process 0: stopped after step 3 of 4",
        "process 1: stopped after step 3 of 4",
    ]
    rm = RewardModel.from_sft(*load_sft(str(folder / "sft")), layers=None)
    pairs = load_preferences(folder / "pairs.jsonl")
    train_reward_model(rm, pairs, TrainConfig(**SETTINGS), resume_from=checkpoint)
    assert_same_weights(rm, one_process)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("max_tokens", [1, 120, 10_000])
def test_every_pair_is_read_by_one_process_with_its_share(pairs, n, processes, max_tokens):
    """The weights of the parts add up to 1, every pair counts once, and all processes have as many parts."""
    examples = encode_pairs(tiny_sft("llama")[1], pairs[:n], 1000)
    parts = [parts_of_process(examples, max_tokens, r, processes) for r in range(processes)]
    assert len({len(p) for p in parts}) == 1
    counted = [(i, weight / len(group)) for p in parts for group, weight in p if weight for i in group]
    assert sorted(i for i, _ in counted) == list(range(n))
    assert all(share == pytest.approx(1 / n) for _, share in counted)


def test_fsdp_in_one_process_is_refused(pairs):
    """There is nothing to share out; the message says how to start several."""
    rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None)
    with pytest.raises(ValueError, match="accelerate launch"):
        train_reward_model(rm, pairs, TrainConfig(fsdp=True, train_top=2))
