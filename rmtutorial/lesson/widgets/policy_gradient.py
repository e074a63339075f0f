"""Sliders of notebook 06: the corners of the clip; k1, k2 and k3 under a shift."""

import ipywidgets
import torch

from rmtutorial.lesson import figures
from rmtutorial.lesson.shift import ESTIMATORS
from rmtutorial.lesson.widgets import explorer, slider

DRAWS = 20_000  # of the standard normal distribution


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
