"""Who is held out: a fifth of the prompts, the same ones each time, and nothing that belongs to a held-out one."""

import json
import zlib
from collections import Counter

MANY = 50  # prompts, from which on a share far from a fifth is no accident of small numbers
FAIR = (0.08, 0.4)  # share of the pairs; 80 : 20 is what is wanted


def split_by_prompt(pairs):
    """["train" or "test", ...]: a fifth of the prompts is held out, chosen by a checksum, without a seed.

    The order of the rows does not matter. Pairs that share a prompt or a group belong together, also through a third.
    Raises: ValueError where groups tie so many pairs together that no fifth can be held out.
    """
    units = units_of(pairs)
    splits = ["test" if zlib.crc32(unit.encode()) % 5 == 0 else "train" for unit in units]
    prompts, share = len({prompt_key(pair) for pair in pairs}), splits.count("test") / max(1, len(pairs))
    tied = len(set(units)) < prompts / 2
    if prompts >= MANY and tied and not FAIR[0] <= share <= FAIR[1]:
        _, most = Counter(units).most_common(1)[0]
        raise ValueError(
            f"the column 'group' ties {prompts} prompts into {len(set(units))} units (the largest: {most} of {len(pairs)} "
            f"pairs), so {share:.0%} would be held out and not 20 %. A group is for pairs that share text. If it means "
            "something else, leave it out: columns={'group': None} (--columns group=); or add a column 'split'"
        )
    return splits


def units_of(pairs):
    """For each pair the name of its unit: pairs that share a prompt or a group have the same."""
    unit = {}  # prompt or group -> another one of the same unit, or itself

    def find(key):
        while unit.setdefault(key, key) != key:
            unit[key] = key = unit[unit[key]]  # shorter for the next who asks
        return key

    keys = [prompt_key(pair) for pair in pairs]
    for key, pair in zip(keys, pairs):
        low, high = sorted((find(key), find(f"group {pair.group}" if pair.group else key)))
        unit[high] = low
    return [find(key) for key in keys]


def prompt_key(pair):
    """What two pairs with the same prompt have in common."""
    return "prompt " + json.dumps(pair.prompt)
