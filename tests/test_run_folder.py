"""A checkpoint folder belongs to one run; what is in it can be read whatever happens; what is broken is told by name."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import tiny_sft
from rmtutorial import checkpoints, files, training
from rmtutorial.history import History
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a second process, started by fork")


def reward_model(seed=1):
    rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None)
    torch.nn.init.normal_(rm.reward_head.weight, generator=torch.Generator().manual_seed(seed))
    return rm


@pytest.fixture
def config(tmp_path):
    """Six steps, saved after each second one."""
    return TrainConfig(epochs=3, batch_size=3, lr=1e-3, train_top=1, checkpoint_every=2,
                       checkpoint_dir=str(tmp_path / "runs" / "a"))  # fmt: skip


def stopped_at(step, pairs, config, rm=None):
    """Ctrl-C in this step; returns what it said."""
    rm, seen = rm or reward_model(), []

    def press(*_):
        seen.append(1)
        if len(seen) == step:
            signal.raise_signal(signal.SIGINT)

    hook = rm.backbone.register_forward_hook(press)
    with pytest.raises(KeyboardInterrupt) as stop:
        train_reward_model(rm, pairs, config)
    hook.remove()
    return str(stop.value)


def saved_step(folder):
    return len(History.load(Path(folder) / "history.json").steps)


def files_of(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def forwards(monkeypatch):
    """How many parts of batches are trained on from now on."""
    seen, forward_backward = [], training.forward_backward
    monkeypatch.setattr(training, "forward_backward", lambda *a: (seen.append(1), forward_backward(*a))[1])
    return seen


# One folder, one run.


@pytest.mark.parametrize("other", ["pairs", "settings", "weights"])
def test_another_runs_checkpoint_stops_a_run_before_its_first_step(pairs, config, monkeypatch, other):
    """It would be written over, and the first run could not go on."""
    stopped_at(3, pairs, config)
    before, steps = files_of(config.checkpoint_dir), forwards(monkeypatch)
    new = {"pairs": (reward_model(), pairs[::-1], config), "settings": (reward_model(), pairs, replace(config, seed=1)),
           "weights": (reward_model(seed=2), pairs, config)}[other]  # fmt: skip
    with pytest.raises(FileExistsError, match=r"checkpoint_dir.*another run \(step 3.*resume_from") as error:
        train_reward_model(*new)
    assert {"pairs": "the pairs", "settings": "seed", "weights": "the start"}[other] in str(error.value)
    assert not steps and files_of(config.checkpoint_dir) == before


def test_a_run_that_only_ctrl_c_saves_is_kept_beside_another_ones_checkpoint(pairs, config, capsys):
    """Nothing is to be written unless it is stopped, so an old checkpoint does not forbid it; and then it says where."""
    stopped_at(3, pairs, config)
    before = files_of(config.checkpoint_dir)
    others = [replace(config, seed=seed, checkpoint_every=0) for seed in (1, 2)]
    said = [stopped_at(2, pairs, other) for other in others]
    for number, text, other in zip((2, 3), said, others):
        folder = f"{config.checkpoint_dir}-{number}"
        assert f"resume_from={folder!r}" in text and folder in capsys.readouterr().err + text
        assert train_reward_model(reward_model(), pairs, other, resume_from=folder).steps[-1]["epoch"] == other.epochs
    assert files_of(config.checkpoint_dir) == before


def test_two_runs_that_start_together_do_not_share_a_folder(pairs, config, capsys):
    """The folder was free when both began; the second to save finds the other's checkpoint and moves, aloud."""
    rm, begun = reward_model(), []

    def another_run(*_):
        if not begun:
            begun.append(1)
            train_reward_model(reward_model(), pairs[:4], config)

    rm.backbone.register_forward_hook(another_run)
    train_reward_model(rm, pairs, config)
    assert f"another run: this run's is kept in {config.checkpoint_dir}-2" in capsys.readouterr().err
    for folder, trained_on in ((config.checkpoint_dir, pairs[:4]), (f"{config.checkpoint_dir}-2", pairs)):
        train_reward_model(reward_model(), trained_on, config, resume_from=folder)


def test_the_same_run_started_again_never_writes_an_earlier_step_over_a_later_one(pairs, config, capsys):
    """Who runs the cell again and stops it sooner has lost nothing; run to the end, it is the same run."""
    stopped_at(5, pairs, config)
    stopped_at(3, pairs, config)
    assert saved_step(config.checkpoint_dir) == 5
    train_reward_model(reward_model(), pairs, config)
    assert saved_step(config.checkpoint_dir) == 6 and not capsys.readouterr().err


@pytest.mark.parametrize("named", [True, False])
def test_a_resumed_run_goes_on_in_its_folder(pairs, config, tmp_path, monkeypatch, named):
    """Whether checkpoint_dir names it or is left as it is: the next stop is found where the last one was."""
    monkeypatch.chdir(tmp_path)
    stopped_at(3, pairs, config)
    config = config if named else replace(config, checkpoint_dir=TrainConfig.checkpoint_dir)
    train_reward_model(reward_model(), pairs, config, resume_from=tmp_path / "runs" / "a")
    assert saved_step(tmp_path / "runs" / "a") == 6 and [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_resumed_run_does_not_take_a_third_runs_folder(pairs, config):
    """It is asked to go on elsewhere, and another run's checkpoint is there: it goes on where it was."""
    other = replace(config, seed=1, checkpoint_dir=config.checkpoint_dir + "b")
    stopped_at(3, pairs, config)
    stopped_at(3, pairs, other)
    elsewhere = replace(config, checkpoint_dir=other.checkpoint_dir)
    train_reward_model(reward_model(), pairs, elsewhere, resume_from=config.checkpoint_dir)
    assert saved_step(config.checkpoint_dir) == 6 and saved_step(other.checkpoint_dir) == 3


# What the disk refuses.


def test_a_folder_that_cannot_be_written_stops_a_run_before_its_first_step(pairs, config, tmp_path, monkeypatch):
    """With the name of the setting, whoever would write there: checkpoint_every, or Ctrl-C."""
    (tmp_path / "file").touch()
    steps = forwards(monkeypatch)
    monkeypatch.setattr(RewardModel, "encode_pairs", lambda *a: pytest.fail("a long work was begun"))
    for every in (0, 2):
        with pytest.raises(OSError, match=r"checkpoint_dir: .*file.deep.* cannot be written"):
            train_reward_model(
                reward_model(), pairs,
                replace(config, checkpoint_every=every, checkpoint_dir=str(tmp_path / "file" / "deep")),
            )  # fmt: skip
    assert not steps


def full_disk(*arguments, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("broken", ["save_file", "folder_aside"])
def test_a_periodic_save_that_fails_ends_no_run_but_is_said(pairs, config, monkeypatch, capsys, broken):
    """The disk is full after step 2 and has room again after step 4: history and weights are those of the undisturbed run."""
    whole = train_reward_model(through := reward_model(), pairs, replace(config, checkpoint_every=0))
    rm, good, seen = reward_model(), getattr(checkpoints, broken), []

    def count(*_):
        seen.append(1)
        monkeypatch.setattr(checkpoints, broken, full_disk if len(seen) in (3, 4) else good)

    rm.backbone.register_forward_hook(count)
    history = train_reward_model(rm, pairs, config)
    assert [row["loss"] for row in history.steps] == [row["loss"] for row in whole.steps]
    assert torch.equal(rm.reward_head.weight, through.reward_head.weight)
    err = capsys.readouterr().err
    assert (
        f"step 4: no checkpoint written to {config.checkpoint_dir} ({full_disk_says()})" in err and "step 2" not in err
    )
    assert saved_step(config.checkpoint_dir) == 6


def full_disk_says():
    return f"[Errno {int(errno.ENOSPC)}] {os.strerror(errno.ENOSPC)}"


def test_ctrl_c_with_a_full_disk_says_that_nothing_was_saved(pairs, config, monkeypatch):
    """Not that one can go on from there; the checkpoint before is still whole."""
    stopped_at(2, pairs, config)
    monkeypatch.setattr(checkpoints, "save_file", full_disk)
    said = stopped_at(3, pairs, config)
    assert "stopped after step 3" in said and "could not be saved" in said and "resume_from" not in said
    assert saved_step(config.checkpoint_dir) == 2 and names(Path(config.checkpoint_dir).parent) == ["a"]


def test_a_model_that_cannot_be_saved_at_the_end_is_saved_elsewhere_aloud(tmp_path, monkeypatch, capsys):
    """Another program has filled the disk during the night: the training is not lost."""
    from rmtutorial.commands.train import _saved

    save = RewardModel.save_pretrained
    refuse = lambda rm, folder: full_disk() if folder == tmp_path / "rm" else save(rm, folder)  # noqa: E731
    monkeypatch.setattr(RewardModel, "save_pretrained", refuse)
    out = _saved(reward_model(), History(), tmp_path / "rm")
    assert os.strerror(errno.ENOSPC) in capsys.readouterr().err
    assert RewardModel.from_pretrained(out) and (out / "history.json").is_file()
    shutil.rmtree(out.parent)


# Killed at any moment.


def killed_before(operation, action):
    """Run `action` in a child that is killed before its n-th change of the disk. Returns True if it came to its end."""
    child = os.fork()
    if child == 0:
        count, changes = [], {"open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir", "os.chmod"}

        def hook(event, arguments):
            if event in changes:
                count.append(1)
                if len(count) == operation:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@NEEDS_FORK
def test_killed_at_any_moment_of_a_save_the_checkpoint_can_be_read(pairs, config, tmp_path):
    """SIGKILL before each single change of the disk: the old checkpoint or the new one, and the notes beside, are there."""
    stopped_at(2, pairs, config)
    original, folder = tmp_path / "original", Path(config.checkpoint_dir)
    (folder / "notes.md").write_text("mine")
    (folder / "plots").mkdir()
    (folder / "plots" / "loss.svg").write_text("mine too")
    shutil.copytree(folder, original)
    run = json.loads((folder / "run.json").read_text())
    rm, steps, operation, done = reward_model(), set(), 0, False
    optimizer = torch.optim.AdamW(p for p in rm.parameters() if p.requires_grad)
    history = History([{"step": k, "tokens": 1, "seconds": 1.0} for k in (1, 2, 3)])
    while not done:
        operation += 1
        shutil.rmtree(folder.parent)
        shutil.copytree(original, folder)
        done = killed_before(
            operation, lambda: checkpoints.save_checkpoint(folder, rm, optimizer, {**run, "step": 3}, history)
        )
        files.put_back(folder)  # as load_checkpoint does
        step = json.loads((folder / "run.json").read_text())["step"]
        assert saved_step(folder) == step and load_file(folder / "weights.safetensors")
        assert (folder / "notes.md").read_text() == "mine" and (folder / "plots" / "loss.svg").is_file()
        steps.add(step)
    assert operation > 15 and steps == {2, 3}


@NEEDS_FORK
def test_a_run_killed_between_the_two_renames_is_resumed(pairs, config, monkeypatch):
    """Then nothing stands in its place for a moment: whoever looks for the checkpoint puts the old one back."""
    whole = train_reward_model(through := reward_model(), pairs, replace(config, checkpoint_every=0))
    stopped_at(2, pairs, config)
    folder = Path(config.checkpoint_dir)
    aside = folder.parent / f".{folder.name}{files.OLD}abc" / "old"
    aside.parent.mkdir()
    folder.rename(aside)
    history = train_reward_model(rm := reward_model(), pairs, config, resume_from=folder)
    assert torch.equal(rm.reward_head.weight, through.reward_head.weight) and len(history.steps) == len(whole.steps)
    assert names(folder.parent) == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_training_killed_in_a_process_of_its_own_goes_on(pairs, config, tmp_path):
    """The whole way: started, killed while it saves after every step, and resumed."""
    model, tokenizer = tiny_sft("llama")
    model.save_pretrained(tmp_path / "sft")
    tokenizer.save_pretrained(tmp_path / "sft")
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected, "split": "train"} for p in pairs]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = [sys.executable, "-m", "rmtutorial", "train", "--model", tmp_path / "sft", "--layers=all", "--epochs=2000",
               "--data", tmp_path / "pairs.jsonl", "--held_out=none", "--train_top=1", "--checkpoint_every=1",
               "--checkpoint_dir", config.checkpoint_dir, "--out", tmp_path / "rm"]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE)
    run = Path(config.checkpoint_dir) / "run.json"
    while process.poll() is None and not run.exists():
        pass
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    reached = checkpoints.saved_run(config.checkpoint_dir)["step"]
    assert reached >= 1 and saved_step(config.checkpoint_dir) == reached


# Broken files.


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_another_step(path):
    tensors = {name: torch.tensor(7.0) if name.endswith(".step") else x for name, x in load_file(path).items()}
    save_file(tensors, path)


def without_a_weight(path):
    save_file(dict(list(load_file(path).items())[1:]), path)


BROKEN = [
    ("run.json", cut), ("run.json", lambda path: path.write_text("")), ("run.json", lambda path: path.write_text("[]")),
    ("run.json", lambda path: path.write_bytes(b"\xff\xfe\x00")),
    ("history.json", cut), ("history.json", Path.unlink), ("history.json", lambda path: path.write_text("[1]")),
    ("history.json", lambda path: path.write_text('{"steps": [{"loss": 1}], "evaluations": []}')),
    ("history.json", lambda path: path.write_text('{"steps": [], "evaluations": []}')),
    ("history.json", lambda path: path.write_text('{"steps": 5}')),
    ("weights.safetensors", cut), ("weights.safetensors", Path.unlink), ("weights.safetensors", without_a_weight),
    ("weights.safetensors", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n")),
    ("optimizer.safetensors", cut), ("optimizer.safetensors", Path.unlink),
    ("optimizer.safetensors", without_a_weight), ("optimizer.safetensors", of_another_step),
]  # fmt: skip


@pytest.mark.parametrize("name, damage", BROKEN, ids=[f"{name} {i}" for i, (name, _) in enumerate(BROKEN)])
def test_a_broken_checkpoint_is_told_with_folder_file_and_remedy_and_changes_nothing(pairs, config, name, damage):
    """Cut by a full disk, half downloaded, mixed from two steps: a ValueError, before a weight is touched."""
    stopped_at(3, pairs, config)
    damage(Path(config.checkpoint_dir) / name)
    rm, fresh = reward_model(), reward_model()
    with pytest.raises(ValueError) as error:
        train_reward_model(rm, pairs, config, resume_from=config.checkpoint_dir)
    text = str(error.value)
    assert type(error.value) is ValueError and len(text) < 600
    assert config.checkpoint_dir in text and name in text and "start anew without resume_from" in text
    assert all(torch.equal(p, q) for p, q in zip(rm.parameters(), fresh.parameters()))


def test_a_broken_checkpoint_is_told_before_the_pairs_are_encoded(pairs, config, monkeypatch):
    """run.json is read first: encoding many pairs takes a minute."""
    stopped_at(3, pairs, config)
    cut(Path(config.checkpoint_dir) / "run.json")
    monkeypatch.setattr(RewardModel, "encode_pairs", lambda *a: pytest.fail("a long work was begun"))
    with pytest.raises(ValueError, match=r"run\.json is broken"):
        train_reward_model(reward_model(), pairs, config, resume_from=config.checkpoint_dir)


@pytest.mark.parametrize("content", ["{", '{"steps": [1], "evaluations": []}', "[]", "\x00"])
def test_a_history_that_is_none_is_told_with_its_file(tmp_path, content):
    """A file of something else, or half of one."""
    (tmp_path / "h.json").write_text(content)
    with pytest.raises(ValueError, match=r"h\.json: no history of a run"):
        History.load(tmp_path / "h.json")
