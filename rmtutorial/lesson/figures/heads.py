"""From language model to reward model: what is kept, what is swapped."""

import matplotlib.pyplot as plt

from rmtutorial.lesson.session import OKABE_ITO

KEPT, OLD, NEW = "#E8E8E8", OKABE_ITO[5], OKABE_ITO[1]


def head_swap(layers, vocabulary, hidden, layer_weights, tied, tokens):
    """Two towers side by side, with shapes on the arrows and weights in the boxes.

    Args: layers L, vocabulary V, hidden H; layer_weights, weights of one layer; tied, is the LM head the embedding
        matrix?; tokens T of the text that is read.
    """
    ax = plt.subplots(figsize=(9, 5.2))[1]
    ax.set(xlim=(0, 20), ylim=(0, 11))
    ax.axis("off")
    ax.grid(False)
    whose = "the embeddings\nagain (tied)" if tied else "a matrix of its own"
    lm_head = f"LM head\n({vocabulary:,}, {hidden}): {whose}"
    heads = (
        (0.3, "language model", lm_head, OLD, f"logits (1, {tokens}, {vocabulary:,})", f"every state: (1, {tokens}, {hidden})"),
        (10.7, "reward model", f"reward head\n({hidden},): {hidden} weights", NEW, "reward (1,)", f"one state, the last token's: (1, {hidden})"),
    )  # fmt: skip
    for x, name, head, color, result, read in heads:
        boxes = (
            (0.9, f"embeddings ({vocabulary:,}, {hidden})\n{vocabulary * hidden:,} weights", KEPT, ""),
            (3.5, f"{layers} layers and a norm\n{layers} x {layer_weights:,} + {hidden} weights", KEPT, ""),
            (6.9, head, color, "//" if color == NEW else ""),
        )
        for y, text, face, hatch in boxes:
            ax.add_patch(plt.Rectangle((x, y), 9, 1.7, facecolor=face, edgecolor="black", hatch=hatch, alpha=0.9))
            ax.text(x + 4.5, y + 0.85, text, ha="center", va="center", fontsize=11, bbox=_plain(face, hatch))
        arrows = ((0.1, 0.9, f"ids (1, {tokens})"), (2.6, 3.5, ""), (5.2, 6.9, read), (8.6, 9.6, ""))
        for low, high, text in arrows:
            ax.annotate("", (x + 4.5, high), (x + 4.5, low), arrowprops={"arrowstyle": "-|>", "color": "black"})
            ax.text(x + 4.8, (low + high) / 2, text, va="center", fontsize=11)
        ax.text(x + 4.5, 9.9, result, ha="center", va="center", fontsize=11)
        ax.text(x + 4.5, 10.7, name, ha="center", va="center", fontsize=12, weight="bold")
    ax.text(10, 4.3, "=", ha="center", va="center", fontsize=20)
    ax.text(10, 1.7, "=", ha="center", va="center", fontsize=20)
    ax.text(10, 7.7, "swap", ha="center", va="center", fontsize=11, style="italic")
    return ax


def _plain(face, hatch):
    return {"facecolor": face, "edgecolor": "none", "pad": 2} if hatch else None
