"""The reward model that notebook 03 saved; where it is not there, one is trained by the same recipe."""

from pathlib import Path

from rmtutorial.backbones import load_sft
from rmtutorial.preferences import load_preferences
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model

SEED = 3  # of notebook 03


def reward_model(folder="../out/reward_model"):
    """Load it, or train and save it there: two to four minutes on a laptop."""
    if not (Path(folder) / "config.json").is_file():
        rm = RewardModel.from_sft(*load_sft(layers=16))
        train_reward_model(rm, load_preferences(), TrainConfig(seed=SEED))
        rm.save_pretrained(folder)
    return RewardModel.from_pretrained(folder)
