"""Minutes and peak memory of notebooks, each executed headless by processes of its own; the notebooks stay as they are.

    python tests/bench/notebook_cost.py [notebooks/NN_name.ipynb ...]      (default: all)

The figures are put into the table of README.md. Bounds: 4 minutes and 1.9 GiB each, on 2 cores.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from rmtutorial.files import write_text

ROOT = Path(__file__).parents[2]
# A process that executes one notebook and then asks the system what its children needed: the kernel is the largest.
CODE = """
import json, resource, subprocess, sys, time
before = time.perf_counter()
command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", "--stdout", "--log-level=ERROR"]
subprocess.run([*command, sys.argv[1]], check=True, stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([(time.perf_counter() - before) / 60, peak / 2**30]))
"""


def into_readme(path, minutes, gib):
    """Put the two figures into the notebook's row, whose last two cells they are."""
    readme = ROOT / "README.md"
    row = re.compile(rf"^(\|.*\({re.escape(path.relative_to(ROOT).as_posix())}\).*\|)[^|]*\|[^|]*\|$", re.MULTILINE)
    text, found = row.subn(rf"\g<1> {minutes:.1f} | {gib:.1f} GiB |", readme.read_text(encoding="utf-8"))
    if found != 1:
        raise ValueError(f"README.md: {found} rows of the table for {path.name}; there must be one")
    write_text(readme, text)


if __name__ == "__main__":
    paths = [Path(name).resolve() for name in sys.argv[1:]] or sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))
    for path in paths:
        done = subprocess.run([sys.executable, "-c", CODE, path], check=True, capture_output=True, text=True)
        minutes, gib = json.loads(done.stdout)
        print(f"{path.stem}: {minutes:.1f} minutes (bound 4), {gib:.2f} GiB (bound 1.9)", flush=True)
        into_readme(path, minutes, gib)
