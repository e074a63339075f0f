"""`import rmtutorial`: at most 0.3 s, and nothing of torch or transformers. Median of 5 fresh processes."""

import statistics
import subprocess
import sys

CODE = """
import sys, time
before = time.perf_counter()
import rmtutorial
print(time.perf_counter() - before, "torch" in sys.modules or "transformers" in sys.modules)
"""

if __name__ == "__main__":
    runs = [subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True) for _ in range(5)]
    seconds = statistics.median(float(run.stdout.split()[0]) for run in runs)
    heavy = any(run.stdout.split()[1] == "True" for run in runs)
    print(f"import rmtutorial: {seconds:.4f} s (bound 0.3 s); imports torch or transformers: {heavy}")
    sys.exit(heavy or seconds > 0.3)
