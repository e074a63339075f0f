"""A reward model trained here as the reward of TRL's GRPOTrainer: two steps, and the rewards that it saw beside ours.

    python tests/launch/trl_grpo.py [RM [POLICY]]     folders; without them a tiny reward model is trained, a tiny policy made

Needs `pip install -e .[compare]`; no network. Exit code 1 if a reward differs by more than 1e-4.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
from conftest import tiny_sft
from rmtutorial.policy import Policy
from rmtutorial.preferences import PreferencePair
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model

PAIRS = [PreferencePair(f"Why the {thing}?", f"Blue is the {thing}.", f"Red is the {thing}.")
         for thing in ("cat", "mat", "light", "air", "sky", "wall")]  # fmt: skip


def tiny_folders(out):
    """A reward model that was trained on a few pairs, and a policy: (folder, folder)."""
    torch.manual_seed(0)
    rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None)
    train_reward_model(
        rm, PAIRS, TrainConfig(epochs=4, batch_size=3, lr=1e-3, train_top=2, checkpoint_dir=str(out / "c"))
    )
    rm.save_pretrained(out / "rm")
    Policy(*tiny_sft("llama")).save_pretrained(out / "policy")
    return out / "rm", out / "policy"


def main(folders):
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        rm, policy = folders if len(folders) == 2 else [*folders, *tiny_folders(work)[len(folders) :]]
        (work / "expected.json").write_text(json.dumps({"folder": str(Path(rm).resolve())}), encoding="utf-8")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false"}
        for script, arguments in (("with_trl.py", [policy]), ("same_rewards.py", [])):
            command = [TESTS / "interop" / script, work / "expected.json", *arguments, work / "seen.json"]
            done = subprocess.run([sys.executable, *map(str, command)], env=environment)
            if done.returncode:
                sys.exit(f"{script} failed")


if __name__ == "__main__":
    main(sys.argv[1:])
