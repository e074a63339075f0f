"""One of two processes that train; the second one alone is told to stop after step 3. Started by test_processes.py."""

import ast
import signal
import sys

from accelerate import Accelerator

from rmtutorial import training
from rmtutorial.backbones import load_sft
from rmtutorial.preferences import load_preferences
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel

sft, data, checkpoint, settings = sys.argv[1:]
measures, calls = training.measures, []


def measures_and_stop(*arguments):
    calls.append(1)
    if len(calls) == 3 and Accelerator().process_index == 1:
        signal.raise_signal(signal.SIGINT)
    return measures(*arguments)


training.measures = measures_and_stop
rm = RewardModel.from_sft(*load_sft(sft), layers=None)
try:
    training.train_reward_model(
        rm, load_preferences(data, split="all"), TrainConfig(checkpoint_dir=checkpoint, **ast.literal_eval(settings))
    )
except KeyboardInterrupt as stopped:
    print(f"process {Accelerator().process_index}: {stopped}", flush=True)
