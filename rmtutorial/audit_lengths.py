"""Lengths in tokens, and what a maximum length would cut away."""

import copy
import os

from rmtutorial.backbones import embedded_model, explained, quiet_transformers
from rmtutorial.encoding import PLAIN_TEMPLATE, encode_answers, rows_of

QUANTILES = {"5 %": 0.05, "half": 0.5, "95 %": 0.95, "longest": 1}
UNCUT = 10**9  # tokens


def load_tokenizer(model=None):
    """The tokenizer of a folder or a Hub id, or the embedded one; with the plain template where it has none."""
    folder = embedded_model() if model is None else os.path.expanduser(model)  # noqa: PTH111
    with quiet_transformers(), explained(model, folder):
        from transformers import AutoTokenizer

        tokenizer = copy.copy(AutoTokenizer.from_pretrained(folder))
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def lengths(pairs, tokenizer, max_length):
    """({part: {quantile: tokens}}, findings) of Pairs."""
    encoded, refused = _encoded(rows_of(pairs.pairs)[0], tokenizer)
    found = _refused(pairs, refused) + _cut(pairs, encoded, max_length)
    parts = {
        "prompt": [both[0].start for _, both in encoded],
        "chosen": [len(both[0].ids) - both[0].start for _, both in encoded],
        "rejected": [len(both[1].ids) - both[1].start for _, both in encoded],
        "prompt and answer": [len(answer.ids) for _, both in encoded for answer in both],
    }
    return {part: _quantiles(counts) for part, counts in parts.items() if counts}, found


def _encoded(rows, tokenizer):
    """([(index, both answers), ...], [(index, why not), ...])."""
    try:
        return list(enumerate(encode_answers(tokenizer, rows, UNCUT))), []
    except Exception as error:  # a chat template is somebody's program: whatever it raises is about a row
        if len(rows) == 1:
            return [], [(0, str(error))]
    half, found = len(rows) // 2, ([], [])
    for start, part in ((0, rows[:half]), (half, rows[half:])):
        for all_of, those in zip(found, _encoded(part, tokenizer)):
            all_of += [(start + i, what) for i, what in those]
    return found


def _quantiles(counts):
    counts = sorted(counts)
    return {name: counts[round(q * (len(counts) - 1))] for name, q in QUANTILES.items()}


def _refused(pairs, refused):
    reason = refused[0][1].splitlines()[0][:300] if refused else ""
    why = f"The tokenizer or its chat template refuses them, as the training will: {reason}"
    return pairs.finding("spoils", "pairs that cannot be encoded", [i for i, _ in refused], why, "Mend or remove them.")


def _cut(pairs, encoded, max_length):
    longest = {i: max(len(answer.ids) for answer in both) for i, both in encoded}
    over = [i for i, n in longest.items() if n > max_length]
    gone = [i for i, both in encoded if any(len(a.ids) - a.start >= max_length for a in both)]
    same = [i for i, (a, b) in encoded if a.ids[-max_length:] == b.ids[-max_length:]]
    of = f"of the {len(encoded):,} pairs that were tokenized"
    enough = sorted(longest.values())[round(0.99 * (len(longest) - 1))] if longest else 0
    do = f"max_length={enough} (--max_length {enough}) holds 99 %, where the model reads as much."
    return (
        pairs.finding(pairs.level(over, 0.5), f"pairs longer than {max_length:,} tokens, {of}", over,
                      "What is too long loses its left end: the beginning of the prompt is not read.", do)
        + pairs.finding(pairs.level(gone, 0.05), f"pairs with an answer so long that nothing of the prompt is left, {of}", gone,
                        "The judge sees an answer and not what was asked.", do)
        + pairs.finding(pairs.level(same, 0.05), f"pairs whose answers are the same once they are cut, {of}", same,
                        "The answers differ only where they are cut away; training drops such pairs.", do)
    )  # fmt: skip
