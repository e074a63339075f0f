"""What does it take to train a reward model of a given shape? Bytes, counted from the shape alone.

Letters: L layers, H hidden size, F width of the MLP, K numbers in the keys of one token, V vocabulary, r rank, T tokens.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A decoder of Llama's make: grouped keys and values, a gated MLP, RMS norms, no biases."""

    layers: int  # L
    hidden: int  # H
    mlp: int  # F
    heads: int
    kv_heads: int
    vocabulary: int  # V

    @property
    def kv(self):
        return self.hidden // self.heads * self.kv_heads  # K

    @property
    def matrices(self):
        """(inputs, outputs) of the seven matrices of a layer: query, key, value, output, gate, up, down."""
        H, F, K = self.hidden, self.mlp, self.kv
        return [(H, H), (H, K), (H, K), (H, H), (H, F), (H, F), (F, H)]

    @property
    def in_matrices(self):
        """Weights in the matrices of all layers: L (2 H^2 + 2 H K + 3 H F)."""
        return self.layers * sum(a * b for a, b in self.matrices)

    @property
    def weights(self):
        """Weights of the reward model: embeddings V H, the layers with 2 H in their norms, the last norm, the head."""
        return self.vocabulary * self.hidden + self.in_matrices + 2 * self.layers * self.hidden + 2 * self.hidden

    def adapter(self, rank):
        """Weights of LoRA on all seven matrices: L times the sum of r (inputs + outputs)."""
        return self.layers * sum(rank * (a + b) for a, b in self.matrices)


SHAPES = {  # from config.json of each repository
    "135M": Shape(30, 576, 1536, 9, 3, 49_152),  # HuggingFaceTB/SmolLM2-135M-Instruct
    "1B": Shape(16, 2048, 8192, 32, 8, 128_256),  # meta-llama/Llama-3.2-1B
    "8B": Shape(32, 4096, 14_336, 32, 8, 128_256),  # meta-llama/Meta-Llama-3-8B
    "70B": Shape(80, 8192, 28_672, 64, 8, 128_256),  # meta-llama/Meta-Llama-3-70B
}
FULL = {"full, fp32": 4, "full, bf16": 2}  # way -> bytes of a weight, of its gradient, of each of AdamW's two moments
WAYS = (*FULL, "LoRA, bf16", "QLoRA, 4 bit")
NF4 = 4.127 / 8  # bytes of a quantized weight and its share of the constants (Dettmers et al. 2023, section 3)


def training_bytes(shape, way, tokens=2048, rank=16, checkpointing=True):
    """Bytes that training takes: weights, gradients, AdamW's moments, activations.

    full, fp32 or bf16:  4 or 2 a weight, as much for its gradient, twice as much for AdamW's moments
    LoRA, bf16:          2 a weight, frozen; 4 + 4 + 8 for each weight of the adapters and of the reward head
    QLoRA, 4 bit:        the same, but 4.127 bits a weight in the matrices of the layers
    activations:         see `activation_bytes`; 4 bytes a number for "full, fp32", else 2

    Not counted: the workspace of kernels, fragmentation, a second copy of weights under autocast.

    Args: tokens, in one forward and backward pass (2 answers of 1,024: 2048); rank of LoRA, on all seven matrices.
    Raises: ValueError for a way that is not one of WAYS.
    """
    if way not in WAYS:
        raise ValueError(f"way={way!r}: choose {', '.join(WAYS)}")
    if way in FULL:
        size = FULL[way]
        weights, gradients = size * shape.weights, size * shape.weights
    else:
        learning = shape.adapter(rank) + shape.hidden
        in_bf16 = shape.weights - shape.hidden - (shape.in_matrices if way.startswith("QLoRA") else 0)
        weights = 2 * in_bf16 + 4 * learning + (NF4 * shape.in_matrices if way.startswith("QLoRA") else 0)
        size, gradients = 2, 4 * learning
    found = {"weights": weights, "gradients": gradients, "AdamW": 2 * gradients}
    return found | {"activations": activation_bytes(shape, tokens, size, checkpointing)}


def activation_bytes(shape, tokens, size=2, checkpointing=True):
    """What the forward pass keeps for the backward pass, in bytes.

    A layer keeps 8 H + 2 K + 4 F numbers a token: for each of its two norms the input, the normed and the scaled state
    (6 H); the queries, keys, values and the output of attention (2 H + 2 K); gate, its SiLU, up, their product (4 F).
    The table of attention weights is not kept (FlashAttention: Dao et al. 2022). With checkpointing only the input
    of each layer is kept (L H), and one layer at a time is computed anew (after Korthikanti et al. 2022, section 5).
    """
    one = 8 * shape.hidden + 2 * shape.kv + 4 * shape.mlp
    numbers = shape.layers * shape.hidden + one if checkpointing else shape.layers * one
    return size * tokens * numbers


def devices_needed(total, memory, free=0.9):
    """How many devices of `memory` bytes hold `total` bytes, if each gives the share `free` of its own to them."""
    return math.ceil(total / (free * memory))
