"""The record of a training run: what was measured at every step, and what the figures draw."""

import json
import time
from dataclasses import dataclass, field

from rmtutorial.files import write_text
from rmtutorial.places import user_path

HELD_OUT = ("loss", "accuracy", "reward_mean", "kl")  # of the evaluations, what stands in the table of the steps


@dataclass
class History:
    """Two lists of rows.

    steps: one row an optimizer step: step (1, 2, ...), epoch (fraction done), loss (nats), accuracy, margin,
        reward_chosen and reward_rejected (means of the batch, logits), reward_mean and reward_std over both, lr (of
        the backbone), grad_norm (before clipping), tokens (distinct, summed so far), seconds (since the start).
    evaluations: one row an evaluation on held-out pairs: step, epoch, loss, accuracy, margin,
        reward_chosen, reward_rejected.
    Rows of `train_grpo` have what `grpo.forward_backward` and `rollouts.measures` name.
    """

    steps: list = field(default_factory=list)
    evaluations: list = field(default_factory=list)
    held_out_rewards: object = field(
        default=None, repr=False, compare=False
    )  # (N, 2) of the last one, GRPO's (P, G); not saved

    def to_frame(self):
        """The steps as a pandas table; held_out_loss and held_out_accuracy, or what GRPO has, where they were measured."""
        import pandas

        frame = pandas.DataFrame(self.steps, columns=None if self.steps else ["step"]).set_index("step")
        if self.evaluations:
            held_out = pandas.DataFrame(self.evaluations).set_index("step")
            held_out = held_out[[name for name in HELD_OUT if name in held_out]]
            frame = frame.join(held_out.add_prefix("held_out_"), how="outer")
        return frame

    def save(self, path):
        """Write as JSON."""
        write_text(path, json.dumps({"steps": self.steps, "evaluations": self.evaluations}, indent=1))

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. Raises: FileNotFoundError; ValueError, naming the file, if it is broken."""
        try:
            history = cls(**json.loads(user_path(path).read_text(encoding="utf-8")))
            rows = [dict(row) for row in (*history.steps, *history.evaluations)]
        except (ValueError, TypeError) as error:  # no UTF-8, no JSON, or something else in JSON
            raise ValueError(f"{path}: no history of a run ({error})") from error
        if not all("step" in row for row in rows):
            raise ValueError(f"{path}: no history of a run (a row without step)")
        return history


class Clock:
    """Seconds and distinct tokens of a run, those before a stop included."""

    def __init__(self, history):
        last = history.steps[-1] if history.steps else {"seconds": 0.0, "tokens": 0}
        self.started = time.perf_counter() - last["seconds"]
        self.tokens = last["tokens"]

    def after(self, tokens):
        self.tokens += tokens
        return {"tokens": self.tokens, "seconds": time.perf_counter() - self.started}
