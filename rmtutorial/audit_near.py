"""What an audit finds by near-duplicates: prompts that nearly repeat another one, in the set and across its splits."""

from collections import Counter, defaultdict

from rmtutorial import near_duplicates
from rmtutorial.audit_findings import HELD_OUT, Finding
from rmtutorial.preference_rows import texts_of

TEMPLATE = 3  # prompts that nearly repeat the same one: they rather have a long instruction in common


def near_repeats(pairs, units, splits):
    """Prompts that nearly repeat another one, within the set and across its splits; whole pairs that do."""
    if not near_duplicates.available():
        why = "The library rensa is not installed."
        return [Finding("note", "near-duplicates were not looked for", 0, [], why, near_duplicates.INSTALL)]
    rows = defaultdict(list)  # prompt -> the pairs that have it
    for i, pair in enumerate(pairs.pairs):
        rows["\n".join(texts_of(pair.prompt))].append(i)
    rows = list(rows.values())
    like = near_duplicates.near_duplicates(["\n".join(texts_of(pairs.pairs[same[0]].prompt)) for same in rows])
    near = [(i, rows[k][0], k) for same, k in zip(rows, like) if k is not None for i in same]
    apart = [i for i, other, _ in near if units[i] != units[other]]
    across = {i: k for i, other, k in near if splits[i] != splits[other]}
    followers = Counter(like)
    known = [i for i, k in across.items() if followers[k] < TEMPLATE]  # of a template the rest decides, though short
    why = "Fewer different questions than there seem to be: intervals by prompt are too narrow."
    level = "spoils" if len(known) >= 0.2 * max(1, splits.count("test")) else "look"
    do = "Give prompts that belong together one value in the column 'group'."
    return (
        pairs.finding("note", "pairs whose prompt nearly repeats another one", apart, why, do)
        + pairs.finding(level, "pairs whose prompt is nearly the same in train and in test", list(across), HELD_OUT, do)
        + _near_pairs(pairs, rows, like)
    )


def _near_pairs(pairs, rows, like):
    """Whole pairs: only those are compared whose prompts are the same or nearly so."""
    alike = defaultdict(list)
    for k, (same, other) in enumerate(zip(rows, like)):
        alike[k if other is None else other] += same
    compared = sorted(i for same in alike.values() if len(same) > 1 for i in same)
    first = {_whole(pairs.pairs[i]): i for i in reversed(compared)}  # exact repeats are a finding of their own
    order = sorted(first.values())
    found = near_duplicates.near_duplicates([_whole(pairs.pairs[i]) for i in order])
    again = [i for i, k in zip(order, found) if k is not None and _same_way(pairs.pairs[i], pairs.pairs[order[k]])]
    why = "Prompt and both answers are nearly those of another pair: it counts several times."
    return pairs.finding(
        pairs.level(again, 0.2), "pairs that nearly repeat another one", again, why, "Keep one of each."
    )


def _whole(pair):
    return "\n".join([*texts_of(pair.prompt), pair.chosen, pair.rejected])


def _same_way(pair, other):
    """Are the answers like the other's, and not like its answers exchanged? A mirrored pair has the same texts."""
    a, b, c, d = pair.chosen, pair.rejected, other.chosen, other.rejected
    straight = [near_duplicates.similarity(*both) for both in ((a, c), (b, d))]
    crossed = [near_duplicates.similarity(*both) for both in ((a, d), (b, c))]
    return min(straight) >= near_duplicates.SIMILAR and sum(straight) > sum(crossed)
