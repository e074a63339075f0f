"""The command line of training. One process: python -m rmtutorial.training. Several: accelerate launch -m rmtutorial.training."""

import argparse
import inspect
import re
import sys
from dataclasses import fields
from pathlib import Path

from rmtutorial.recipe import TrainConfig

DESCRIPTION = "Train a reward model on preference pairs and save it as AutoModelForSequenceClassification."
EPILOG = """
examples:
  python -m rmtutorial.training --out out/rm
  python -m rmtutorial.training --data pairs.jsonl --out out/rm --epochs 1
  accelerate launch --num_processes 2 -m rmtutorial.training --data pairs.jsonl --out out/rm
  ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m rmtutorial.training --out out/rm
      (two processes without GPU: there, accelerate launch starts only one)
  accelerate launch --num_processes 8 -m rmtutorial.training --model Qwen/Qwen3-8B --layers all --train_top all \\
      --fsdp true --data pairs.jsonl --out out/rm
"""


def parser():
    """Options of the model and the data, then every field of TrainConfig, explained by the comment beside it."""
    p = argparse.ArgumentParser(
        "rmtutorial.training",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--out", required=True, help="folder for the reward model; must not hold another one yet")
    p.add_argument("--model", help="folder or Hub id of the SFT model (default: the embedded SmolLM2-135M-Instruct)")
    p.add_argument("--data", help=".jsonl, .json or .parquet file, or Hub id, with prompt, chosen, rejected (default: the bundled pairs)")  # fmt: skip
    p.add_argument("--size", type=int, help="train on the first so many pairs (default: all)")
    p.add_argument("--held_out", default="test", help="split to evaluate on, or none (default: test)")
    p.add_argument("--layers", type=int_or_all, default=16, help="keep the first so many layers, or all (default: 16)")
    p.add_argument("--pooling", choices=("last", "mean"), default="last", help="state that is scored (default: last)")
    p.add_argument("--template", choices=("chat", "plain"), default="chat", help="the tokenizer's, or prompt + EOS + response (default: chat)")  # fmt: skip
    p.add_argument("--max_length", type=int, default=1024, help="tokens; longer texts lose their left end (default: 1024)")  # fmt: skip
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --checkpoint_dir")
    recipe = p.add_argument_group("recipe (TrainConfig)")
    explained = comments(TrainConfig)
    for f in fields(TrainConfig):
        shown = "all" if f.default is None else str(f.default).lower()
        recipe.add_argument(
            f"--{f.name}", type=_type(f), default=f.default, metavar="VALUE", help=f"{explained[f.name]} (default: {shown})".replace("%", "%%")
        )  # fmt: skip
    return p


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


def main(arguments=None):
    """Check everything that can be checked, load the model, train, save."""
    options = parser().parse_args(arguments)
    try:
        run(options)
    except (ValueError, OSError, ImportError, RuntimeError) as error:  # each says what is wrong and what to do
        sys.exit(f"{type(error).__name__}: {error}")


def run(options):
    from rmtutorial.preferences import load_preferences

    config = TrainConfig(**{f.name: getattr(options, f.name) for f in fields(TrainConfig)})
    out, checkpoint = Path(options.out), Path(config.checkpoint_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"--out {out}: there is something already; choose a new folder, or remove it")
    if options.resume and not (checkpoint / "run.json").is_file():
        raise FileNotFoundError(f"--resume: no checkpoint in {checkpoint} (--checkpoint_dir)")
    if options.layers is not None and (config.train_top or 0) > options.layers:
        raise ValueError(f"--train_top {config.train_top}: only {options.layers} layers are kept (--layers)")
    if options.max_length < 1:
        raise ValueError(f"--max_length {options.max_length}: must be at least 1 token")
    pairs = load_preferences(options.data, size=options.size)
    held_out = None if options.held_out == "none" else load_preferences(options.data, split=options.held_out)

    from accelerate import Accelerator
    from accelerate.utils import set_seed

    from rmtutorial.backbones import load_sft
    from rmtutorial.processes import is_sharded, plain_copy
    from rmtutorial.reward_model import RewardModel
    from rmtutorial.training import train_reward_model

    accelerator = Accelerator()
    set_seed(config.seed)
    with accelerator.main_process_first():  # the embedded model is converted once
        sft = load_sft(options.model, layers=options.layers)
    rm = RewardModel.from_sft(*sft, options.layers, options.pooling, options.template, options.max_length)
    del sft
    history = train_reward_model(rm, pairs, config, held_out, resume_from=checkpoint if options.resume else None)
    rm = plain_copy(rm) if is_sharded(rm) else rm
    if accelerator.is_main_process:
        rm.save_pretrained(out)
        history.save(out / "history.json")
        last = history.evaluations[-1] if history.evaluations else history.steps[-1]
        where = "held-out" if history.evaluations else "last batch's"
        print(f"{where} loss {last['loss']:.3f}, accuracy {last['accuracy']:.3f}; reward model in {out}")
    accelerator.end_training()
