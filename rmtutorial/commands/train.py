"""rmtutorial train: check everything that can be checked, load the model, train, save."""

import argparse
import inspect
import re
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from rmtutorial.commands._reading import add_bad_rows, add_columns
from rmtutorial.files import put_back
from rmtutorial.places import check_folder, check_space, user_path
from rmtutorial.recipe import TrainConfig
from rmtutorial.run_folder import RunFolder

USAGE = "rmtutorial train --out FOLDER [options]"
EXAMPLE = """
example: rmtutorial train --data pairs.jsonl --out out/rm --epochs 1
Several processes (README): accelerate launch --num_processes 2 -m rmtutorial train --out out/rm
"""


def add_arguments(p):
    """Options of the model and the data, then every field of TrainConfig, explained by the comment beside it."""
    p.usage, p.epilog = USAGE, EXAMPLE
    p.add_argument("--out", required=True, metavar="FOLDER", help="for the reward model; must not hold another one yet")
    p.add_argument("--model", help="folder or Hub id of the SFT model (default: the embedded SmolLM2)")
    p.add_argument("--data", help="preference file or Hub id (default: the bundled pairs)")
    add_columns(p)
    add_bad_rows(p)
    p.add_argument("--size", type=int, metavar="N", help="train on the first N pairs (default: all)")
    p.add_argument("--held_out", default="test", metavar="SPLIT", help="to evaluate on, or none (default: test)")
    p.add_argument("--layers", type=int_or_all, default=16, metavar="N", help="keep the first N layers, or all (default: 16)")  # fmt: skip
    p.add_argument("--pooling", choices=("last", "mean"), default="last", help="state that is scored (default: last)")
    p.add_argument("--template", choices=("chat", "plain"), default="chat", help="the tokenizer's, or prompt + EOS + response")  # fmt: skip
    p.add_argument("--max_length", type=int, default=1024, metavar="N", help="tokens; what is longer loses its left end (default: 1024)")  # fmt: skip
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --checkpoint_dir")
    recipe = p.add_argument_group("recipe (TrainConfig, which has more words about each)")
    explained = comments(TrainConfig)
    for f in fields(TrainConfig):
        shown = "all" if f.default is None else str(f.default).lower()
        short = explained[f.name].split(";")[0]
        recipe.add_argument(f"--{f.name}", type=_type(f), default=f.default, metavar="VALUE", help=f"{short} (default: {shown})".replace("%", "%%"))  # fmt: skip


def comments(config):
    """{field: the comment at the end of its line}: what the code says is what --help says."""
    return dict(re.findall(r"^ {4}(\w+): .* = .*?  # (.*)$", inspect.getsource(config), re.MULTILINE))


def _type(field):
    if field.name == "train_top":
        return int_or_all
    return boolean if field.type is bool else field.type


def int_or_all(text):
    return None if text == "all" else int(text)


def boolean(text):
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}: write true or false")
    return text == "true"


def run(options):
    config = TrainConfig(**{f.name: getattr(options, f.name) for f in fields(TrainConfig)})
    _check(options, config)
    _train(options, config, *_read(options))


def _read(options):
    """(pairs to train on, held-out pairs or None); the file is read once, and what is wrong with it said once."""
    from rmtutorial.preferences import first_pairs, load_splits

    held_out = None if options.held_out == "none" else options.held_out
    wanted = ["train"] if held_out is None else ["train", held_out]
    splits = load_splits(options.data, wanted, dict(options.columns), options.bad_rows, divide=held_out is not None)
    return first_pairs(splits["train"], options.size), splits.get(held_out)


def _check(options, config):
    """What can be known before anything is loaded."""
    out, checkpoint = user_path(options.out), user_path(config.checkpoint_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"--out {out}: there is something already; choose a new folder, or remove it")
    check_folder(out)
    put_back(checkpoint)
    if options.resume and not (checkpoint / "run.json").is_file():
        raise FileNotFoundError(f"--resume: no checkpoint in {checkpoint} (--checkpoint_dir)")
    RunFolder(config, checkpoint if options.resume else None)
    if options.layers is not None and (config.train_top or 0) > options.layers:
        raise ValueError(f"--train_top {config.train_top}: only {options.layers} layers are kept (--layers)")
    if options.max_length < 1:
        raise ValueError(f"--max_length {options.max_length}: must be at least 1 token")


def _train(options, config, pairs, held_out):
    from accelerate import Accelerator
    from accelerate.utils import set_seed

    from rmtutorial.backbones import load_sft
    from rmtutorial.processes import is_sharded, plain_copy, recipe_only
    from rmtutorial.reward_model import RewardModel
    from rmtutorial.training import train_reward_model

    accelerator = Accelerator(**recipe_only())
    set_seed(config.seed)
    with accelerator.main_process_first():  # the embedded model is converted once
        sft = load_sft(options.model, layers=options.layers)
    rm = RewardModel.from_sft(*sft, options.layers, options.pooling, options.template, options.max_length)
    del sft
    check_space(options.out, sum(p.nbytes for p in rm.parameters()), "the reward model")
    checkpoint = config.checkpoint_dir if options.resume else None
    history = train_reward_model(rm, pairs, config, held_out, resume_from=checkpoint)
    rm = plain_copy(rm) if is_sharded(rm) else rm
    if accelerator.is_main_process:
        out = _saved(rm, history, user_path(options.out))
        last = history.evaluations[-1] if history.evaluations else history.steps[-1]
        where = "held-out" if history.evaluations else "last batch's"
        print(f"{where} loss {last['loss']:.3f}, accuracy {last['accuracy']:.3f}; reward model in {out}")
    accelerator.end_training()


def _saved(rm, history, out):
    """Where the reward model is saved: in `out`, or in a temporary folder, aloud, if its disk has filled meanwhile."""
    try:
        rm.save_pretrained(out)
    except OSError as error:
        print(f"--out {out}: {error}; saved elsewhere", file=sys.stderr)
        out = Path(tempfile.mkdtemp(prefix="rmtutorial-")) / "rm"
        rm.save_pretrained(out)
    history.save(out / "history.json")
    return out
