"""Build the bundled JSONL files from the set files: `python -m rmtutorial.data.build`.

Byte for byte the same on every machine: no clock, no random numbers, only checksums of the set ids.
"""

import hashlib
import json
import zlib
from collections import defaultdict
from itertools import combinations
from pathlib import Path

from rmtutorial.files import write_text

DATA = Path(__file__).parent
SPLITS = ("train", "test", "ood", "contrast", "near_tie", "rank4")
SIZES = (200, 400, 800)  # nested training sizes: the first 200 rows are part of the first 400, ...
DETAILS = ("axis", "slice", "topic", "difficulty", "strength", "failure")


def read_sets(split):
    """All sets of the files `sets/{split}_*.json`, in the order of the file names."""
    files = sorted((DATA / "sets").glob(f"{split}_*.json"))
    return [s for file in files for s in json.loads(file.read_text(encoding="utf-8"))]


def fraction(key):
    """A number in [0, 1) that depends on the text `key` only."""
    return zlib.crc32(key.encode()) / 2**32


def chance(key):
    """As `fraction`, but for keys that differ in one letter the numbers are unrelated, which a crc32's are not."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") / 2**32


def in_order(sets):
    """Sets so ordered that every beginning has the axes in about the same shares.

    The i-th of n sets of an axis (in the order of a checksum) goes to the place (i + 1/2) / n. Then a mirror set
    that straddles one of SIZES changes places with the next edit set, so that no size cuts a set in two.
    """
    by_axis = defaultdict(list)
    for s in sorted(sets, key=lambda s: fraction(s["set"])):
        by_axis[s["axis"]].append(s)
    placed = [((i + 0.5) / len(group), s) for group in by_axis.values() for i, s in enumerate(group)]
    ordered = [s for _, s in sorted(placed, key=lambda pair: (pair[0], pair[1]["set"]))]
    for size in SIZES:
        rows = 0
        for i, s in enumerate(ordered):
            if rows == size - 1 and len(s["prompts"]) == 2:
                j = next((j for j in range(i, len(ordered)) if len(ordered[j]["prompts"]) == 1), i)
                ordered.insert(i, ordered.pop(j))
                break
            rows += len(s["prompts"])
    return ordered


def rows_of(s, split):
    """The rows of a set in TRL's columns (chat messages), with what is known about them.

    A mirror set gives two rows, an edit set one, a ranking of four answers the six pairs it implies.
    """
    for name, prompt, chosen, rejected, i in _comparisons(s):
        yield {
            "id": name,
            "group": s["set"],
            "kind": s["kind"],
            "split": split,
            **{key: s[key] for key in DETAILS},
            "prompt": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "why": s["why"],
            **{key: _ith(s.get(key, ""), i) for key in ("verify", "check")},
            "flip_u": round(chance("flip " + name), 6),
        }


def _comparisons(s):
    """(id, prompt, better answer, worse answer, which of the set's checks) for every pair of a set."""
    prompts, answers = s["prompts"], s["answers"]
    if s["kind"] == "rank":
        for i, j in combinations(range(4), 2):
            yield f"{s['set']}-{i + 1}{j + 1}", prompts[0], answers[i], answers[j], 0
    elif s["kind"] == "mirror":
        for i in range(2):
            yield f"{s['set']}-{'ab'[i]}", prompts[i], answers[i], answers[1 - i], i
    else:
        yield s["set"], prompts[0], answers[0], answers[1], 0


def _ith(value, i):
    return value[i] if isinstance(value, list) else value


def build(split):
    """The text of one JSONL file."""
    rows = [row for s in in_order(read_sets(split)) for row in rows_of(s, split)]
    return "".join(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    for split in SPLITS:
        write_text(DATA / f"{split}.jsonl", build(split))
        print(f"{split}.jsonl: {build(split).count(chr(10))} rows")
