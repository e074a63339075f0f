"""Figures of best of n: who notices, at what distance, with how large a proxy, and why. Lines differ in marker and style too."""

from math import ceil

import matplotlib.pyplot as plt
import torch

from rmtutorial.best_of_n import mean_with_interval
from rmtutorial.lesson.figures import legend_below
from rmtutorial.lesson.session import CHOSEN, OKABE_ITO

COLORS = [OKABE_ITO[i] for i in (0, 3, 2, 7, 4, 1, 5)]  # those below 3 to 1 on white last, yellow not at all
STYLES = ("-", "--", "-.", ":", "-", "--", "-.")
LOOKS = [{"color": c, "marker": m, "linestyle": s} for c, m, s in zip(COLORS, "osD^vPX", STYLES)]
EDGE = {"markeredgecolor": "black", "markersize": 6}
GAIN = "gain over a sample at random\n(within-prompt spreads)"


def gain_curves(ns, gains, kl=None):
    """What best of n gains by several judges, against n, and once more for the largest n, with names; 95 % intervals.

    Args: ns, K numbers; gains {judge: (P, K)} as `best_of_n.gains` gives them, the proxy that chooses first; kl (K,) in
        nats, if the axis is to be its root.
    """
    if len(gains) > len(LOOKS):
        raise ValueError(f"{len(gains)} judges: {len(LOOKS)} can be told apart in one figure; make two")
    axes = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 2))[1]
    places = list(ns) if kl is None else torch.as_tensor(kl).sqrt().tolist()
    for row, ((name, judged), look) in enumerate(zip(gains.items(), LOOKS)):
        mean, low, high = mean_with_interval(judged)
        axes[0].fill_between(places, low, high, color=look["color"], alpha=0.12, linewidth=0)
        axes[0].plot(places, mean, **look, **EDGE, label=name)
        axes[1].plot([low[-1], high[-1]], [row, row], color="black", linewidth=1.5)
        axes[1].plot(mean[-1], row, look["marker"], color=look["color"], **EDGE)
    axis_of_n(axes[0], ns, kl)
    axes[0].set(ylabel=GAIN, title="Best of n by the proxy, seen by each judge")
    axes[0].legend(frameon=False, fontsize=9, loc="upper left")
    axes[1].set_yticks(range(len(gains)), list(gains), fontsize=10)
    axes[1].set(ylim=(len(gains) - 0.5, -0.5), xlabel="gain (spreads), 95 % interval", title=f"at n = {ns[-1]}")
    for ax, line in zip(axes, (axes[0].axhline, axes[1].axvline)):
        line(0, color="black", linestyle=":")
        ax.set_axisbelow(True)
    return axes[0]


def frontier(policies, marks=None, judges=None):
    """What each policy gains by each judge, against the root of its KL; a panel a judge, 95 % intervals over prompts.

    Args: policies {name: {"kl", judge: (P, K)}} as `kl_frontier` gives them, the optimum pi* first, which is drawn as a
        curve with a band, the others as points; marks {name: K texts to stand beside its points in the first panel, where
        the curve gets points too};
        judges {judge: title of its panel}, by default proxy and gold.
    """
    judges = judges or {"proxy": "by the proxy, which is followed", "gold": "by gold, which only judges"}
    rows = ceil(len(judges) / 2)
    axes = plt.subplots(rows, 2, figsize=(10, 0.8 + 3.6 * rows), sharex=True, sharey=True, squeeze=False)[1]
    for ax, (judge, title) in zip(axes.flat, judges.items()):
        for number, (name, found) in enumerate(policies.items()):
            _policy(ax, name, found, judge, LOOKS[number % len(LOOKS)], curve=number == 0)
            if ax is axes[0, 0]:
                offset, side = ((-5, 4), "right") if number == 0 else ((4, -11), "left")
                for text, x, y in zip((marks or {}).get(name, ()), *_means(found, judge)):
                    ax.annotate(text, (x, y), offset, textcoords="offset points", fontsize=9, ha=side)
                    if number == 0:
                        ax.plot(x, y, ".", color=LOOKS[0]["color"], markersize=10)
        ax.axhline(0, color="black", linestyle=":")
        ax.set_title(title)
    for ax in axes.flat[len(judges) :]:
        ax.set_visible(False)
    for ax in axes.flat[max(0, len(judges) - 2) : len(judges)]:  # nothing below these
        ax.set_xlabel(r"$\sqrt{\mathrm{KL}}$ from the reference ($\sqrt{\mathrm{nats}}$)")
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel(GAIN)
    handles, names = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_figure().legend(handles, names, frameon=False, loc="outside lower center", ncols=4, fontsize=10)
    return axes[0, 0]


def _means(found, judge):
    return found["kl"].mean(dim=0).clamp(min=0).sqrt().tolist(), found[judge].mean(dim=0).tolist()


def _policy(ax, name, found, judge, look, curve):
    x, _ = _means(found, judge)
    mean, low, high = (values[torch.tensor(x).argsort()] for values in mean_with_interval(found[judge]))
    x = sorted(x)
    if curve:
        ax.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
        ax.plot(x, mean, color=look["color"], linewidth=2, label=name)
    else:
        ax.errorbar(x, mean, yerr=(mean - low, high - mean), **look, **EDGE, linewidth=1, capsize=2, label=name)


def proxy_sizes(ns, kl, curves, fits):
    """Gold of best of n for proxies of several sizes, a panel each: seeds thin, their mean, Gao's form fitted to it.

    Args: ns, K numbers; kl (K,) nats, at whose root they are placed; curves {size: (S, K) gain of each seed}; fits {size: GaoFit
        of the mean}. The fit is dashed where points were observed and dotted beyond; the means of the other sizes stand
        behind in gray.
    """
    columns = min(len(curves), 3)
    shape = ceil(len(curves) / columns), columns
    axes = plt.subplots(*shape, figsize=(10, 0.6 + 2.9 * shape[0]), sharex=True, sharey=True, squeeze=False)[1]
    d = torch.as_tensor(kl).double().sqrt()
    for ax, (size, seeds) in zip(axes.flat, curves.items()):
        for other in curves.values():
            ax.plot(d, other.mean(dim=0), color="silver", linewidth=1)
        ax.plot([], color="silver", label="means of the other sizes")
        ax.plot(d, seeds.T, color=CHOSEN, alpha=0.35, linewidth=0.8)
        ax.plot([], color=CHOSEN, linewidth=0.8, label="one seed")
        ax.plot(d, seeds.mean(dim=0), "o", color=CHOSEN, **EDGE, label=f"mean of {len(seeds)} seeds")
        _fit(ax, fits[size])
        ax.axhline(0, color="black", linestyle=":", linewidth=0.8)
        ax.set_title(size, fontsize=11)
    for ax in axes.flat[len(curves) :]:
        ax.set_visible(False)
    for ax in axes[-1]:
        axis_of_n(ax, ns, kl)
        ax.set_xlabel(r"n, placed at $d=\sqrt{\mathrm{KL}}$")
    for ax in axes[:, 0]:
        ax.set_ylabel("gain by gold (spreads)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_figure().legend(handles, names, frameon=False, loc="outside lower center", ncols=3, fontsize=9)
    return axes[0, 0]


def _fit(ax, fit):
    seen, beyond = torch.linspace(0, fit.largest, 100), torch.linspace(fit.largest, 1.3 * fit.largest, 40)
    ax.plot(seen, fit(seen), "--", color=COLORS[1], linewidth=2, label=r"fit $d(\alpha-\beta_G d)$")
    ax.plot(beyond, fit(beyond), ":", color=COLORS[1], linewidth=2.5, label="the fit, extrapolated")
    if 0 < fit.peak <= fit.largest:
        ax.plot(
            fit.peak,
            fit(fit.peak),
            "*",
            color=COLORS[1],
            markeredgecolor="black",
            markersize=14,
            label="peak of the fit",
        )
        text = f"peak at n = {fit.peak_n:.0f}"
    else:
        text = "falls from the start" if fit.peak == 0 else "no peak in what was seen"
    ax.text(0.03, 0.95, text, fontsize=10, va="top", transform=ax.transAxes)


def tails(ns, curves):
    """Gold of the pick when proxy = gold + error, for errors with several tails: {name: (S, K)} as `tail_curves` gives them."""
    ax = plt.subplots(figsize=(8, 4))[1]
    for (name, seeds), look in zip(curves.items(), LOOKS):
        mean, peak = seeds.mean(dim=0), int(seeds.mean(dim=0).argmax())
        ax.plot(ns, seeds.T, color=look["color"], alpha=0.3, linewidth=0.8)  # one seed each
        falls = peak < len(ns) - 1
        label = f"{name}: " + (f"highest at n = {ns[peak]}" if falls else "still rising")
        ax.plot(ns, mean, **look, **EDGE, linewidth=2, label=label)
        if falls:
            ax.plot(ns[peak], mean[peak], "o", color="none", markeredgecolor="black", markersize=15)
    axis_of_n(ax, ns)
    ax.axhline(0, color="black", linestyle=":")
    ax.set(
        ylabel="gold of the pick\n(standard deviations)", title="The proxy's error, and what following the proxy gives"
    )
    legend_below(ax, columns=2)
    return ax


def axis_of_n(ax, ns, kl=None):
    """The numbers ns on the x-axis: evenly, by their logarithm, or at the root of kl (K,)."""
    if kl is None:
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(ns), [str(n) for n in ns])
        ax.set_xlabel("n")
    else:
        places = torch.as_tensor(kl).sqrt().tolist()
        last = len(ns) - 1  # the numbers get longer and their places closer: every second one from the end
        shown = [k for k in range(len(ns)) if (last - k) % 2 == 0 or k < last / 2]
        ax.set_xticks([places[k] for k in shown], [str(ns[k]) for k in shown])
        ax.set_xlabel(r"n, placed at $\sqrt{\mathrm{KL}}$ of the best of n")
    ax.minorticks_off()
