"""Encoding and grouping many pairs of HH-RLHF's size: seconds of one core and peak memory, a process for each number.

The seconds are those that the process itself computed: others on the machine do not count.

Bound: 160,000 pairs (150 prompt tokens, twice 120 answer tokens) in 60 s on one core; memory grows with their number.
Options: numbers of pairs.
"""

import argparse
import os
import subprocess
import sys

CODE = """
import random, resource, sys, time
from rmtutorial.backbones import load_sft
from rmtutorial.encoding import encode_pairs
from rmtutorial.grouping import micro_batches
from rmtutorial.preferences import PreferencePair, load_preferences

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20

tokenizer = load_sft(layers=1)[1]
words = [word for pair in load_preferences() for word in pair.chosen.split()]
draw = random.Random(0)
text = lambda: " ".join(draw.choices(words, k=max(5, round(draw.lognormvariate(4.4, 0.5)))))  # 100 words, 120 tokens
pairs = [PreferencePair(text() + " " + " ".join(draw.choices(words, k=20)), text(), text()) for _ in range(int(sys.argv[1]))]
before, started = peak(), time.process_time()
examples = encode_pairs(tokenizer, pairs, 1024)
encoded = time.process_time()
groups = micro_batches(examples, 2048)
done = time.process_time()
tokens = sum(len(answer.ids) - answer.start for both in examples for answer in both) / len(pairs) / 2
prompt = sum(both[0].start for both in examples) / len(pairs)
print(f"{len(pairs):7,} pairs ({prompt:.0f} prompt tokens, 2 x {tokens:.0f} answer tokens): "
      f"encoding {encoded - started:.1f} s, grouping {done - encoded:.1f} s ({len(groups):,} groups), "
      f"peak memory {peak():.0f} MiB, {peak() - before:.0f} MiB of it for this")
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pairs", type=int, nargs="*", default=[40_000, 160_000])
    one_core = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    for pairs in parser.parse_args().pairs:
        subprocess.run([sys.executable, "-c", CODE, str(pairs)], check=True, env=one_core)
