"""Minutes and peak memory of notebooks, each executed headless by processes of its own; nothing is written.

python tests/bench/notebook_cost.py [notebooks/NN_name.ipynb ...]      (default: all)
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [
    sys.executable,
    "-m",
    "jupyter",
    "nbconvert",
    "--to",
    "notebook",
    "--execute",
    "--stdout",
    "--log-level=ERROR",
]

if __name__ == "__main__":
    paths = [Path(name) for name in sys.argv[1:]] or sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))
    print("| notebook | minutes | peak memory |\n|---|---|---|")
    for path in paths:
        before = time.perf_counter()
        subprocess.run([*COMMAND, path], check=True, stdout=subprocess.DEVNULL)
        minutes = (time.perf_counter() - before) / 60
        # the largest single process so far, which is the kernel: the figure of a later notebook includes the earlier
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(f"| {path.stem} | {minutes:.1f} | {peak / 2**30:.2f} GiB |", flush=True)
