"""What one training step keeps in memory, counted on the model itself: weights, copies, AdamW, activations, logits."""

import torch

from rmtutorial.losses import bradley_terry_loss

MIB = 2**20


def training_memory(scorer, encoded):
    """{what: MiB} for one forward and backward pass over encoded pairs, in float32 or what the model is in.

    weights, gradients, AdamW (two moments of what learns), reference (a policy's second copy of what learns);
    activations: what autograd keeps for the backward pass, but for parameters and logits; logits: what it keeps that has
    the vocabulary as its last dimension, for a reward model nothing.
    The softmax of the logits is counted once; its gradient needs the same again for a moment, which is not counted.
    """
    size = lambda tensors: sum(t.numel() * t.element_size() for t in tensors) / MIB  # noqa: E731
    learning = [p for p in scorer.parameters() if p.requires_grad]
    activations, logits = kept_for_backward(scorer, encoded)
    return {
        "weights": size(scorer.parameters()),
        "gradients": size(learning),
        "AdamW": 2 * size(learning),
        "reference": size((getattr(scorer, "reference_weights", None) or {}).values()),
        "activations": activations / MIB,
        "logits": logits / MIB,
    }


def kept_for_backward(scorer, encoded):
    """Bytes (activations, logits over the vocabulary) that autograd keeps of a forward pass, each storage once."""
    owned = {p.untyped_storage().data_ptr() for p in scorer.parameters()}
    vocabulary, kept = scorer.backbone.get_input_embeddings().num_embeddings, {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in owned:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # kept alive, so that no address is given twice
        return tensor

    batch = scorer.batch(encoded)
    if hasattr(scorer, "reference"):
        scorer.reference(batch)  # known from here on: no gradient, nothing kept
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = bradley_terry_loss(*scorer(batch).unbind(1))
    loss.detach()
    size = {True: 0, False: 0}
    for tensor in kept.values():
        size[tensor.ndim > 0 and tensor.shape[-1] == vocabulary] += tensor.untyped_storage().nbytes()
    return size[False], size[True]


def forward_passes(scorer, known=True):
    """Plain forward passes of a pair, one answer each, in a training step: two, and two more where a reference is asked.

    Args: known, the reference's log-probabilities are kept (they never change), so it is asked in the first epoch only.
    """
    return 2 if known or not hasattr(scorer, "reference") else 4
