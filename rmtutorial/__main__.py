"""python -m rmtutorial VERB: train, score, evaluate, audit, examine, doctor. A new verb is a file in `commands` and a line in VERBS."""

import argparse
import importlib
import os
import sys

VERBS = {
    "train": "train a reward model on preference pairs",
    "score": "give every answer of a file its reward",
    "evaluate": "report how many pairs of a file a reward model ranks right",
    "audit": "look at a preference file before training on it",
    "examine": "a check-up for a reward model, trained here or elsewhere",
    "doctor": "look at this machine, and say what to do about each problem",
}


def parser(arguments):
    """The parser; only the verb that is asked for is imported, since `train` needs torch to know its options."""
    p = argparse.ArgumentParser("rmtutorial", description="Reward models from the command line.",
                                epilog="rmtutorial VERB --help explains one of them.")  # fmt: skip
    verbs = p.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, line in VERBS.items():
        sub = verbs.add_parser(verb, help=line, description=f"{line[0].upper()}{line[1:]}.", formatter_class=_wide)
        if verb in arguments:
            module = importlib.import_module(f"rmtutorial.commands.{verb}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return p


def _wide(prog):
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=100)


def main(arguments=None):
    """Run one verb and leave with its exit code: 2 and one line on stderr for wrong input, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = parser(arguments[:1]).parse_args(arguments)
        code = options.run(options)
    except ModuleNotFoundError as error:  # the packages that everything here needs are not installed yet
        code = f"{error}. Install the packages first: {sys.executable} -m pip install -r requirements.txt"
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt as stopped:
        print(stopped or "stopped", file=sys.stderr)
        code = 130
    except (ValueError, OSError, ImportError, RuntimeError, ArithmeticError) as error:  # each says what to do
        print(f"rmtutorial {arguments[0]}: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
