"""Whose checkpoint lies in a folder: a run writes neither over another run's nor over a later one of its own."""

import json
import sys

from accelerate.utils import broadcast_object_list

from rmtutorial.features import checksum
from rmtutorial.files import put_back
from rmtutorial.places import check_folder, user_path

START = "the start"  # in run.json beside the fingerprint: the weights that learn, as the run found them
STEP = "step"  # in run.json: of the checkpoint
REMEDY = "The checkpoint cannot be used: take another one, or start anew without resume_from and with another folder."


class RunFolder:
    """Where one run keeps its checkpoint; a resumed run goes on in its folder unless another one is named."""

    def __init__(self, config, resume_from=None):
        """Raises, before any long work: OSError if nothing can be written there; as `saved_run` for `resume_from`."""
        self.resumed = saved_run(resume_from) if resume_from else {}
        self.own = user_path(resume_from) if resume_from else None
        unnamed = resume_from and config.checkpoint_dir == type(config).checkpoint_dir
        self.folder = self.own if unnamed else user_path(config.checkpoint_dir)
        self.periodic = bool(config.checkpoint_every)
        self.problem = ""  # why the last save failed
        self._check()

    def _check(self):
        try:
            check_folder(self.folder)
        except OSError as error:
            raise type(error)(f"checkpoint_dir: {error}") from error
        put_back(self.folder)

    def claim(self, rm, run):
        """This is now the folder of `run`, which trains `rm`. FileExistsError if another run's checkpoint is in it.

        Only if this run begins, and is to save there periodically: one that was resumed goes on where it was, and one
        that Ctrl-C may stop is then saved beside.
        """
        start = checksum(p for p in rm.parameters() if p.requires_grad)
        self.run = {**run, START: self.resumed.get(START, start)}
        found = self.found()
        if found is None or self.is_ours(found):
            return
        if self.own:
            self.folder = self.own
            self._check()
        elif self.periodic:
            changed = ", ".join(key for key, value in self.run.items() if found.get(key) != value)
            raise FileExistsError(
                f"checkpoint_dir: {self.folder} has the checkpoint of another run (step {found.get(STEP, '?')}; other: "
                f"{changed}). Choose another checkpoint_dir, go on with that run by resume_from, or delete the folder."
            )

    def found(self):
        """run.json of the checkpoint that lies in the folder now, {} if it is broken; None if there is none."""
        try:
            return saved_run(self.folder)
        except FileNotFoundError:
            return None
        except ValueError:
            return {}

    def is_ours(self, found):
        return all(found.get(key) == value or (key not in found and key == START) for key, value in self.run.items())

    def save(self, write, model, optimizer, history, accelerator):
        """Save by `write`, which is save_checkpoint. What the disk refuses ends no run: it is said, and noted."""
        step, self.problem = len(history.steps), ""
        folder, self.folder = broadcast_object_list([self.place_for(step), self.folder])  # as the main process sees it
        if folder is None:
            return
        try:
            write(folder, model, optimizer, {**self.run, STEP: step}, history, accelerator)
        except OSError as error:
            self.problem = str(error)
            if accelerator.is_main_process:
                print(f"step {step}: no checkpoint written to {folder} ({error})", file=sys.stderr)

    def place_for(self, step):
        """The folder to save this step in; None if a later step of this very run, started twice, is there already.

        If another run has saved here meanwhile, this one moves to a folder beside, aloud.
        """
        asked, number = self.folder, 1
        while (found := self.found()) is not None and not self.is_ours(found):
            number += 1
            self.folder = asked.with_name(f"{asked.name}-{number}")
        if number > 1:
            print(f"{asked} has the checkpoint of another run: this run's is kept in {self.folder}", file=sys.stderr)
        return None if found and found.get(STEP, 0) > step else self.folder

    def way_on(self):
        """What to say to who stopped the run."""
        if self.problem:
            return f"it could not be saved in {self.folder} ({self.problem})"
        return f"go on with resume_from={str(self.folder)!r}"


def saved_run(folder):
    """run.json of a checkpoint. Raises: FileNotFoundError; ValueError, naming the file, if it cannot be read."""
    put_back(folder)
    path = user_path(folder) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"resume_from={str(folder)!r}: no checkpoint there (no run.json)")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, no UTF-8
        raise ValueError(f"resume_from={str(folder)!r}: run.json is broken ({error}). {REMEDY}") from error
    if not isinstance(run, dict):
        raise ValueError(f"resume_from={str(folder)!r}: run.json holds no settings of a run. {REMEDY}")
    return run
