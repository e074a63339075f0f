"""Which token of a text is read: in a padded batch, and along an answer."""

import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

from rmtutorial.lesson.session import CHOSEN, OKABE_ITO

SIGNED = LinearSegmentedColormap.from_list("signed", [OKABE_ITO[1], "white", OKABE_ITO[5]])  # below 0, 0, above 0


def visible(text):
    """A token as it can be seen: a line break as ⏎, the chat marks short."""
    short = {"<|im_start|>": "<start>", "<|im_end|>": "<end>"}
    return short.get(text, text.replace("\n", "\\n").strip() or "_")


def padded_batch(rows, reads):
    """Rows of tokens, padding grey, with an arrow from each rule to the token that it reads.

    Args: rows, {name: (tokens, mask)}, T texts and T of 0 and 1 each; reads, {name: {rule: position}} of these rows.
    """
    T = max(len(tokens) for tokens, _ in rows.values())
    axes = plt.subplots(len(rows), 1, figsize=(10, 2.5 * len(rows)))[1]
    for ax, (name, (tokens, mask)) in zip(axes, rows.items()):
        ax.set(xlim=(-0.6, T - 0.4), ylim=(-1.6, 2.6))
        ax.axis("off")
        ax.set_title(name, loc="left", fontsize=11)
        for i, (token, real) in enumerate(zip(tokens, mask)):
            face = "white" if real else "#C8C8C8"
            ax.add_patch(plt.Rectangle((i - 0.46, -1.5), 0.92, 2.2, facecolor=face, edgecolor="black", lw=0.6))
            text = visible(token) if real else "pad"
            ax.text(i, -0.4, text, ha="center", va="center", fontsize=9, rotation=90)
        _arrows(ax, reads[name], T)
    return axes[0]


def _arrows(ax, reads, T):
    """One arrow a place, the rules that read it in one label; labels that would meet are moved apart."""
    places = {}
    for rule, at in reads.items():
        places.setdefault(at % T, []).append(rule)
    right_edge = T
    for at, rules in sorted(places.items(), reverse=True):
        text = "\n".join(rules)
        wide = 0.24 * max(map(len, rules))  # in tokens, at this font size
        x = min(at + wide / 2, right_edge - 0.3) - wide / 2
        right = "last 1 of the mask" in rules
        style = {"arrowstyle": "-|>", "color": CHOSEN if right else OKABE_ITO[3], "lw": 2 if right else 1.4}
        ax.annotate(text, (at, 0.75), (x, 1.5), ha="center", va="bottom", fontsize=9.5, arrowprops=style,
                    weight="bold" if right else "normal", annotation_clip=False)  # fmt: skip
        right_edge = x - wide / 2


def trace_text(answers, wide=9.2):
    """Answers as text, each token on a color that says what the head makes of it, with the number below it.

    Args: answers, {title: (tokens, values)}; the last token, whose value is the reward, has a thick frame.
    """
    lines = {title: _lines([visible(t) for t in tokens], values, wide) for title, (tokens, values) in answers.items()}
    most = max(abs(v) for _, values in answers.values() for v in values)
    norm, rows = TwoSlopeNorm(0, -most, most), sum(len(found) + 1 for found in lines.values())
    ax = plt.subplots(figsize=(wide + 0.3, 0.56 * rows))[1]
    ax.set(xlim=(-0.05, wide + 0.25), ylim=(-rows, 0))
    ax.axis("off")
    ax.grid(False)
    y = 0
    for title, found in lines.items():
        ax.text(0, y - 0.62, title, fontsize=11, weight="bold", va="center")
        y -= 1
        for n, line in enumerate(found):
            for i, (x, width, token, value) in enumerate(line):
                last = n == len(found) - 1 and i == len(line) - 1
                ax.add_patch(plt.Rectangle((x, y - 0.95), width - 0.03, 0.9, facecolor=SIGNED(norm(value)),
                                           edgecolor="black" if last else "#999999", lw=2.5 if last else 0.4))  # fmt: skip
                ax.text(x + width / 2 - 0.015, y - 0.33, token, ha="center", va="center", fontsize=10)
                ax.text(x + width / 2 - 0.015, y - 0.73, f"{value:+.1f}", ha="center", va="center", fontsize=8)
            y -= 1
    return ax


def _lines(tokens, values, wide):
    """[(x, width, token, value), ...] of each line, in inches at font size 10."""
    lines, x = [[]], 0.0
    for token, value in zip(tokens, values):
        width = max(0.42, 0.085 * len(token) + 0.12)
        if x + width > wide:
            lines.append([])
            x = 0.0
        lines[-1].append((x, width, token, value))
        x += width
    return lines
