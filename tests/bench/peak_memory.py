"""Peak memory of the default training (16 layers, top 8, bundled pairs), read from the operating system.

Bound: 1.6 GiB. The training runs in a process of its own. Options: number of pairs and epochs.
"""

import argparse
import json
import resource
import subprocess
import sys

CODE = """
import json, sys, time
from rmtutorial.lesson import session
from rmtutorial.backbones import load_sft
from rmtutorial.preferences import load_preferences
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model
session.start()
size, epochs = json.loads(sys.argv[1])
pairs = load_preferences(size=size)
rm = RewardModel.from_sft(*load_sft(layers=16))
history = train_reward_model(rm, pairs, TrainConfig(epochs=epochs), load_preferences(split="test"))
last = history.steps[-1]
print(f"{len(pairs)} pairs, {last['tokens']} tokens, {last['seconds']:.0f} s, {last['tokens'] / last['seconds']:.0f} tokens/s")
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, help="first so many training pairs (default: all)")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    child = json.dumps([options.size, options.epochs])
    subprocess.run([sys.executable, "-c", CODE, child], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"peak memory: {peak / 2**30:.2f} GiB (bound 1.6 GiB)")
