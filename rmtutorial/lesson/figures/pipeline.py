"""One pair on its way through a reward model, drawn from the tensors of a run: from two texts to loss and gradient."""

import textwrap

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle

from rmtutorial.backbones import decoder_layers
from rmtutorial.lesson.session import CHOSEN, OKABE_ITO, REJECTED

COLUMNS = {  # left and right end of each part, in pixels of a figure 800 wide
    "text": (6, 158), "tokens": (172, 246), "backbone": (260, 338), "states": (352, 438), "pooled": (462, 548),
    "reward": (564, 624), "margin": (644, 704), "loss": (722, 796),
}  # fmt: skip
LANES = {"chosen": (230, 364, CHOSEN), "rejected": (80, 214, REJECTED)}  # bottom, top, color
BETWEEN = (80, 364)  # parts that both answers share
PARTS = (*COLUMNS, "gradient")
LIGHT, GRAY, SHOWN = OKABE_ITO[6], "#777777", 24  # of H numbers, so many are drawn


def pipeline(parts, lit=None, pooling="mean"):
    """Draw what is known of one pair; what is still to come is an empty frame.

    Args:
        parts: a dict with the first few, or all, of these keys, each with the chosen answer first:
            text, the PreferencePair; tokens, two (token ids, how many of them are the answer's); backbone, the module;
            states, two (T, H); pooled, two (H,); reward, two numbers (logits); margin (logits); loss (nats);
            gradient, {"reward": two numbers, "head": norm of its gradient, "backbone": norm}.
            `lesson.parts.parts_of(rm, pair)` gives them all.
        lit: the part to light, or None.
        pooling: "mean" over the answer's tokens, or "last": which states the bracket marks.
    Raises: ValueError for a part that does not exist.
    """
    if unknown := [name for name in (*parts, lit or "text") if name not in PARTS]:
        raise ValueError(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    ax = plt.figure(figsize=(8, 4), layout="none").add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 800), ylim=(0, 400))
    ax.axis("off")
    for name, (left, right) in COLUMNS.items():
        if name == lit:
            ax.add_patch(
                Rectangle((left - 5, 62), right - left + 10, 334, fc=LIGHT, ec="black", lw=2, alpha=0.6, zorder=-1)
            )
        here = {"weight": "bold"} if name == lit else {"color": "black" if name in parts else GRAY}
        title = {"text": "prompt and answers"}.get(name, name)
        size = 9 if name == "text" else 10  # bold, its title would be wider than its column
        ax.text((left + right) / 2, 383, title, ha="center", va="center", fontsize=size, **here)
        if name in parts:
            DRAW[name](ax, parts | {"rows": _pooled_rows(parts, pooling)})
        else:
            for low, high in (
                [BETWEEN] if name in ("backbone", "margin", "loss") else [lane[:2] for lane in LANES.values()]
            ):
                ax.add_patch(Rectangle((left, low), right - left, high - low, fc="none", ec=GRAY, ls=":"))
    _gradient(ax, parts.get("gradient"), lit == "gradient")
    return ax


def _number(value):
    return torch.as_tensor(value).detach().item()


def _lanes(values):
    return zip(values, LANES.values())


def _middle(lane):
    return (lane[0] + lane[1]) / 2


def _write(ax, x, y, text, **look):
    ax.text(x, y, text, **({"ha": "center", "va": "center", "fontsize": 10} | look))


def _arrow(ax, start, end, **look):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "black", "shrinkA": 0, "shrinkB": 0} | look)


def _text(ax, parts):
    left, right = COLUMNS["text"]
    pair = parts["text"]
    for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        low, high, color = LANES[name]
        ax.add_patch(Rectangle((left, low), right - left, high - low, fc="white", ec=color, lw=2))
        prompt, lines = (textwrap.wrap(text, 24) for text in (str(pair.prompt), answer))
        shown = [*_cut(prompt, 3), f"{name}:", *_cut(lines, 6)]
        _write(ax, left + 5, high - 6, "\n".join(shown), ha="left", va="top", fontsize=8, parse_math=False)


def _cut(lines, most):
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][:22] + " …"]


def _rows(lane, T, n):
    """Top of the strip of T tokens, where the answer's n begin, its bottom: one row a token, at most 5 pixels high."""
    height = min(5.0, (lane[1] - lane[0]) / T) * T
    top = _middle(lane) + height / 2
    return top, top - height * (T - n) / T, top - height


def _pooled_rows(parts, pooling):
    """Top and bottom, in pixels, of the states that are pooled, for each answer."""
    strips = [
        _rows(lane, len(ids), n if pooling == "mean" else 1) for (ids, n), lane in _lanes(parts.get("tokens", ()))
    ]
    return [strip[1:] for strip in strips]


def _tokens(ax, parts):
    left = COLUMNS["tokens"][0]
    for (ids, n), lane in _lanes(parts["tokens"]):
        top, begin, bottom = _rows(lane, len(ids), n)
        for high, low, color, word, count in (
            (top, begin, "#BBBBBB", "before", len(ids) - n),
            (begin, bottom, lane[2], "answer", n),
        ):
            ax.add_patch(Rectangle((left, low), 20, high - low, fc=color, ec="black", lw=0.8))
            _write(ax, left + 24, (low + high) / 2, f"{count}\n{word}", ha="left", fontsize=9)
        for row in range(1, len(ids)):
            ax.plot([left, left + 20], [top - (top - bottom) * row / len(ids)] * 2, color="black", lw=0.4)


def _backbone(ax, parts):
    left, right = COLUMNS["backbone"]
    low, high = BETWEEN
    ax.add_patch(Rectangle((left, low), right - left, high - low, fc="#EEEEEE", ec="black", lw=1.2))
    blocks = len(decoder_layers(parts["backbone"]))
    weights = sum(p.numel() for p in parts["backbone"].parameters()) / 1e6
    embedded = parts["backbone"].get_input_embeddings().weight.numel() / 1e6
    text = f"embedding:\n{embedded:.0f} million\nweights\n\n{blocks} blocks:\n{weights - embedded:.0f} million\n\nthe same\nfor both"
    _write(ax, (left + right) / 2, _middle(BETWEEN), text, fontsize=9)
    for lane in LANES.values():
        _arrow(ax, (left - 12, _middle(lane)), (left, _middle(lane)))
        _arrow(ax, (right, _middle(lane)), (right + 12, _middle(lane)))


def _heat(ax, numbers, left, right, low, high, widest):
    ax.imshow(
        numbers.detach().float().numpy(),
        extent=(left, right, low, high),
        cmap="PuOr_r",
        vmin=-widest,
        vmax=widest,
        aspect="auto",
    )
    ax.set(xlim=(0, 800), ylim=(0, 400))  # imshow changes them
    ax.add_patch(Rectangle((left, low), right - left, high - low, fc="none", ec="black", lw=0.8))


def _widest(states):
    return torch.cat([s.detach().float().abs().flatten() for s in states]).quantile(0.97).item()


def _states(ax, parts):
    left, right = COLUMNS["states"]
    widest = _widest([s[:, :SHOWN] for s in parts["states"]])
    for (states, (_, n)), lane in zip(zip(parts["states"], parts["tokens"]), LANES.values()):
        top, begin, bottom = _rows(lane, len(states), n)
        _heat(ax, states[:, :SHOWN], left, right, bottom, top, widest)
        ax.plot([left, right], [begin, begin], color="black", lw=1.5)
        _write(ax, (left + right) / 2, bottom - 9, f"{tuple(states.shape)}".replace(",", " ×"), fontsize=9)


def _pooled(ax, parts):
    left, right = COLUMNS["pooled"]
    widest = _widest([p[None, :SHOWN] for p in parts["pooled"]])
    for pooled, (begin, bottom) in zip(parts["pooled"], parts["rows"]):
        y, edge = (begin + bottom) / 2, left - 20
        ax.plot([edge, edge + 6, edge + 6, edge], [begin, begin, bottom, bottom], color="black", lw=1.2)  # a bracket
        _arrow(ax, (edge + 6, y), (left, y))
        _heat(ax, pooled[None, :SHOWN], left, right, y - 7, y + 7, widest)
        _write(ax, (left + right) / 2, y - 16, f"{min(SHOWN, len(pooled))} of {len(pooled)}", fontsize=9)


def _reward(ax, parts):
    left, right = COLUMNS["reward"]
    for (reward, lane), rows in zip(_lanes(parts["reward"]), parts["rows"]):
        y = sum(rows) / 2
        _arrow(ax, (left - 16, y), (left, y))
        ax.add_patch(Rectangle((left, y - 15), right - left, 30, fc="white", ec=lane[2], lw=2.5))
        _write(ax, (left + right) / 2, y, f"{_number(reward):.2f}", fontsize=12, weight="bold")


def _margin(ax, parts):
    left, right = COLUMNS["margin"]
    y = _middle(BETWEEN)
    for rows, end in zip(parts["rows"], (y + 18, y - 18)):
        _arrow(ax, (left - 20, sum(rows) / 2), ((left + right) / 2, end))
    ax.add_patch(Rectangle((left, y - 15), right - left, 30, fc="white", ec="black", lw=1.5))
    _write(ax, (left + right) / 2, y, f"{_number(parts['margin']):+.2f}", fontsize=12, weight="bold")


def _loss(ax, parts):
    left, right = COLUMNS["loss"]
    margin, loss, y = _number(parts["margin"]), _number(parts["loss"]), _middle(BETWEEN)
    _arrow(ax, (left - 18, y), (left, y))
    ax.add_patch(Rectangle((left, y - 15), right - left, 30, fc="white", ec="black", lw=1.5))
    _write(ax, (left + right) / 2, y, f"{loss:.2f}", fontsize=12, weight="bold")
    place = lambda m, value: (left + (m + 3) / 6 * (right - left), 266 + 24 * value)  # noqa: E731  small curve above
    across = torch.linspace(-3, 3, 61)
    ax.plot(*place(across.numpy(), torch.nn.functional.softplus(-across).numpy()), color=GRAY, lw=1.5)
    for axis in (([-3, 3], [0, 0]), ([-3, -3], [0, 3]), ([0, 0], [0, 3])):  # margin, loss, margin 0
        ax.plot(
            *place(*(torch.tensor(ends).numpy() for ends in axis)),
            color=GRAY,
            lw=0.8,
            ls=":" if not any(axis[0]) else "-",
        )
    ax.plot(*place(min(3.0, max(-3.0, margin)), min(loss, 3.05)), "o", color=OKABE_ITO[3], ms=7, mec="black")
    for tick in (-3, 0, 3):
        _write(ax, *place(tick, -0.35), f"{tick}", fontsize=8)
    for tick in (0, 3):
        _write(ax, *place(-3.5, tick), f"{tick}", fontsize=8)
    _write(ax, (left + right) / 2, 246, "margin", fontsize=8)
    _write(ax, left + 6, 348, "loss", fontsize=8)
    _write(ax, (left + right) / 2, y - 28, "ln 2 = 0.69\nat margin 0", fontsize=9, va="top")


def _gradient(ax, gradient, lit):
    look = {"weight": "bold"} if lit else {"color": "black" if gradient else GRAY}
    if lit:
        ax.add_patch(Rectangle((2, 4), 796, 52, fc=LIGHT, ec="black", lw=2, alpha=0.6, zorder=-1))
    _write(ax, 10, 30, "gradient", ha="left", **look)
    if not gradient:
        ax.add_patch(Rectangle((172, 10), 624, 42, fc="none", ec=GRAY, ls=":"))
        return
    _arrow(ax, (760, 46), (300, 46), lw=1.5)
    chosen, rejected = map(_number, gradient["reward"])
    _write(ax, 594, 24, f"on the rewards\n{chosen:+.2f} chosen, {rejected:+.2f} rejected", fontsize=9)
    _write(ax, 446, 24, f"on the head's weights\nnorm {_number(gradient['head']):.2f}", fontsize=9)
    _write(ax, 299, 24, f"on the backbone's\nnorm {_number(gradient['backbone']):.2f}", fontsize=9)


DRAW = {
    "text": _text, "tokens": _tokens, "backbone": _backbone, "states": _states, "pooled": _pooled, "reward": _reward,
    "margin": _margin, "loss": _loss,
}  # fmt: skip
