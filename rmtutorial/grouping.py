"""Which encoded examples are read together: groups of at most so many tokens, the shared beginning counted once."""

from operator import ne


def common_prefix(sequences):
    """How many items all sequences have in common at their beginning."""
    first, last = min(sequences), max(sequences)  # in the order of words: what these two begin with, all begin with
    differ = list(map(ne, first, last))
    return differ.index(True) if True in differ else len(differ)


def tree_length(answers):
    """How many tokens an example has in a TreeBatch."""
    sequences = [answer.ids for answer in answers]
    shared = common_prefix(sequences)
    return shared + sum(len(ids) - shared for ids in sequences)


def micro_batches(examples, max_tokens):
    """Indices of the examples in groups of at most `max_tokens` tokens: the longest first, each where it still fits.

    An example longer than that stands alone. The first group with room is found in a tree, so 160,000 examples take
    a second or two.
    """
    lengths = [tree_length(answers) for answers in examples]
    leaves = 1 << max(0, len(examples) - 1).bit_length()  # at most as many groups as examples
    room = [max_tokens] * (2 * leaves)  # node n: the largest room of the nodes 2n and 2n + 1; leaf g + leaves: group g
    groups = []
    for i in sorted(range(len(examples)), key=lengths.__getitem__, reverse=True):
        group = _first_with_room(room, leaves, lengths[i]) if lengths[i] <= max_tokens else len(groups)
        if group == len(groups):
            groups.append([])
        groups[group].append(i)
        _take(room, leaves + group, lengths[i])
    return groups


def _first_with_room(room, leaves, length):
    node = 1
    while node < leaves:
        node *= 2
        if room[node] < length:
            node += 1
    return node - leaves


def _take(room, node, length):
    room[node] -= length
    while node > 1:
        node //= 2
        room[node] = max(room[2 * node], room[2 * node + 1])
