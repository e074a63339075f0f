"""What every training here has around its steps: a folder, processes, a record, a progress bar, and a way to stop.

The steps themselves (forward, loss, backward, optimizer) stand in the function that trains.
"""

import os
from contextlib import contextmanager

import torch
from tqdm.auto import tqdm

from rmtutorial.checkpoints import load_checkpoint, save_checkpoint, stop_on_ctrl_c
from rmtutorial.history import Clock, History
from rmtutorial.processes import any_process
from rmtutorial.recipe import freeze, lr_schedule
from rmtutorial.refusals import check_learns
from rmtutorial.run_folder import RunFolder


class TrainingRun:
    """One run of `steps` steps, or the rest of it: `begin`, then `load`, then `end_step` after each of `steps_to_go`."""

    def __init__(self, model, config, resume_from=None):
        """Choose what learns, and look at the folders before any long work.

        Args: model, a RewardModel or a Policy; config, with the settings that TrainConfig and GRPOConfig share.
        Raises: as RunFolder, `freeze` and `check_learns`.
        """
        self.model, self.config, self.resume_from = model, config, resume_from
        self.place = RunFolder(config, resume_from)
        freeze(model, config.train_top)
        check_learns(model)
        model.zero_grad()  # of an earlier backward, which would enter the first step

    def begin(self, fingerprint, accelerator):
        """Claim the folder for the run with this fingerprint (another one's checkpoint ends it here), take the device."""
        self.fingerprint, self.accelerator = fingerprint, accelerator
        self.place.claim(self.model, fingerprint)
        self.model.to(accelerator.device)

    def load(self, optimizer, steps):
        """(History, schedule) of the run so far: new ones, or as the checkpoint has them."""
        self.optimizer, self.steps = optimizer, steps
        resumed = self.resume_from
        self.history = load_checkpoint(resumed, self.model, optimizer, self.fingerprint) if resumed else History()
        return self.history, lr_schedule(optimizer, self.config, steps, done=len(self.history.steps))

    @contextmanager
    def steps_to_go(self, evaluate_at=None, every=1):
        """Yield the numbers of the steps that are left.

        Args: evaluate_at, called with a step: 0 before the first, then after every `every` steps and after the last.
        """
        self.evaluate_at, self.every = evaluate_at, every
        if evaluate_at and not self.history.evaluations:
            evaluate_at(0)
        self.clock, done = Clock(self.history), len(self.history.steps)
        quiet = "TQDM_DISABLE" in os.environ or not self.accelerator.is_main_process
        with (
            stop_on_ctrl_c() as self.stopped,
            tqdm(total=self.steps, initial=done, desc="training", disable=quiet) as bar,
        ):
            self.bar = bar
            yield range(done + 1, self.steps + 1)

    def end_step(self, row, tokens, *shown):
        """Record the step, evaluate and save if it is time, and stop if Ctrl-C was pressed in any process.

        Args: row, what was measured; tokens, how many were read; shown, names of what the progress bar shows.
        Raises: KeyboardInterrupt, when the run has been saved.
        """
        self.history.steps.append({**row, **self.clock.after(tokens)})
        step = len(self.history.steps)
        self.bar.set_postfix({name: f"{row[name]:.3f}" for name in shown})
        self.bar.update()
        if self.evaluate_at and (step % self.every == 0 or step == self.steps):
            self.evaluate_at(step)
        stop, often = any_process(self.accelerator, self.stopped()), self.config.checkpoint_every
        if stop or (often and step % often == 0):
            self.place.save(save_checkpoint, self.model, self.optimizer, self.history, self.accelerator)
        if stop:
            raise KeyboardInterrupt(f"stopped after step {step} of {self.steps}; {self.place.way_on()}")


def stop_unless_finite(values, grad_norm, names, step, remedy):
    """Before the optimizer moves anything: FloatingPointError with the rows whose values, or whose gradient, are not finite.

    Args: values (n, ...); names, n of them, of the rows as the error calls them ("the pairs", [...]).
    """
    what, rows = names
    finite = torch.isfinite(values).flatten(1).all(dim=1)
    if finite.all() and torch.isfinite(grad_norm):
        return
    guilty = [row for row, ok in zip(rows, finite) if not ok] or rows
    kind = "gradient" if finite.all() else "loss"
    raise FloatingPointError(f"the {kind} of step {step} is not finite, with {what} {', '.join(guilty)}. {remedy}")
