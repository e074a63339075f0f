"""What only the notebooks use: figures, widgets, exercises, the start of a session. The rest of the package never imports it."""

import importlib


def topic_of(package):
    """The `__getattr__` of a package with one file a topic: a file is imported when it is first asked for."""

    def topic(name):
        try:
            return importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":
                raise  # the file is there and misses something itself
            raise AttributeError(f"module {package!r} has no topic or function {name!r}") from None

    return topic
