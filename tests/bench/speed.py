"""How fast and how small: rmtutorial beside TRL's RewardTrainer and a plain loop, on the same pairs.

    python tests/bench/speed.py [--pairs 32] [--repeats 3]        writes out/bench/speed.json and speed.png

Every contender runs in a process of its own, in turn: A B C ... A B C ... All train SmolLM2-135M in float32 with
AdamW, the embeddings frozen, for one epoch in batches of 8 pairs (the plain loop: of 1, as people write it). Pairs are
PandaLM's where ../shared has them, the bundled ones otherwise; the same random draw in the same order for all. Not
timed: loading, tokenizing, and the first batch, in which memory is touched for the first time. TRL comes with `pip install -e .[compare]`; without it those rows are left out.
"""

import argparse
import importlib.util
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from unittest import mock

import torch

from rmtutorial.backbones import decoder_layers, embedded_model, load_sft
from rmtutorial.encoding import encode_pairs
from rmtutorial.features import pooled_features
from rmtutorial.files import write_text
from rmtutorial.grouping import tree_length
from rmtutorial.lesson import session
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.machine import usable_cores
from rmtutorial.preferences import PreferencePair, load_preferences
from rmtutorial.probe import train_head
from rmtutorial.recipe import TrainConfig, freeze
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model

ROOT = Path(__file__).parents[2]
PANDALM = ROOT.parent / "shared" / "data" / "pandalm" / "train.jsonl"
BATCH = 8


def load_pairs(n):
    """(n pairs, name of their source); pairs that TRL would leave out (over 1,024 tokens, empty answers) are not drawn."""
    if PANDALM.is_file():
        rows = [json.loads(line) for line in PANDALM.read_text(encoding="utf-8").splitlines()]
        pairs = [PreferencePair(**row) for row in rows if row["chosen"].strip() and row["rejected"].strip()]
        source = "PandaLM"
    else:
        pairs, source = load_preferences(), "bundled pairs"
    return random.Random(0).sample([p for p in pairs if len(p.prompt + p.chosen + p.rejected) < 3000], n), source


def reward_model(layers, train_top):
    rm = RewardModel.from_sft(*load_sft(layers=layers), layers=layers)
    freeze(rm, train_top)
    return rm


# Contenders: pairs -> seconds for one epoch without its first batch


def trl(pairs, checkpointing=False):
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            ends.append(time.perf_counter())

    ends, trainer = [], trl_trainer(pairs, checkpointing)
    trainer.add_callback(Clock())
    trainer.train()
    return ends[-1] - ends[0]


def trl_checkpointing(pairs):
    return trl(pairs, checkpointing=True)


def trl_trainer(pairs, checkpointing):
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    model = AutoModelForSequenceClassification.from_pretrained(embedded_model(), num_labels=1, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    model.config.pad_token_id = tokenizer.pad_token_id
    model.model.embed_tokens.requires_grad_(False)
    torch.nn.init.zeros_(model.score.weight)
    turn = lambda role, text: [{"role": role, "content": text}]  # noqa: E731
    rows = [{"prompt": turn("user", p.prompt), "chosen": turn("assistant", p.chosen),
             "rejected": turn("assistant", p.rejected)} for p in pairs]  # fmt: skip
    config = RewardConfig(
        output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, report_to="none", save_strategy="no", logging_steps=1,
        per_device_train_batch_size=BATCH, num_train_epochs=1, optim="adamw_torch_fused", learning_rate=1e-5,
        max_length=1024, gradient_checkpointing=checkpointing, train_sampling_strategy="sequential", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    return RewardTrainer(model, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def plain_loop(pairs):
    """The loop that people write first: one pair a step, two forwards."""
    rm = reward_model(None, None)
    both = encode_pairs(rm.tokenizer, pairs, 1024)
    optimizer = torch.optim.AdamW([p for p in rm.parameters() if p.requires_grad], lr=1e-5)
    for number, (chosen, rejected) in enumerate(both):
        if number == BATCH:
            started = time.perf_counter()
        hidden = [rm.backbone(input_ids=torch.tensor([a.ids])).last_hidden_state[0, -1] for a in (chosen, rejected)]
        r_chosen, r_rejected = (rm.reward_head(h) for h in hidden)
        loss = bradley_terry_loss(r_chosen, r_rejected)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def all_layers(pairs):
    return ours(pairs, None, None)


def teaching_default(pairs):
    return ours(pairs, 16, 8)


def ours(pairs, layers, train_top, **settings):
    rm = reward_model(layers, train_top)
    config = TrainConfig(epochs=1, batch_size=BATCH, lr=1e-5, head_ridge=0, train_top=train_top, **settings)
    in_order = [list(range(i, i + BATCH)) for i in range(0, len(pairs), BATCH)]
    with mock.patch("rmtutorial.training.batch_order", lambda n, config, groups: in_order):
        steps = train_reward_model(rm, pairs, config).steps
    return steps[-1]["seconds"] - steps[0]["seconds"]


def head_only(pairs, epochs=50):
    features = pooled_features(reward_model(16, 0), pairs)
    started = time.perf_counter()
    train_head(features, TrainConfig(epochs=epochs, batch_size=BATCH))
    return (time.perf_counter() - started) / epochs * (len(pairs) - BATCH) / len(pairs)


def matrix_products(pairs):
    """The machine's speed: the best of the shapes that occur in the model and a large square one, in GFLOP/s."""
    return max(gflops(*shape) for shape in ((512, 576, 1536), (512, 1536, 576), (512, 576, 576), (2048, 2048, 2048)))


def gflops(m, k, n, times=30):
    a, b = torch.randn(m, k), torch.randn(k, n)
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * m * k * n / median(seconds) / 1e9


CONTENDERS = {
    "matrix products": matrix_products, "TRL RewardTrainer": trl, "TRL, checkpointing": trl_checkpointing,
    "plain loop, all layers": plain_loop, "rmtutorial, all layers": all_layers,
    "rmtutorial, default": teaching_default, "rmtutorial, head only": head_only,
}  # fmt: skip
SAME_WORK = "same work"
DEPTH = {"rmtutorial, all layers": (30, 30), "rmtutorial, default": (16, 8)}  # layers read, layers trained


def same_work(pairs):
    """Loss and gradients of one batch under TRL and under rmtutorial: the largest differences."""
    trainer = trl_trainer(pairs[:BATCH], False)
    torch.nn.init.normal_(trainer.model.score.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(BATCH)])
    trainer.model.eval()
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    rm = reward_model(None, None)
    rm.reward_head.weight.data.copy_(trainer.model.score.weight)
    loss = bradley_terry_loss(*rm(rm.batch(rm.encode_pairs(pairs[:BATCH]))).unbind(1))
    loss.backward()
    gradients = {name.removeprefix("model."): p.grad for name, p in trainer.model.named_parameters() if p.requires_grad}
    ours = {name.removeprefix("backbone."): p.grad for name, p in rm.named_parameters() if p.requires_grad}
    ours["score.weight"] = ours.pop("reward_head.weight")
    assert gradients.keys() == ours.keys()
    return abs(loss.item() - theirs.item()), max((ours[k] - gradients[k]).abs().max().item() for k in ours)


def child(name, n):
    session.start(threads=usable_cores())
    pairs, _ = load_pairs(n)
    figure = same_work(pairs) if name == SAME_WORK else CONTENDERS[name](pairs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print("result", json.dumps([figure, peak / 2**30]))


def run(name, n):
    command = [sys.executable, __file__, "--contender", name, "--pairs", str(n)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: failed\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.split("result ")[-1])


def weights_a_layer():
    model, _ = load_sft(layers=1)
    return sum(m.weight.numel() for m in decoder_layers(model.model)[0].modules() if isinstance(m, torch.nn.Linear))


def table(results, pairs):
    """One row a contender, from the medians over the repeats."""
    _, tokenizer = load_sft(layers=1)
    timed = encode_pairs(tokenizer, pairs[BATCH:], 1024)
    tokens = sum(map(tree_length, timed))
    ceiling = median(r[0] for r in results["matrix products"]) * 1e9  # flop/s
    rows = []
    for name in [name for name in results if name != "matrix products"]:
        seconds = median(r[0] for r in results[name])
        row = {"name": name, "pairs_per_s": len(timed) / seconds, "tokens_per_s": tokens / seconds}
        base = results.get("TRL RewardTrainer")
        row["ratio_to_trl"] = base and median(b[0] / r[0] for b, r in zip(base, results[name]))  # run by run
        row["peak_gib"] = max(r[1] for r in results[name])
        if name in DEPTH:
            read, trained = DEPTH[name]
            flop_a_token = (2 * read + 4 * trained) * weights_a_layer()
            row["fraction_of_ceiling"] = tokens / seconds * flop_a_token / ceiling
        rows.append(row)
    return rows, ceiling / 1e9


def draw(rows, path):
    import matplotlib.pyplot as plt

    names = [row["name"] for row in rows if row["pairs_per_s"] < 100]
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
    for ax, key, label in zip(axes, ("pairs_per_s", "peak_gib"), ("pairs a second", "peak memory (GiB)")):
        values = [row[key] for row in rows if row["name"] in names]
        ours = [name.startswith("rmtutorial") for name in names]
        bars = ax.barh(names, values, color=[session.CHOSEN if our else session.REJECTED for our in ours])
        ax.bar_label(bars, fmt="%.2f", padding=3)
        ax.set(xlabel=label, xlim=(0, 1.15 * max(values)))
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        child(options.contender, options.pairs)
        sys.exit()
    pairs, source = load_pairs(options.pairs)
    has_trl = importlib.util.find_spec("trl") is not None
    if has_trl:
        loss, gradient = run(SAME_WORK, options.pairs)[0]  # in its own process: a child's peak memory starts at ours
        print(f"one batch under TRL and rmtutorial: losses differ by {loss:.1e}, gradients by at most {gradient:.1e}")
        assert max(loss, gradient) <= 1e-4
    names = [name for name in CONTENDERS if has_trl or "TRL" not in name]
    results = {name: [] for name in names}
    for repeat in range(options.repeats):
        for name in names:
            results[name].append(run(name, options.pairs))
            print(f"run {repeat + 1}, {name}: {results[name][-1][0]:.3g}, {results[name][-1][1]:.2f} GiB", flush=True)
    rows, ceiling = table(results, pairs)
    out = ROOT / "out" / "bench"
    about = {"date": str(date.today()), "pairs": len(pairs), "source": source, "repeats": options.repeats,
             "cores": usable_cores(), "machine": platform.machine(), "matrix_products_gflops": ceiling}  # fmt: skip
    write_text(out / "speed.json", json.dumps({"about": about, "rows": rows, "runs": results}, indent=1))
    draw(rows, out / "speed.png")
    print(f"\n{len(pairs)} pairs of {source}, {options.repeats} runs, medians; matrix products {ceiling:.0f} GFLOP/s")
    print("| contender | pairs/s | tokens/s | x TRL | peak GiB | of the ceiling |\n|---|---|---|---|---|---|")
    for r in rows:
        ratio = f"{r['ratio_to_trl']:.1f}" if r["ratio_to_trl"] else "-"
        share = f"{r['fraction_of_ceiling']:.0%}" if "fraction_of_ceiling" in r else "-"
        print(
            f"| {r['name']} | {r['pairs_per_s']:.2f} | {r['tokens_per_s']:.0f} | {ratio} | {r['peak_gib']:.2f} | {share} |"
        )
