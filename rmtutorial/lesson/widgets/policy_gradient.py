"""Sliders of notebook 06: advantages of an almost tied group, the corners of the clip, k1, k2 and k3 under a shift."""

from math import sqrt

import ipywidgets
import torch

from rmtutorial.lesson import figures
from rmtutorial.lesson.shift import ESTIMATORS
from rmtutorial.lesson.widgets import explorer, slider
from rmtutorial.policy_gradient import group_advantages

SCALES = {"(r - mean) / (std + eps)": True, "r - mean": False}
GAPS = {f"1e-{k}": 10.0**-k for k in range(8)} | {"0": 0.0}
DRAWS = 20_000  # of the standard normal distribution


def advantage_explorer(group=8, scale=True, gap="1e-4"):
    """Two groups with one pattern, in the second shrunk: its size, the std, and how nearly the second one is tied."""
    controls = {
        "group": slider(ipywidgets.IntSlider, "answers, G", min=2, max=16, value=group),
        "scale": ipywidgets.ToggleButtons(options=SCALES, value=scale, description="A =", style={"button_width": "200px"}),
        "gap": slider(ipywidgets.SelectionSlider, "spread of group 2", options=list(GAPS), value=gap),
    }  # fmt: skip
    alt = "Rewards of two groups of answers and their advantages as bars; the text below has the largest of each."
    return explorer(controls, render_advantages, alt)


def render_advantages(group, scale, gap):
    pattern = torch.randn(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[:group]
    rewards = {"1: as sampled": pattern, f"2: spread {gap}": 0.5 + GAPS[gap] * pattern}
    found = {name: group_advantages(row[None], scale)[0] for name, row in rewards.items()}
    largest = [row.abs().max().item() for row in found.values()]
    bound = (group - 1) / sqrt(group)
    message = f"largest |A|: group 1 <b>{largest[0]:.3f}</b>, group 2, {float(gap):g} times as spread, <b>{largest[1]:.3g}</b>; "
    message += (
        f"with the std none exceeds (G - 1) / &radic;G = {bound:.3f}"
        if scale
        else "without the std a group counts as much as its rewards differ"
    )
    return figures.policy_loss.advantage_bars(rewards, found, bound if scale else None), message


def clip_explorer(ratio=1.0, clip=0.2):
    """Move the ratio pi / pi_old of one token, and the clip: the surrogate and its gradient, for a good and a bad answer."""
    controls = {
        "ratio": slider(ipywidgets.FloatSlider, "ratio", min=0.4, max=1.8, step=0.05, value=ratio),
        "clip": slider(ipywidgets.FloatSlider, "clip", min=0.05, max=0.5, step=0.05, value=clip),
    }
    alt = "The clipped surrogate and its gradient over the ratio, this ratio marked; the text below has the numbers."
    return explorer(controls, render_clip, alt)


def render_clip(ratio, clip):
    at, parts = torch.tensor([ratio]), []
    for advantage, name in ((1.0, "better answer (A = +1)"), (-1.0, "worse answer (A = -1)")):
        value, pull = (x.item() for x in figures.policy_loss.surrogate(at, advantage, clip))
        state = "clipped: no gradient" if pull == 0 else f"gradient in log &pi; <b>{pull:+.2f}</b>"
        parts.append(f"{name}: surrogate {value:+.2f}, {state}")
    return figures.policy_loss.clip_corners(clip, ratio), f"ratio {ratio:.2f}. " + "; ".join(parts)


def kl_explorer(shift=0.5):
    """Shift pi = N(s, 1) away from the reference N(0, 1): histograms of k1, k2, k3 of the same samples, and the exact KL."""
    controls = {"shift": slider(ipywidgets.FloatSlider, "shift", min=0.0, max=2.0, step=0.1, value=shift)}
    alt = "Histograms of k1, k2 and k3 with their means and the exact KL; the text below has the numbers."
    return explorer(controls, render_kl, alt)


def render_kl(shift):
    draws = torch.randn(DRAWS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_ratio, kl = shift * (draws + shift) - shift**2 / 2, shift**2 / 2  # log N(x; s, 1) - log N(x; 0, 1), x from pi
    parts = [
        f"{name} {found.mean():.3f} (std {found.std():.3f}, {(found < 0).double().mean():.0%} below 0)"
        for name, found in ((name, k(log_ratio)) for name, k in ESTIMATORS.items())
    ]
    message = f"exact KL <b>{kl:.3f}</b> nats; means of {DRAWS:,} samples: " + ", ".join(parts)
    return figures.policy_loss.kl_histograms(log_ratio, kl), message
