"""Is it the model that was trained? Weights from the files, finite, repeatable, kept by saving, in half the precision."""

import copy
import tempfile

import torch

from rmtutorial.backbones import quiet_transformers
from rmtutorial.examine_findings import finding, names
from rmtutorial.loading import read_classifier
from rmtutorial.places import check_space

TOO_BIG = 8e9  # bytes of weights, from which on no second copy is made


def size(rm):
    return sum(p.nbytes for p in rm.model.parameters())


def weights(rm, rows):
    """All weights come from the files: loaded twice, one text has one score."""
    guards = "huggingface/peft#577, #876, #1070, #2367"
    do = "Save the head too (peft: modules_to_save=['score'], then merge_and_unload); never score with this folder."
    if rm.missing:
        said = f"{len(rm.missing)} weights are not in its files and were drawn at random: {names(rm.missing)}."
        return finding("weights", "fail", said, guards, do)
    if rm.source is None:
        return finding("weights", "skipped", "The model is in memory: nothing to load again.", guards, "Give a folder.")
    if size(rm) > TOO_BIG:
        return finding("weights", "ok", "All weights are in its files (too big to load twice).", guards, do)
    texts = rm.encode_pairs(rows.few[:2])
    device = next(rm.model.parameters()).device
    moved = (rm.scores(texts) - rm.again(read_classifier(rm.source)[0].to(device), texts)).abs().max().item()
    said = f"All weights are in its files; loaded twice, scores differ by {moved:.1e}."
    return finding("weights", "fail" if moved > 1e-3 * rm.scale else "ok", said, guards, do)


def spread(rm, rows):
    """Scores are finite and not all the same. From here on a difference is measured by an ordinary margin."""
    guards = "huggingface/trl#2758 (loss stays at 0.693), microsoft/DeepSpeedExamples#423"
    texts = rm.encode_pairs(rows.easy)
    scores = rm.scores(texts)
    bad = int((~scores.isfinite()).sum())
    if bad:
        do = "Look for NaN among the weights; in float16 large states overflow: take bfloat16 or float32."
        return finding("spread", "fail", f"{bad} of {len(texts)} scores are not finite.", guards, do)
    margins = (scores[::2] - scores[1::2]).abs()
    rm.scale = margins.median().item()
    said = f"{len(texts)} scores from {scores.min():.2f} to {scores.max():.2f}; an ordinary margin is {rm.scale:.2f} (median)."
    if rm.scale <= 1e-6 * scores.abs().max().clamp(min=1e-6):
        do = (
            "A head of zeros, or both answers end in the same token and only that is read: train it, or see `position`."
        )
        return finding("spread", "fail", f"Both answers of most pairs have one score. {said}", guards, do)
    return finding("spread", "ok", said, guards, "")


def repeat(rm, rows):
    """The same text has the same score the second time."""
    guards = "hiyouga/LLaMA-Factory#761, hiyouga/LLaMA-Factory PR#10779, huggingface/trl PR#1540"
    texts = rm.encode_pairs(rows.few[:4])
    moved = max((rm.forward([text]) - rm.forward([text])).abs().max().item() for text in texts)
    mode = "train" if rm.model.training else "eval"
    said = f"{len(texts)} texts read twice, in {mode} mode, differ by {moved / rm.scale:.1%} of a margin."
    bad = moved > 0.01 * rm.scale
    return finding("repeat", "fail" if bad else "ok", said, guards, "Call model.eval(): dropout draws anew each time.")


def saved(rm, rows):
    """Saved and loaded again, model and tokenizer give the same scores."""
    guards = "huggingface/peft#876 (the head is lost), huggingface/transformers#35352 (pad token)"
    if size(rm) > TOO_BIG:
        return finding("saved", "skipped", f"The weights take {size(rm) / 1e9:.0f} GB.", guards, "Try it by hand.")
    texts = rm.encode_pairs(rows.few[:4])
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        check_space(folder, 1.1 * size(rm), "the model, saved once more,")
        rm.model.save_pretrained(folder)
        rm.tokenizer.save_pretrained(folder)
        again = type(rm.model).from_pretrained(folder, dtype=rm.model.dtype).eval()
        tokenizer = type(rm.tokenizer).from_pretrained(folder)
        moved = (rm.scores(texts) - rm.again(again.to(rm.model.device), texts)).abs().max().item()
    other = [name for name in ("padding_side", "truncation_side", "pad_token_id", "chat_template")
             if getattr(tokenizer, name) != getattr(rm.tokenizer, name)]  # fmt: skip
    said = f"Saved and loaded again, scores differ by {moved / rm.scale:.1%} of a margin."
    do = "Write what is lost into the files by hand, and examine the saved folder, not the model in memory."
    if other:
        return finding("saved", "warn", f"{said} The tokenizer comes back with another {names(other)}.", guards, do)
    return finding("saved", "fail" if moved > 0.01 * rm.scale else "ok", said, guards, do)


def bf16(rm, rows):
    """In bfloat16 answers keep their order, and close ones do not tie.

    Computed in the model's own precision and rounded behind every module: many CPUs take minutes for bfloat16 itself.
    """
    guards = "huggingface/sentence-transformers#3894 (ties)"
    if size(rm) > TOO_BIG:
        return finding("bf16", "skipped", f"The weights take {size(rm) / 1e9:.0f} GB.", guards, "Try it by hand.")
    texts, margins = rm.encode_pairs(rows.few), rm.margins(rows.few)
    half = _rounded(rm.again(_in_bf16(rm.model), texts)).view(-1, 2)
    halved = half[:, 0] - half[:, 1]
    ties, turned = int((halved == 0).sum()), int((halved * margins < 0).sum())
    error = (halved - margins).abs().median().item()
    said = (
        f"Of {len(margins)} pairs {ties} tie and {turned} turn round in bfloat16; "
        f"margins move by {error / rm.scale:.0%} of a margin (median)."
    )
    status = "fail" if ties + turned >= len(margins) / 4 else "warn" if ties + turned else "ok"
    do = "Keep the head in float32, take an offset out of it, or score in float32."
    return finding("bf16", status, said, guards, do)


def _in_bf16(model):
    """A copy whose weights, and what every module gives, are rounded to bfloat16."""
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = _rounded(parameter.data)
    for module in model.modules():
        module.register_forward_hook(lambda module, given, output: _rounded(output))
    return model


def _rounded(output):
    """A tensor, or the tensors of a tuple, rounded to bfloat16; anything else as it is."""
    if isinstance(output, tuple):
        return tuple(map(_rounded, output))
    is_float = torch.is_tensor(output) and output.is_floating_point()
    return output.bfloat16().to(output.dtype) if is_float else output


FIRST = (weights, spread, repeat)  # where one of these fails, every other number is chance
CHECKS = (saved, bf16)
