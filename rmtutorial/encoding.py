"""From text to tensors: one function encodes an answer, for training and for scoring alike.

Letters: B examples, K answers of one prompt (2 in a pair), T tokens.
"""

from dataclasses import dataclass, fields

import torch

# The form of the source note, prompt + EOS + response, written as a chat template, so that every tool that
# loads the saved tokenizer builds the same text.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if not loop.last or add_generation_prompt %}{{ eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and answer, and where the answer starts in them."""

    ids: list
    start: int


def encode(tokenizer, prompt, response, max_length):
    """Tokenize prompt and answer with the tokenizer's chat template.

    What is too long loses its left end, so the prompt goes first and the end of the answer always stays.

    Args: prompt, text or chat messages; response, text; max_length in tokens.
    Returns: Encoded, at most `max_length` ids.
    Raises: ValueError when the answer has no token at all (an empty answer still has the template's end mark, if
        there is one).
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    answer = {"role": "assistant", "content": response}
    ids = _render(tokenizer, [*messages, answer], add_generation_prompt=False)
    before = _render(tokenizer, messages, add_generation_prompt=True)
    start = common_prefix([ids, before])
    if start >= len(ids):
        raise ValueError(f"empty response to {prompt!r}: there is nothing to score")
    cut = max(0, len(ids) - max_length)
    return Encoded(ids[cut:], max(0, start - cut))


def _render(tokenizer, messages, add_generation_prompt):
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # the template has written them already


def common_prefix(sequences):
    """How many items all sequences have in common at their beginning."""
    shortest = min(map(len, sequences))
    same = (len({sequence[i] for sequence in sequences}) == 1 for i in range(shortest))
    return next((i for i, equal in enumerate(same) if not equal), shortest)


def encode_pairs(tokenizer, pairs, max_length):
    """The two encoded answers [chosen, rejected] of every PreferencePair."""
    return [[encode(tokenizer, p.prompt, answer, max_length) for answer in (p.chosen, p.rejected)] for p in pairs]


def drop_identical(pairs, encoded):
    """Leave out pairs whose answers became the same tokens (cut too short): no difference, no gradient.

    Returns: (pairs, encoded) without them; how many were dropped is printed.
    """
    kept = [(pair, both) for pair, both in zip(pairs, encoded) if both[0].ids != both[1].ids]
    if len(kept) < len(pairs):
        print(
            f"{len(pairs) - len(kept)} of {len(pairs)} pairs dropped: cut to the maximum length, both answers are the same"
        )
    return [pair for pair, _ in kept], [both for _, both in kept]


@dataclass
class TreeBatch:
    """B examples, each one prompt with K answers that branch off it."""

    ids: torch.Tensor  # (B, T) int64: [prompt | answer 1 | answer 2 | padding]
    positions: torch.Tensor  # (B, T) int64: each answer counts on from the end of the prompt
    mask: torch.Tensor  # (B, 1, T, T) bool: may row (query) look at column (key)?
    pool: torch.Tensor  # (B, K, T) float32: weight of each token in the answer's pooled state
    tokens: int  # real tokens, padding not counted

    def to(self, device):
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return TreeBatch(**{k: v.to(device) if torch.is_tensor(v) else v for k, v in moved.items()})


def tree_batch(examples, pad_id, pooling="last"):
    """Put examples, each a list of K Encoded answers to one prompt, into one padded batch.

    The tokens that all answers of an example begin with stand once (branch 0); then follow the rest of answer 1
    (branch 1), of answer 2 (branch 2), ... A token sees earlier tokens of branch 0 and of its own branch, so every
    answer is read exactly as if it stood alone.

    Args: pooling, "last" (right-most token that is not `pad_id`) or "mean" (all tokens of the answer).
    """
    trees = [_tree([answer.ids for answer in answers]) for answers in examples]
    B, K, T = len(trees), len(examples[0]), max(len(ids) for ids, _, _ in trees)
    ids = torch.full((B, T), pad_id)
    branch = torch.full((B, T), -1)  # -1 is padding
    positions = torch.zeros((B, T), dtype=torch.int64)
    for row, tree in enumerate(trees):
        for tensor, values in zip((ids, branch, positions), tree):
            tensor[row, : len(values)] = torch.tensor(values)
    starts = torch.tensor([[answer.start for answer in answers] for answers in examples])  # (B, K)
    path = (branch[:, None] == 0) | (branch[:, None] == torch.arange(1, K + 1)[None, :, None])  # (B, K, T)
    if pooling == "mean":
        pool = (path & (positions[:, None] >= starts[:, :, None])).float()
        pool = pool / pool.sum(-1, keepdim=True)
    elif pooling == "last":
        last = torch.where(path & (ids != pad_id)[:, None], positions[:, None], -1).argmax(-1)  # (B, K)
        pool = torch.nn.functional.one_hot(last, T).float()
    else:
        raise ValueError(f"pooling={pooling!r}: choose 'last' or 'mean'")
    return TreeBatch(ids, positions, _tree_mask(branch), pool, int((branch >= 0).sum()))


def _tree(sequences):
    """Ids, branch and position of every token of one example."""
    shared = common_prefix(sequences)
    ids, branch, positions = list(sequences[0][:shared]), [0] * shared, list(range(shared))
    for k, sequence in enumerate(sequences, 1):
        ids += sequence[shared:]
        branch += [k] * (len(sequence) - shared)
        positions += range(shared, len(sequence))
    return ids, branch, positions


def _tree_mask(branch):
    T = branch.shape[1]
    query, key = branch[:, :, None], branch[:, None, :]  # (B, T, 1), (B, 1, T)
    earlier = torch.ones(T, T, dtype=torch.bool).tril()
    mask = earlier & ((key == 0) | (key == query)) & (key >= 0)
    mask |= torch.eye(T, dtype=torch.bool)  # padding sees itself too: a row without any key gives NaN
    return mask[:, None]  # (B, 1, T, T)


def micro_batches(examples, max_tokens):
    """Indices of the examples in groups of similar length, each at most `max_tokens` wide with its padding.

    An example longer than that stands alone.
    """
    lengths = [len(_tree([answer.ids for answer in answers])[0]) for answers in examples]
    groups = []
    for i in sorted(range(len(examples)), key=lengths.__getitem__):
        if groups and (len(groups[-1]) + 1) * lengths[i] <= max_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
