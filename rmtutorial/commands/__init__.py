"""The verbs of `python -m rmtutorial`, one file each: add_arguments(parser) and run(options) -> exit code or None."""
