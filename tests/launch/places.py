"""What the launch checks share: versions, a new environment, a notebook executed from a terminal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out" / "launch"


def pinned(file):
    """{name: version} of the lines name==version in a requirements file."""
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if "==" in line)


def new_environment(folder, requirements):
    """A fresh virtual environment in `folder` with these lines of a requirements file; returns its folder of programs."""
    print(f"== New environment in {folder.relative_to(ROOT)}: a few minutes", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", *requirements], check=True)
    return folder / "bin"


def clean_variables(programs, home):
    """Environment variables of a person who has only this environment and an empty home folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RMTUTORIAL_", "HF_", "VIRTUAL"))}
    home.mkdir(parents=True, exist_ok=True)
    return kept | {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home), "TQDM_DISABLE": "1"}


def execution(notebook, folder):
    """The command that executes `notebook` and leaves it in `folder`."""
    return ["jupyter", "nbconvert", "--log-level=ERROR", "--to", "notebook", "--execute",
            "--ExecutePreprocessor.timeout=1800", "--output-dir", folder, notebook]  # fmt: skip


def complaints(notebook):
    """What an executed notebook wrote to stderr, a cell a line."""
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    return [f"{cell.id}: {o.text.strip()}" for cell in cells for o in cell.outputs if o.get("name") == "stderr"]
