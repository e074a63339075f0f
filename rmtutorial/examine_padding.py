"""Does a score belong to its text alone? Batches, padding on both sides, much padding, and what stands under the mask."""

import torch

from rmtutorial.encoding import Encoded
from rmtutorial.examine_findings import finding
from rmtutorial.refusals import rope_limit

NO_PAD = "The config has no pad_token_id: transformers refuses batches."
LEFT = "huggingface/transformers#24265, huggingface/transformers PR#35911, huggingface/peft#3620"
MUCH = 256  # tokens


def _texts(rm, rows):
    """Eight texts of different length."""
    return sorted(rm.encode_pairs(rows.few[:4]), key=lambda text: len(text.ids))


def _moved(rm, texts, scores):
    """How far scores are from those of the texts alone, at most, in margins."""
    return ((scores - rm.scores(texts)).abs().max() / rm.scale).item()


def batch(rm, rows):
    """Beside other texts of the same length, so without any padding, a text has the score that it has alone."""
    guards = "allenai/reward-bench#137 (batches of 1, 2 and 3)"
    texts = _texts(rm, rows)
    shortest = len(texts[0].ids)
    cut = [Encoded(text.ids[-shortest:], 0) for text in texts]  # what they say does not matter here
    if rm.pad is None:
        do = "Set model.config.pad_token_id to the token that the tokenizer pads with, and save."
        return finding("batch", "warn", f"{NO_PAD} Texts were read one at a time.", "huggingface/trl#422, #937", do)
    moved = _moved(rm, cut, rm.forward(cut))
    if moved <= 0.01:
        rm.at_once = 16
    said = f"{len(cut)} texts of one length together: scores move by {moved:.1%} of a margin at most."
    return finding("batch", "ok" if moved <= 0.01 else "fail", said, guards, "Score one text at a time.")


def _side(rm, rows, side, guards):
    """Padded on one side to the longest text. The side that the tokenizer pads on must be right."""
    name = f"padded {side}"
    if rm.pad is None:
        return finding(name, "skipped", NO_PAD, guards, "See `batch`.")
    texts = _texts(rm, rows)
    moved = _moved(rm, texts, rm.padded(texts, side, len(texts[-1].ids)))
    own = rm.tokenizer.padding_side == side
    whose = "the side that the tokenizer pads on" if own else "the tokenizer pads on the other side"
    said = f"Padded on the {side} to the longest of {len(texts)} ({whose}), scores move by {moved:.1%} of a margin at most."
    status = "ok" if moved <= 0.01 else "fail" if own else "warn"
    other = "right" if side == "left" else "left"
    return finding(
        name, status, said, guards, f"Pad on the {other} (tokenizer.padding_side), or score one text at a time."
    )


def padded_right(rm, rows):
    """Padding behind the text changes nothing."""
    return _side(rm, rows, "right", "huggingface/transformers#35352, huggingface/trl#422")


def padded_left(rm, rows):
    """Padding before the text changes nothing: not the positions, not the token that is read."""
    return _side(rm, rows, "left", LEFT)


def padded_far(rm, rows):
    """Nor does ten times as much padding, as beside one long text."""
    guards = "hiyouga/LLaMA-Factory#689 (one text, two lengths of padding, two scores)"
    if rm.pad is None:
        return finding("padded far", "skipped", NO_PAD, guards, "See `batch`.")
    texts, side = _texts(rm, rows)[:2], rm.tokenizer.padding_side
    length = min(rm.max_length, max(MUCH, (rope_limit(rm.config) or 0) + 8))
    near = rm.padded(texts, side, len(texts[-1].ids) + 1)
    if _moved(rm, texts, near) > 0.01:
        return finding(
            "padded far", "skipped", f"Any padding on the {side} moves scores.", guards, f"See `padded {side}`."
        )
    moved = ((rm.padded(texts, side, length) - near).abs().max() / rm.scale).item()
    said = f"Padded to {length} tokens instead of {len(texts[-1].ids) + 1}, scores move by {moved:.1%} of a margin at most."
    do = "Its positions depend on the longest text of the batch (rope_type dynamic or longrope): score texts one at a time, or below that length."
    return finding("padded far", "ok" if moved <= 0.01 else "fail", said, guards, do)


def under_mask(rm, rows):
    """What stands under mask 0 before the text is not read, whatever it is."""
    guards = "huggingface/trl PR#4970, huggingface/trl PR#6357 (a mask made from the ids)"
    if rm.pad is None:
        return finding("under mask", "skipped", NO_PAD, guards, "See `batch`.")
    texts = _texts(rm, rows)
    word = texts[0].ids[texts[0].start]
    pads, words = (torch.cat([rm.forward([text], before=4, pad=pad) for text in texts]) for pad in (rm.pad, word))
    moved = ((pads - words).abs().max() / rm.scale).item()
    said = f"Four words under mask 0 in place of pad tokens move scores by {moved:.1%} of a margin at most."
    do = "The model makes a mask of its own from the ids: pass it no id but its pad token under mask 0."
    return finding("under mask", "ok" if moved <= 0.01 else "fail", said, guards, do)


def pad_token(rm, rows):
    """Tokenizer and model mean the same pad token: transformers finds the end of a text by the model's."""
    guards = "huggingface/trl#422, huggingface/trl#937"
    mine, theirs = rm.tokenizer.pad_token_id, rm.pad
    do = f"Set tokenizer.pad_token_id = model.config.pad_token_id ({theirs}), and save both."
    if theirs is None or mine is None:
        said = NO_PAD if theirs is None else "The tokenizer has no pad token: it cannot make a batch."
        return finding("pad token", "warn" if mine is None else "skipped", said, guards, do)
    if mine == theirs:
        said = f"Both pad with {rm.tokenizer.pad_token!r} ({mine})."
        return finding("pad token", "ok", said, guards, do)
    texts = _texts(rm, rows)
    moved = _moved(rm, texts, rm.padded(texts, "right", len(texts[-1].ids), mine))
    said = (
        f"The tokenizer pads with {rm.tokenizer.pad_token!r} ({mine}), the model takes {theirs} for padding: padded by its own "
        f"tokenizer, scores move by {moved:.1%} of a margin."
    )
    return finding("pad token", "fail" if moved > 0.01 else "warn", said, guards, do)


CHECKS = (batch, padded_right, padded_left, padded_far, under_mask, pad_token)
