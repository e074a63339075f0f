"""TRL's GRPOTrainer takes the folder of a reward model that was trained here (optional: needs trl and datasets)."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_trls_grpo_trainer_sees_the_rewards_of_our_model(tmp_path):
    """Two steps of `GRPOTrainer(reward_funcs=folder)`: every reward that it saw is ours for the same tokens."""
    pytest.importorskip("trl")
    script = Path(__file__).parent / "launch" / "trl_grpo.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 rewards, largest difference" in done.stdout
