"""From text to tensors: one function encodes an answer, for training and for scoring alike.

Letters: B examples, K answers of one prompt (2 in a pair), T tokens.
"""

import os
from dataclasses import dataclass, fields

import torch
from tqdm.auto import tqdm

from rmtutorial.chat import rendered
from rmtutorial.grouping import common_prefix, micro_batches, tree_length
from rmtutorial.pieces import PieceTokenizer, collection_paused

__all__ = [
    "PLAIN_TEMPLATE", "Encoded", "TreeBatch", "answer_tokens", "common_prefix", "drop_identical", "encode",
    "encode_answers", "encode_pairs", "micro_batches", "rows_of", "tree_batch", "tree_length", "tree_mask",
]  # fmt: skip
AT_ONCE = 512  # prompts that are tokenized in one call
LONG = 5000  # so many take seconds, and get a progress bar

# The form of the source note, prompt + EOS + response, written as a chat template, so that every tool that
# loads the saved tokenizer builds the same text.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if not loop.last or add_generation_prompt %}{{ eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True, slots=True)
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
        there is one), or when the template refuses the messages.
    """
    return encode_answers(tokenizer, [(prompt, [response])], max_length)[0][0]


def encode_pairs(tokenizer, pairs, max_length):
    """The two encoded answers [chosen, rejected] of every PreferencePair. ValueError names the pair."""
    rows, names = rows_of(pairs)
    return encode_answers(tokenizer, rows, max_length, names)


def rows_of(pairs):
    """([(prompt, (chosen, rejected)), ...], names) of PreferencePairs, as `encode_answers` takes them."""
    rows = [(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs]
    return rows, [f"pair {pair.id or number}" for number, pair in enumerate(pairs, 1)]


def encode_answers(tokenizer, rows, max_length, names=None):
    """`encode` for many: of every (prompt, responses) a list of Encoded answers. An error begins with the row's name."""
    pieces, encoded = PieceTokenizer(tokenizer), []
    names = names or [""] * len(rows)
    quiet = "TQDM_DISABLE" in os.environ or len(rows) < LONG
    with collection_paused(), tqdm(total=len(rows), desc="encoding", disable=quiet) as bar:
        for at in range(0, len(rows), AT_ONCE):
            part = list(zip(names[at : at + AT_ONCE], rows[at : at + AT_ONCE]))
            texts = [naming(name, rendered, tokenizer, *row) for name, row in part]
            ids = iter(pieces.ids([text for row in texts for text in row]))
            for name, (prompt, responses) in part:
                before = next(ids)
                encoded.append([naming(name, _cut, next(ids), before, prompt, max_length) for _ in responses])
            bar.update(len(part))
    return encoded


def naming(name, function, *arguments):
    """What the function returns; its ValueError begins with `name`, if there is one."""
    try:
        return function(*arguments)
    except ValueError as error:
        if not name:
            raise
        raise ValueError(f"{name}: {error}") from error


def _cut(ids, before, prompt, max_length):
    start = common_prefix([ids, before])
    if start >= len(ids):
        raise ValueError(f"empty response to {prompt!r}: there is nothing to score")
    cut = max(0, len(ids) - max_length)
    return Encoded(ids[cut:], max(0, start - cut))


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
    """B examples, each one prompt with K answers that branch off it, packed one behind the other: N tokens."""

    ids: torch.Tensor  # (1, N) int64: [prompt | answer 1 | answer 2] of the first example, then the second, ...
    positions: torch.Tensor  # (1, N) int64: each answer counts on from the end of the prompt
    masks: list  # B of (1, 1, T, T) bool: may row (query) look at column (key)? T tokens of that example
    pool: torch.Tensor  # (B, K, N) float32: weight of each token in the answer's pooled state
    below: torch.Tensor | None = None  # (1, N, H): what the frozen layers gave, if a FeatureCache has it
    pooled: torch.Tensor | None = None  # (B, K, H): the pooled states, if a FeatureCache has them
    predict: torch.Tensor | None = None  # (3, M) int64, of a Policy's batch: see `answer_tokens`
    keys: list | None = None  # B of bytes, of a Policy's batch: how each example is known

    @property
    def tokens(self):
        return self.ids.shape[1]

    def to(self, device):
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in moved.items()}
        return TreeBatch(**moved | {"masks": [mask.to(device) for mask in self.masks]})


def tree_batch(examples, pad_id, pooling="last"):
    """Pack examples, each a list of K Encoded answers to one prompt, into one batch without padding.

    The tokens that all answers of an example begin with stand once (branch 0); then follow the rest of answer 1
    (branch 1), of answer 2 (branch 2), ... A token sees earlier tokens of branch 0 and of its own branch, so every
    answer is read exactly as if it stood alone.

    Args: pooling, "last" (right-most token that is not `pad_id`) or "mean" (all tokens of the answer).
    """
    if pooling not in ("last", "mean"):
        raise ValueError(f"pooling={pooling!r}: choose 'last' or 'mean'")
    trees = [_tree([answer.ids for answer in answers]) for answers in examples]
    ids, branches, positions = (torch.tensor([x for tree in trees for x in tree[i]]) for i in range(3))  # (N,) each
    pool = torch.zeros(len(examples), len(examples[0]), len(ids))
    masks, at = [], 0
    for row, (answers, tree) in enumerate(zip(examples, trees)):
        here = slice(at, at + len(tree[0]))
        masks.append(tree_mask(branches[here])[None, None])
        for k, answer in enumerate(answers):
            path = (branches[here] == 0) | (branches[here] == k + 1)  # (T,), the tokens of this answer and its prompt
            if pooling == "last":
                pool[row, k, at + (path & (ids[here] != pad_id)).nonzero().max()] = 1
            else:
                scored = (path & (positions[here] >= answer.start)).float()
                pool[row, k, here] = scored / scored.sum()
        at = here.stop
    return TreeBatch(ids[None], positions[None], masks, pool)


def answer_tokens(examples):
    """Where the M answer tokens of packed examples stand, and where each is predicted: (3, M) int64.

    Row 0: place of the token before it, whose state predicts it (for the first tokens of every answer that is the
    same place, the end of what they share). Row 1: its own place. Row 2: whose it is, b * K + k.
    """
    columns, at = [], 0
    for row, answers in enumerate(examples):
        _, branches, _ = _tree([answer.ids for answer in answers])
        for k, answer in enumerate(answers):
            path = [at + i for i, branch in enumerate(branches) if branch in (0, k + 1)]  # this answer, unpacked
            first = max(1, answer.start)  # nothing stands before a token at 0: it was cut there
            owner = row * len(answers) + k
            columns += [(path[t - 1], path[t], owner) for t in range(first, len(path))]
        at += len(branches)
    return torch.tensor(columns).T  # (3, M)


def tree_mask(branch):
    """May a token (row) look at another (column)? (T,) branch numbers -> (T, T) bool."""
    query, key = branch[:, None], branch[None, :]  # (T, 1), (1, T)
    earlier = torch.ones(len(branch), len(branch), dtype=torch.bool).tril()
    return earlier & ((key == 0) | (key == query))


def _tree(sequences):
    """Ids, branch and position of every token of one example."""
    shared = common_prefix(sequences)
    ids, branch, positions = list(sequences[0][:shared]), [0] * shared, list(range(shared))
    for k, sequence in enumerate(sequences, 1):
        ids += sequence[shared:]
        branch += [k] * (len(sequence) - shared)
        positions += range(shared, len(sequence))
    return ids, branch, positions
