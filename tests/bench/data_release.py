"""The slow measurements of the bundled preferences, for their datasheet: about an hour on 2 cores.

    python tests/bench/data_release.py [TASK ...]

trains reward models with the default recipe (three seeds, smaller sets, without the prompt), repeats the pilot on
the first quarter, and asks the untrained language model. What is done is kept in rmtutorial/data/measurements.json;
a task whose result is there, for the same data, is not run again. `make data` writes the datasheet from it.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from rmtutorial.backbones import load_sft
from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.data.baselines import SHORTCUTS, longer_is_chosen, right, words
from rmtutorial.data.build import DATA, SPLITS, read_sets
from rmtutorial.data.datasheet import MEASUREMENTS
from rmtutorial.encoding import encode_pairs
from rmtutorial.features import pooled_features
from rmtutorial.files import write_text
from rmtutorial.losses import bradley_terry_loss, sequence_logprobs
from rmtutorial.preferences import PreferencePair, load_preferences
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model

PANDALM = Path(__file__).parents[3] / "shared" / "data" / "pandalm"  # beside the project, not part of it
SEEDS = (0, 1, 2)
BLANK = "\n"  # the prompt that a blind judge sees


def blind(pairs):
    return [replace(pair, prompt=BLANK) for pair in pairs]


def fold_of(pair):
    return int(hashlib.sha256(pair.group.encode()).hexdigest(), 16) % 4


def trained(pairs, seed):
    rm = RewardModel.from_sft(*load_sft(layers=16))
    history = train_reward_model(rm, pairs, TrainConfig(seed=seed))
    return rm, history.steps[-1]["seconds"]


def verdicts(rm, pairs):
    """1 for every pair ranked right, 0 for wrong, 0.5 for a tie."""
    r_chosen, r_rejected = rm.score_pairs(pairs)
    return ((r_chosen > r_rejected).float() + 0.5 * (r_chosen == r_rejected).float()).tolist()


def count(pairs, right_, key=None):
    """{value of `key`: [right, rows]}, or [right, rows] over all."""
    if key is None:
        return [sum(right_), len(right_)]
    values = sorted({getattr(pair, key) for pair in pairs})
    return {str(v): count([], [r for p, r in zip(pairs, right_) if getattr(p, key) == v]) for v in values}


def both_right(pairs, right_):
    """[mirror sets with both rows right, mirror sets]."""
    sets = {}
    for pair, r in zip(pairs, right_):
        if pair.kind == "mirror":
            sets.setdefault(pair.group, []).append(r)
    return [sum(min(rows) == 1 for rows in sets.values()), len(sets)]


def judged(rm, pairs):
    """All that the datasheet says of one reward model on one split."""
    right_ = verdicts(rm, pairs)
    keys = ("kind", "axis", "difficulty", "slice")
    return {"all": count(pairs, right_), "both_right": both_right(pairs, right_)} | {
        key: count(pairs, right_, key) for key in keys
    }


def seed(number):
    rm, seconds = trained(load_preferences(), int(number))
    r_chosen, r_rejected = rm.score_pairs(load_preferences(split="test"))
    return {
        "seconds": seconds,
        "loss": bradley_terry_loss(r_chosen, r_rejected).item(),
        "test": judged(rm, load_preferences(split="test")),
        "test, prompt blanked": judged(rm, blind(load_preferences(split="test"))),
        "ood": judged(rm, load_preferences(split="ood")),
        "contrast": judged(rm, load_preferences(split="contrast")),
        "rank4": judged(rm, load_preferences(split="rank4")),
        "pandalm": pandalm(rm),
    }


def pandalm(rm):
    """[right, pairs] where the chosen answer is longer, shorter, or as long in tokens. People's labels, all 894."""
    if not PANDALM.is_dir():
        print(f"{PANDALM}: not here, so transfer is not measured")
        return None
    lines = [line for name in ("train", "heldout") for line in (PANDALM / f"{name}.jsonl").read_text().splitlines()]
    pairs = [PreferencePair(**json.loads(line), id=str(i)) for i, line in enumerate(lines)]
    lengths = [[len(answer.ids) for answer in both] for both in encode_pairs(rm.tokenizer, pairs, 10**6)]
    right_, signs = verdicts(rm, pairs), [(c > r) - (c < r) for c, r in lengths]
    names = {1: "longer", -1: "shorter", 0: "same"}
    return {name: count([], [r for r, s in zip(right_, signs) if s == sign]) for sign, name in names.items()}


def size(rows):
    """Held-out accuracy after training on the first `rows` rows, for each seed."""
    test = load_preferences(split="test")
    models = [trained(load_preferences(size=int(rows)), seed)[0] for seed in SEEDS]
    return [count(test, verdicts(rm, test)) for rm in models]


def trained_blind():
    """Training and judging without the prompt."""
    rm, _ = trained(blind(load_preferences()), seed=0)
    test = blind(load_preferences(split="test"))
    return {"all": count(test, verdicts(rm, test)), "kind": count(test, verdicts(rm, test), "kind")}


def pilot():
    """The first 200 rows, 4-fold by set, three seeds: [right, rows] of all, and of the mirror rows."""
    pairs = load_preferences(size=200)
    result = {"top 8 layers": [], "head only": []}
    features = pooled(pairs)
    for s in SEEDS:
        for name, rows in result.items():
            right_ = {}
            for fold in range(4):
                train, held = ([p for p in pairs if (fold_of(p) == fold) is out] for out in (False, True))
                if name == "head only":
                    judge = fit_head(torch.stack([features[p.id] for p in train]), s)
                    verdict = [float(features[p.id] @ judge > 0) for p in held]
                else:
                    verdict = verdicts(trained(train, s)[0], held)
                right_ |= {p.id: r for p, r in zip(held, verdict)}
            in_order = [right_[p.id] for p in pairs]
            rows.append({"all": count(pairs, in_order), "kind": count(pairs, in_order, "kind")})
            print(name, rows[-1], flush=True)
    return result


def pooled(pairs):
    """What the head reads, chosen minus rejected, of the untrained 16 layers: {id: (H,)}."""
    features = pooled_features(RewardModel.from_sft(*load_sft(layers=16)), pairs)
    return {pair.id: both[0] - both[1] for pair, both in zip(pairs, features)}


def fit_head(differences, seed, steps=300, l2=1e-3):
    """One weight vector by Bradley-Terry on frozen features (N, H), started from the seed; the fit is convex."""
    scale = differences.pow(2).mean().sqrt()
    w = (0.01 * torch.randn(differences.shape[1], generator=torch.Generator().manual_seed(seed))).requires_grad_()
    optimizer = torch.optim.AdamW([w], lr=0.01, weight_decay=0.0)
    for _ in range(steps):
        loss = bradley_terry_loss(differences / scale @ w, torch.zeros(len(differences))) + l2 * w.pow(2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return w.detach()


def head_only():
    """Only the head learns, on frozen features of the 16 layers."""
    train, test = load_preferences(), load_preferences(split="test")
    features = pooled(train + test)
    judge = fit_head(torch.stack([features[p.id] for p in train]), seed=0)
    right_ = [float(features[p.id] @ judge > 0) for p in test]
    return {"all": count(test, right_), "both_right": both_right(test, right_), "kind": count(test, right_, "kind")}


def language_model():
    """Does the untrained language model find the chosen answer likelier (log-probability a token)? Core rows."""
    model, tokenizer = load_sft()
    pairs, right_ = load_preferences(split="all"), []
    for both in encode_pairs(tokenizer, pairs, 1024):
        means = []
        for answer in both:
            ids = torch.tensor([answer.ids])  # (1, T)
            mask = torch.arange(ids.shape[1])[None] >= answer.start
            with torch.inference_mode():
                logits = model(ids).logits
            means.append(sequence_logprobs(logits, ids, mask).item() / mask.sum().item())
        right_.append(float(means[0] > means[1]))
    return {"all": count(pairs, right_), "kind": count(pairs, right_, "kind"), "axis": count(pairs, right_, "axis")}


def copied(n=8):
    """Runs of n words that our text shares with PandaLM (None where it is absent): [shared, all of ours]."""
    if not PANDALM.is_dir():
        return None
    theirs = [text for path in sorted(PANDALM.glob("*.jsonl")) for row in path.read_text().splitlines()
              for text in json.loads(row).values() if isinstance(text, str)]  # fmt: skip
    ours = [text for split in SPLITS for s in read_sets(split) for text in [*map(str, s["prompts"]), *s["answers"]]]
    runs = [{tuple(w[i : i + n]) for w in map(words, texts) for i in range(len(w) - n + 1)} for texts in (ours, theirs)]
    return [len(runs[0] & runs[1]), len(runs[0])]


def shortcuts():
    """Every shortcut baseline of the gates, by cross-validation over sets."""
    core = load_preferences(split="all")
    parts = {"edit rows": [p for p in core if p.kind == "edit"], "all core rows": core}
    return {
        part: {"the longer answer": count([], longer_is_chosen(pairs).tolist())}
        | {name: count([], right(pairs, feature).tolist()) for name, feature in SHORTCUTS.items()}
        for part, pairs in parts.items()
    }


TASKS = {
    "shortcuts": shortcuts, "copied": copied, "language_model": language_model, "seed 0": lambda: seed(0), "head_only": head_only,
    "seed 1": lambda: seed(1), "seed 2": lambda: seed(2), "pilot": pilot, "trained_blind": trained_blind,
    "size 400": lambda: size(400), "size 200": lambda: size(200),
}  # fmt: skip


if __name__ == "__main__":
    checksum = hashlib.sha256(b"".join((DATA / f"{s}.jsonl").read_bytes() for s in SPLITS)).hexdigest()
    recipe = {key: value for key, value in vars(TrainConfig()).items() if key not in MAY_CHANGE}
    known = json.loads(MEASUREMENTS.read_text()) if MEASUREMENTS.exists() else {}
    if (known.get("sha256"), known.get("recipe")) != (checksum, recipe):
        known = {"sha256": checksum, "recipe": recipe}  # other data or another recipe: nothing of the old holds
    for name in sys.argv[1:] or TASKS:
        if name not in known:
            known[name] = TASKS[name]()
            write_text(MEASUREMENTS, json.dumps(known, indent=1) + "\n")
        print(name, json.dumps(known[name])[:300], flush=True)
