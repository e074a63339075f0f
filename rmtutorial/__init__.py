"""rmtutorial: how a reward model is trained from human preferences, on a real language model, offline.

Importing this package imports nothing else: `from rmtutorial.reward_model import RewardModel` loads torch
and transformers, `import rmtutorial` does not.
"""

__version__ = "0.1.0"
