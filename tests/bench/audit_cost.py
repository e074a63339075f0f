"""What an audit of 100,000 pairs costs: seconds and peak memory, on one core. python tests/bench/audit_cost.py [rows]"""

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import psutil

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000


def write(path, rows):
    """Pairs of HH-RLHF's size: prompts of 60 words on average, answers of 50 and 40, 20,000 words in all."""
    chance = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = ["".join(chance.choices(letters, range(26, 0, -1), k=chance.randint(2, 9))) for _ in range(20_000)]

    def text(n):
        return " ".join(chance.choices(words, k=chance.randint(n // 4, n * 7 // 4))) + "."

    with path.open("w", encoding="utf-8") as file:
        for i in range(rows):
            row = {"id": i, "prompt": text(60), "chosen": text(50), "rejected": text(40), "score": chance.random()}
            file.write(json.dumps(row) + "\n")


def main():
    from rmtutorial.audit import audit

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        write(path, ROWS)
        before, start, worked = psutil.Process().memory_info().rss, time.perf_counter(), time.process_time()
        found = audit(path)
        seconds, worked = time.perf_counter() - start, time.process_time() - worked
        print(found)
        size = path.stat().st_size
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        f"\n{ROWS:,} rows, {size / 1e6:.0f} MB: {seconds:.0f} s ({worked:.0f} s of one core), peak {peak / 1e6:.0f} MB ({before / 1e6:.0f} MB before)"
    )


if __name__ == "__main__":
    main()
