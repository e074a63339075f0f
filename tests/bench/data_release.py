"""The slow measurements of the bundled preferences, for their datasheet: about an hour on 2 cores.

    python tests/bench/data_release.py [TASK ...]

judges reward models trained with the default recipe (three seeds, those of tests/bench/two_phases.py if it has run;
smaller sets; without the prompt) and asks the untrained language model. What is done is kept in
rmtutorial/data/measurements.json; a task whose result is there, for the same data and recipe, is not run again; what
does not depend on the recipe is kept. Shares stand with their 95 % interval by set. `make data` writes the datasheet.
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
from rmtutorial.history import History
from rmtutorial.intervals import accuracy_interval, units, wilson_interval
from rmtutorial.lesson import recorded
from rmtutorial.losses import bradley_terry_loss, sequence_logprobs
from rmtutorial.preferences import PreferencePair, load_preferences
from rmtutorial.probe import fit_head
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import TrainConfig, train_reward_model

PANDALM = Path(__file__).parents[3] / "shared" / "data" / "pandalm"  # beside the project, not part of it
SEEDS = (0, 1, 2)
MODELS = Path(__file__).parents[2] / "out" / "bench"
BLANK = "\n"  # the prompt that a blind judge sees


def blind(pairs):
    return [replace(pair, prompt=BLANK) for pair in pairs]


def trained(pairs, seed):
    """(reward model, seconds of its training); a model of all pairs that two_phases.py has kept is not trained again."""
    kept = MODELS / f"seed {seed}"
    if len(pairs) == len(load_preferences()) and pairs[0].prompt != BLANK and (kept / "history.json").is_file():
        return RewardModel.from_pretrained(kept), History.load(kept / "history.json").steps[-1]["seconds"]
    rm = RewardModel.from_sft(*load_sft(layers=16))
    history = train_reward_model(rm, pairs, TrainConfig(seed=seed))
    return rm, history.steps[-1]["seconds"]


def verdicts(rm, pairs):
    """1 for every pair ranked right, 0 for wrong, 0.5 for a tie."""
    r_chosen, r_rejected = rm.score_pairs(pairs)
    return ((r_chosen > r_rejected).float() + 0.5 * (r_chosen == r_rejected).float()).tolist()


def count(pairs, right_, key=None):
    """{value of `key`: [right, rows, low, high]}, or that list over all; the interval is by set."""
    if key is None:
        return [sum(right_), len(right_), *(round(end, 4) for end in accuracy_interval(right_, units(pairs)))]
    found = {}
    for value in sorted({getattr(pair, key) for pair in pairs}):
        rows = [i for i, pair in enumerate(pairs) if getattr(pair, key) == value]
        found[str(value)] = count([pairs[i] for i in rows], [right_[i] for i in rows])
    return found


def both_right(pairs, right_):
    """[mirror sets with both rows right, mirror sets, low, high]; each set counts once."""
    sets = {}
    for pair, r in zip(pairs, right_):
        if pair.kind == "mirror":
            sets.setdefault(pair.group, []).append(r)
    right = sum(min(rows) == 1 for rows in sets.values())
    return [right, len(sets), *(round(end, 4) for end in wilson_interval(right / max(1, len(sets)), max(1, len(sets))))]


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
    """All 894 of PandaLM (people's labels), and where the chosen answer is longer, shorter, or as long in tokens."""
    if not PANDALM.is_dir():
        print(f"{PANDALM}: not here, so transfer is not measured")
        return None
    lines = [line for name in ("train", "heldout") for line in (PANDALM / f"{name}.jsonl").read_text().splitlines()]
    pairs = [PreferencePair(**json.loads(line), id=str(i)) for i, line in enumerate(lines)]
    lengths = [[len(answer.ids) for answer in both] for both in encode_pairs(rm.tokenizer, pairs, 10**6)]
    right_, signs = verdicts(rm, pairs), [(c > r) - (c < r) for c, r in lengths]
    found = {"all": count(pairs, right_), "the longer answer": count(pairs, [(s + 1) / 2 for s in signs])}
    for sign, name in {1: "longer", -1: "shorter", 0: "same"}.items():
        rows = [i for i, s in enumerate(signs) if s == sign]
        found[name] = count([pairs[i] for i in rows], [right_[i] for i in rows])
    return found


def size(rows):
    """Held-out accuracy after training on the first `rows` rows, for each seed, as two_phases.py has recorded it."""
    test = load_preferences(split="test")
    runs = [recorded.load(f"{rows} rows, seed {seed}") for seed in SEEDS]
    if None in runs:
        sys.exit("tests/bench/two_phases.py first: it trains on the smaller sizes")
    return [count(test, [float(c > r) for c, r in run["rewards"][: len(test)]]) for run in runs]


def trained_blind():
    """Training and judging without the prompt."""
    rm, _ = trained(blind(load_preferences()), seed=0)
    test = blind(load_preferences(split="test"))
    return {"all": count(test, verdicts(rm, test)), "kind": count(test, verdicts(rm, test), "kind")}


def head_only():
    """Only the head learns, to its optimum, on frozen features of the 16 layers."""
    train, test = load_preferences(), load_preferences(split="test")
    rm = RewardModel.from_sft(*load_sft(layers=16))
    w, _ = fit_head(pooled_features(rm, train), TrainConfig.head_ridge)
    features = pooled_features(rm, test)
    right_ = ((features[:, 0] - features[:, 1]) @ w > 0).float().tolist()
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
        part: {"the longer answer": count(pairs, longer_is_chosen(pairs).tolist())}
        | {name: count(pairs, right(pairs, feature).tolist()) for name, feature in SHORTCUTS.items()}
        for part, pairs in parts.items()
    }


TASKS = {
    "shortcuts": shortcuts, "copied": copied, "language_model": language_model, "seed 0": lambda: seed(0), "head_only": head_only,
    "seed 1": lambda: seed(1), "seed 2": lambda: seed(2), "trained_blind": trained_blind,
    "size 400": lambda: size(400), "size 200": lambda: size(200),
}  # fmt: skip


if __name__ == "__main__":
    checksum = hashlib.sha256(b"".join((DATA / f"{s}.jsonl").read_bytes() for s in SPLITS)).hexdigest()
    recipe = {key: value for key, value in vars(TrainConfig()).items() if key not in MAY_CHANGE}
    known = json.loads(MEASUREMENTS.read_text()) if MEASUREMENTS.exists() else {}
    if known.get("sha256") != checksum:
        known = {}  # other data: nothing of the old holds
    if known.get("recipe") != recipe:
        known = {name: known[name] for name in ("shortcuts", "copied", "language_model", "pilot") if name in known}
    known |= {"sha256": checksum, "recipe": recipe}
    for name in sys.argv[1:] or TASKS:
        if name not in known:
            known[name] = TASKS[name]()
            write_text(MEASUREMENTS, json.dumps(known, indent=1) + "\n")
        print(name, json.dumps(known[name])[:300], flush=True)
