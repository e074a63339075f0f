"""Texts that are nearly the same, by MinHash (Broder 1997), in any script; the library `rensa` does the hashing."""

import importlib.util

SIMILAR = 0.8  # of the two sets of 5 characters in a row, what they share (Jaccard)
HASHES, BANDS = 64, 8  # of 8 bands of 8 hashes one is the same with 0.77 at 0.8 and 0.03 at 0.5
INSTALL = "pip install rensa"


def available():
    """Is `rensa` installed?"""
    return importlib.util.find_spec("rensa") is not None


def near_duplicates(texts):
    """For each text the index of an earlier one that it nearly repeats, or None: a list as long as `texts`.

    Each is compared with the first of its kind only, so a file of one template costs no more than any other.
    """
    from rensa import RMinHash, RMinHashDeduplicator

    seen = RMinHashDeduplicator(SIMILAR, HASHES, True, BANDS, 0)
    found = []
    for start in range(0, len(texts), 1000):
        hashed = RMinHash.from_token_sets(map(_shingles, texts[start : start + 1000]), HASHES, 0)
        for i, minhash in enumerate(hashed, start):
            like = seen.get_duplicates(minhash)
            found.append(min(map(int, like)) if like else None)
            if not like:
                seen.add(str(i), minhash)
    return found


def _shingles(text):
    text = " ".join(text.casefold().split())
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def similarity(text, other):
    """What the two texts share of their sets of 5 characters in a row (Jaccard), 0 to 1."""
    a, b = _shingles(text), _shingles(other)
    return len(a & b) / len(a | b)
