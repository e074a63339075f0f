"""load_sft(): at most 45 s the first time (conversion from GGUF), at most 2 s afterwards. Imports not counted."""

import os
import subprocess
import sys
import tempfile

CODE = """
import time
from rmtutorial.backbones import load_sft
before = time.perf_counter()
load_sft()
print(time.perf_counter() - before)
"""

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "RMTUTORIAL_CACHE": cache}
        runs = [
            subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
            for _ in range(4)
        ]
    first, *later = [float(run.stdout) for run in runs]
    print(f"load_sft(): first {first:.1f} s (bound 45 s), then {min(later):.2f} to {max(later):.2f} s (bound 2 s)")
    print("said the first time:", runs[0].stderr.strip())
