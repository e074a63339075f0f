"""Execute notebooks from a fresh kernel, top to bottom, and write them back normalized.

    python tests/publish_notebooks.py notebooks/03_bradley_terry_training.ipynb ...

Running it twice on one machine changes nothing: no timings, widget states, paths or versions are kept.
"""

import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}  # fmt: skip


def publish(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    notebook.metadata = nbformat.from_dict(KERNEL)
    aside = path.with_suffix(".aside.ipynb")
    nbformat.write(notebook, aside)
    subprocess.run(
        [sys.executable, "-m", "nbstripout", "--keep-output", "--keep-count", "--keep-id", aside], check=True
    )
    aside.replace(path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name} ...", flush=True)
        publish(Path(name))
