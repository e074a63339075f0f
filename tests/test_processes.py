"""Several processes train the same model as one, whatever the number of pairs in the last batch."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import tiny_sft
from rmtutorial.backbones import load_sft
from rmtutorial.encoding import encode_pairs
from rmtutorial.history import History
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
    with socket.socket() as listener:
        listener.bind(("", 0))
        free_port = listener.getsockname()[1]
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


GRPO = {"steps": 4, "prompts_per_step": 3, "group": 4, "max_new_tokens": 6, "lr": 1e-3, "train_top": 2, "eval_group": 2,
        "micro_batch_tokens": 60}  # fmt: skip
GRPO_WORKER = Path(__file__).parent / "grpo_worker.py"


@pytest.fixture(scope="module")
def grpo_of_one(folder):
    """What one process makes of the tiny model by GRPO: (weights, history)."""
    out = folder / "grpo_1"
    subprocess.run([sys.executable, GRPO_WORKER, folder / "sft", out, str(GRPO), "0"], check=True, timeout=300)
    return load_file(out / "weights.safetensors"), History.load(out / "history.json")


@two_processes
@pytest.mark.parametrize("launcher", [ACCELERATE, TORCHRUN], ids=["accelerate", "torchrun"])
def test_two_processes_learn_from_a_rollout_what_one_does(folder, grpo_of_one, launcher):
    """Three prompts a step, so one process has two of them; each prompt has the same random numbers as with one process.

    Gradients are sums over processes of parts of one mean, rewards are compared within groups: the same weights in
    both, the same history, the answers of held-out prompts in their order.
    """
    out = folder / f"grpo_2_{launcher is TORCHRUN}"
    start(GRPO_WORKER, folder / "sft", out, GRPO, 0, launcher=launcher)
    (weights, history), found = grpo_of_one, History.load(out / "history.json")
    for rank in (0, 1):
        for name, p in load_file(out / f"weights{rank or ''}.safetensors").items():
            torch.testing.assert_close(p, weights[name], atol=1e-4, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    assert found.evaluations[0]["answers"] == history.evaluations[0]["answers"]
    for row, expected in zip(found.steps, history.steps, strict=True):
        assert {k: row[k] for k in row if k != "seconds"} == pytest.approx(
            {k: expected[k] for k in expected if k != "seconds"}, abs=2e-3
        )


@two_processes
def test_one_stopped_process_stops_grpo_in_all(folder, grpo_of_one):
    """Ctrl-C in the second process while it rewards step 3: both stop after that step, and one checkpoint is written."""
    out = folder / "grpo_stopped"
    printed = start(GRPO_WORKER, folder / "sft", out, GRPO, 3)
    assert sorted(re.findall(r"process \d: stopped after step \d of 4", printed)) == [
        "process 0: stopped after step 3 of 4",
        "process 1: stopped after step 3 of 4",
    ]
    assert len(History.load(out / "checkpoint" / "history.json").steps) == 3
