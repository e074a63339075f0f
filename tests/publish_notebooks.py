"""Execute notebooks from a fresh kernel, top to bottom, and write them back normalized.

    python tests/publish_notebooks.py notebooks/03_bradley_terry_training.ipynb ...

Running it twice on one machine changes nothing: no timings, widget states, paths or versions are kept.
"""

import base64
import io
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}  # fmt: skip


def shrink(png):
    """The same picture with 128 colors instead of 16 million: a third of the bytes, and GitHub shows the notebook."""
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def shrink_figures(notebook):
    for output in (o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs):
        if "image/png" in output.get("data", {}):
            output["data"]["image/png"] = shrink(output["data"]["image/png"])


def publish(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    shrink_figures(notebook)
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
