"""Sliders of notebook 05: n over a pool, beta on the optimum under a KL penalty, the tail of the proxy's error."""

import html
from math import inf

import ipywidgets

from rmtutorial.best_of_n import best_of_n, within_prompt_spread
from rmtutorial.kl_frontier import tilted_frontier, tilted_weights
from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer, slider
from rmtutorial.overoptimization import tail_curves

BETAS = [round(10 ** (k / 6), 3) for k in range(6, -10, -1)]  # in spreads of the proxy: 10 down to 0.03
TAILS = {"normal": inf, "t, 30": 30, "t, 10": 10, "t, 5": 5, "t, 4": 4, "t, 3": 3, "t, 2.5": 2.5, "t, 2": 2}
NS = [2**k for k in range(11)]


def pool_explorer(prompts, texts, proxy, gold, n=1):
    """Draw more and more samples of a prompt: which text wins, what its proxy and gold are, and what is expected.

    Args: prompts, P str; texts, P lists of N str; proxy, gold (P, N) of these texts.
    """
    ns = [2**k for k in range(proxy.shape[1].bit_length())]
    controls = {
        "prompt": slider(ipywidgets.IntSlider, "prompt", min=0, max=len(prompts) - 1, value=0),
        "n": slider(ipywidgets.SelectionSlider, "n", options=ns, value=n),
    }
    alt = (
        "Proxy and gold of this prompt's samples, the chosen one marked, and both expected over n; numbers stand below."
    )
    return explorer(controls, lambda prompt, n: render_pool(prompts, texts, proxy, gold, prompt, n), alt)


def render_pool(prompts, texts, proxy, gold, prompt, n):
    ns = [2**k for k in range(proxy.shape[1].bit_length())]
    p, g = proxy[prompt], gold[prompt]
    curves = {"proxy": best_of_n(p[None], p[None], ns)[0], "gold": best_of_n(p[None], g[None], ns)[0]}
    i, k = int(p[:n].argmax()), ns.index(n)
    message = (
        f"<p><b>Prompt</b><br>{_shown(prompts[prompt])}</p><p><b>Best of the first {n} by the proxy</b> (sample {i})<br>"
        f"{_shown(texts[prompt][i])}</p><p>its proxy <b>{p[i]:+.2f}</b>, its gold <b>{g[i]:+.2f}</b>; expected over all "
        f"draws of {n}: proxy {curves['proxy'][k]:+.2f}, gold {curves['gold'][k]:+.2f}</p>"
    )
    return figures.pool.pick(p, g, n, ns, curves), message


def _shown(text):
    return html.escape(text).replace("\n", "<br>")


def tilt_explorer(proxy, gold, beta=1.0):
    """Move beta, in within-prompt spreads of the proxy: how pi* weighs the pool, from how many samples, and what it buys."""
    controls = {"beta": slider(ipywidgets.SelectionSlider, "β (spreads)", options=BETAS, value=beta)}
    alt = "Scores as sampled and as the optimum weighs them, and its gain by proxy and gold over the root of its KL; numbers stand below."
    return explorer(controls, lambda beta: render_tilt(proxy, gold, beta), alt)


def render_tilt(proxy, gold, beta):
    scores = (proxy - proxy.mean(dim=1, keepdim=True)) / within_prompt_spread(proxy)
    here, curve = (tilted_frontier(scores, gold, betas) for betas in ([beta], BETAS))
    found = {name: values.mean().item() for name, values in here.items()}
    message = (
        f"β = {beta:g} spreads: KL <b>{found['kl']:.2f}</b> nats; as sure as <b>{found['ess']:.0f}</b> of "
        f"{proxy.shape[1]} samples (the prompt with the fewest: {here['ess'].min():.1f}); gain by the proxy "
        f"<b>{found['proxy']:+.2f}</b>, by gold <b>{found['gold']:+.2f}</b> spreads"
    )
    return figures.pool.tilt(scores, tilted_weights(scores, beta), curve, here), message


def tail_explorer(tail="normal"):
    """From a normal error of the proxy to Student's t with 2 degrees of freedom: where the peak of gold appears."""
    controls = {"tail": slider(ipywidgets.SelectionSlider, "tail of the error", options=list(TAILS), value=tail)}
    alt = "Gold of the best of n over n, for a normal error and for this one; the text below names the peak."
    normal = tail_curves(NS)
    return explorer(controls, lambda tail: render_tail(tail, normal), alt)


def render_tail(tail, normal=None):
    curves = {"normal error": tail_curves(NS) if normal is None else normal}
    if tail != "normal":
        curves[f"{tail} degrees of freedom"] = tail_curves(NS, TAILS[tail])
    mean = list(curves.values())[-1].mean(dim=0)
    peak = int(mean.argmax())
    message = (
        f"{list(curves)[-1]}: gold of the pick is highest at n = <b>{NS[peak]}</b>, {mean[peak]:.2f}; at n = {NS[-1]} it "
        f"is {mean[-1]:.2f} standard deviations (8 seeds of 128 pools)"
    )
    return figures.best_of_n.tails(NS, curves), message
