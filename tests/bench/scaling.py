"""Cost as the work grows: tokens a second and peak memory over the number of pairs and over their length.

    python tests/bench/scaling.py          writes out/bench/scaling.json and scaling.png; about 10 minutes on 2 cores

Pairs: 100 to 10,000, drawn from the bundled ones (repeated with a numbered ending, so that no two are the same). To
keep the largest run short the backbone has 4 layers, the top 2 trained, which makes everything but the matrix products
weigh more than it does in practice. Length: 64 to 1,024 tokens a pair with the default backbone (16 layers, top 8).
Each point is a process of its own. Rates are without the first tenth of the steps.
"""

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

from rmtutorial.backbones import decoder_layers, load_sft
from rmtutorial.files import write_text
from rmtutorial.grouping import tree_length
from rmtutorial.lesson import session
from rmtutorial.preferences import load_preferences
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model

ROOT = Path(__file__).parents[2]
PAIRS = (100, 1_000, 10_000)
TOKENS = (64, 256, 1_024)


def many_pairs(n):
    pairs = load_preferences()
    more = [replace(p, prompt=f"{p.prompt} ({i // len(pairs)})") for i, p in enumerate(pairs * (n // len(pairs) + 1))]
    return more[:n]


def long_pairs(tokens, rm, n=24):
    """n pairs of about `tokens` tokens each: bundled texts strung together."""
    bundled, longer = load_preferences(), []
    for i in range(n):
        pair, j = bundled[i], i
        while tree_length(rm.encode_pairs([pair])[0]) < tokens - 40:
            j += 1
            other = bundled[(31 * j) % len(bundled)]
            pair = replace(pair, prompt=f"{pair.prompt} {other.prompt}"[-20_000:], chosen=f"{pair.chosen} {other.chosen}",
                           rejected=f"{pair.rejected} {other.rejected}")  # fmt: skip
        longer.append(pair)
    return longer


def child(what, value):
    session.start()
    layers, top = (4, 2) if what == "pairs" else (16, 8)
    rm = RewardModel.from_sft(*load_sft(layers=layers), layers=layers)
    pairs = many_pairs(value) if what == "pairs" else long_pairs(value, rm)
    epochs = max(1, 1_000 // len(pairs)) if what == "pairs" else 1  # a few seconds would be all noise
    steps = train_reward_model(rm, pairs, TrainConfig(epochs=epochs, train_top=top, head_ridge=0, cache=False)).steps
    first = steps[len(steps) // 10]
    rate = (steps[-1]["tokens"] - first["tokens"]) / (steps[-1]["seconds"] - first["seconds"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    row = {
        what: value,
        "tokens_per_pair": steps[-1]["tokens"] / len(pairs) / epochs,
        "tokens_per_s": rate,
        "peak_gib": peak / 2**30,
    }
    print("result", json.dumps(row))


def run(what, value):
    done = subprocess.run([sys.executable, __file__, "--child", what, str(value)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{what} {value}: failed\n{done.stderr[-3000:]}")
    row = json.loads(done.stdout.split("result ")[-1])
    print(f"{what} {value}: {row['tokens_per_s']:.0f} tokens/s, {row['peak_gib']:.2f} GiB", flush=True)
    return row


def without_attention(row):
    """tokens/s if attention cost nothing: its products, 2 x 2 T H a token and layer, beside those with the weights."""
    model, _ = load_sft(layers=1)
    weights = sum(p.numel() for p in decoder_layers(model.model)[0].parameters() if p.ndim == 2)
    return row["tokens_per_s"] * (1 + 2 * row["tokens_per_pair"] * model.config.hidden_size / weights)


def draw(rows, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 5), sharex="col", layout="constrained")
    for column, (what, points) in enumerate(rows.items()):
        x = [row[what if what == "pairs" else "tokens_per_pair"] for row in points]
        axes[0, column].plot(x, [row["tokens_per_s"] for row in points], "o-", label="measured")
        if what == "tokens":
            corrected = [row["tokens_per_s_without_attention"] for row in points]
            axes[0, column].plot(x, corrected, "s--", label="without the attention term")
            axes[0, column].legend(frameon=False)
        axes[1, column].plot(x, [row["peak_gib"] for row in points], "o-")
        axes[1, column].set(xscale="log", xlabel={"pairs": "pairs", "tokens": "distinct tokens a pair"}[what])
        for row in range(2):
            axes[row, column].set_ylim(bottom=0)
    axes[0, 0].set(ylabel="tokens a second", title="4 layers, top 2 trained")
    axes[0, 1].set(title="16 layers, top 8 trained")
    axes[1, 0].set(ylabel="peak memory (GiB)")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]))
        sys.exit()
    rows = {"pairs": [run("pairs", n) for n in PAIRS], "tokens": [run("tokens", n) for n in TOKENS]}
    for row in rows["tokens"]:
        row["tokens_per_s_without_attention"] = without_attention(row)
    out = ROOT / "out" / "bench"
    write_text(out / "scaling.json", json.dumps({"date": str(date.today()), **rows}, indent=1))
    draw(rows, out / "scaling.png")
    for what, key in (("pairs", "tokens_per_s"), ("tokens", "tokens_per_s_without_attention"), ("pairs", "peak_gib")):
        values = [row[key] for row in rows[what]]
        print(
            f"{key} over {what}: {min(values):.3g} to {max(values):.3g}, apart by {max(values) / min(values) - 1:.0%}"
        )
