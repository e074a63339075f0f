"""Attention over packed trees: every example of a batch for itself, one behind the other, without padding.

transformers lets a model name its attention function. All products with weight matrices then run over the N packed
tokens of the batch at once; only here, where tokens look at each other, are the examples taken apart.
"""

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

TREE = "rmtutorial_tree"


def tree_attention(module, query, key, value, attention_mask, trees=None, places=None, writing=None, **kwargs):
    """Scaled dot-product attention within each tree; without `trees`, the ordinary one of transformers.

    Args:
        query: (1, heads, N, D); key, value: (1, key/value heads, N, D).
        trees: one bool mask (1, 1, T, T) for each example, in the order of the packed tokens; the T add up to N.
        places: (1, N) int64, the position of each token in its own answer: a sliding window counts these.
        writing: a GroupCache, of answers that are being written: with `trees` it keeps the prompts' keys and values,
            without them each of the N tokens is the next one of an answer.
    Returns: (1, N, heads, D), and None for the attention weights, which are never written out.
    Raises: NotImplementedError for attention that this cannot do, rather than a wrong score.
    """
    if writing is not None:
        if trees is None:
            return writing.attend(module, query, key, value, kwargs["scaling"]), None
        writing.keep_prompts(module, key, value)
    if trees is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    lengths = [mask.shape[-1] for mask in trees]
    if kwargs.get("softcap") or kwargs.get("s_aux") is not None:
        raise NotImplementedError(
            f"{type(module).__name__}: soft caps and sinks in attention are not supported; use a decoder with ordinary "
            "attention, such as Llama, Qwen3 or GPT-2"
        )
    if (kwargs.get("sliding_window") or 1e9) < max(lengths):
        trees = [near(tree, p, kwargs["sliding_window"]) for tree, p in zip(trees, places[0].split(lengths))]
    grouped = query.shape[1] != key.shape[1]  # several query heads share a key head
    if grouped and query.is_cuda:  # with a mask CUDA has fast kernels only for heads of equal number
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
        grouped = False
    parts = [
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=kwargs.get("scaling"), enable_gqa=grouped)
        for q, k, v, mask in zip(*(x.split(lengths, dim=2) for x in (query, key, value)), trees)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def near(mask, places, window):
    """The mask (1, 1, T, T) without what lies `window` or more tokens back; places (T,) are positions in an answer."""
    return mask & (places[:, None] - places[None, :] < window)


AttentionInterface.register(TREE, tree_attention)
AttentionMaskInterface.register(TREE, sdpa_mask)  # the ordinary mask, where there are no trees
