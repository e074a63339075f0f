"""Write the datasheet, README.md, from the data files and measurements.json: `python -m rmtutorial.data.datasheet`.

No figure in it is typed: counts come from the JSONL files, the slow measurements from `tests/bench/data_release.py`.
"""

import json
from collections import Counter
from statistics import mean, median

from rmtutorial.data.baselines import words
from rmtutorial.data.build import DATA, SIZES, SPLITS, read_sets
from rmtutorial.files import write_text
from rmtutorial.intervals import wilson_interval
from rmtutorial.preferences import load_preferences

MEASUREMENTS = DATA / "measurements.json"
SECOND_READING = DATA / "second_reading.json"
TEMPLATE = DATA / "datasheet_template.md"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def share(found):
    """'0.72 [0.65, 0.77] of 216': [right, rows, low, high] in words; without an interval where none was measured."""
    right, n, *ends = found
    interval = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
    return f"{right / n:.3f}{interval} of {n}"


def over_seeds(parts):
    """'mean 0.721 (0.70, 0.73, 0.73)' of several [right, rows, ...]."""
    accuracies = [part[0] / part[1] for part in parts]
    return f"{mean(accuracies):.3f} ({', '.join(f'{a:.3f}' for a in accuracies)})"


def composition():
    rows = []
    for split in SPLITS:
        pairs, sets = load_preferences(split=split), read_sets(split)
        kinds = Counter(pair.kind for pair in pairs)
        lengths = [median(len(words(text)) for text in texts) for texts in _texts(pairs)]
        rows.append([split, len(sets), len(pairs), kinds["mirror"], kinds["edit"], kinds["rank"], *map(int, lengths)])
    head = ["split", "sets", "rows", "of mirror sets", "edits", "of rankings"]
    return table([*head, "words in prompt", "chosen", "rejected (medians)"], rows)


def _texts(pairs):
    prompts = [p.prompt if isinstance(p.prompt, str) else " ".join(m["content"] for m in p.prompt) for p in pairs]
    return prompts, [p.chosen for p in pairs], [p.rejected for p in pairs]


def axes():
    core = {split: load_preferences(split=split) for split in ("train", "test")}
    rows = []
    for axis in sorted({pair.axis for pair in core["train"]}):
        train, test = ([p for p in pairs if p.axis == axis] for pairs in core.values())
        both = train + test
        levels = Counter(p.difficulty for p in both)
        mirror = sum(p.kind == "mirror" for p in both)
        rows.append([axis, len(train), len(test), mirror, levels[1], levels[2], levels[3]])
    return table(["axis", "train", "test", "of mirror sets", "difficulty 1", "2", "3"], rows)


def second_reading():
    verdicts = json.loads(SECOND_READING.read_text())
    rows = [[split, sum(v.values()), v.get("agree", 0), v.get("tie", 0)] for split, v in verdicts["verdicts"].items()]
    audit = verdicts["audit"]
    rows.append(["train and test, audit", audit["verdicts"], audit["agree"], audit["tie"]])
    return table(["split", "verdicts", "agree", "tie"], rows)


def audit(verdicts):
    """What no disagreement in n independent rows says: the share of wrong labels is below this, at 95 %."""
    a = verdicts["audit"]
    low, high = wilson_interval(1 - a["agree"] / a["verdicts"], a["rows"])
    return f"{a['what']} They agreed with {a['agree']} of {a['verdicts']} labels; the 95 % interval of the share of rows that such a reader would judge otherwise is {low:.3f} to {high:.3f}."


def shortcuts(m):
    if "shortcuts" not in m:
        return "Not measured for this version."
    edit, core = m["shortcuts"]["edit rows"], m["shortcuts"]["all core rows"]
    return table(
        ["judge", "edit rows", "all core rows"], [[name, share(edit[name]), share(core[name])] for name in edit]
    )


def copied(m):
    if not m.get("copied"):
        return "Not measured for this version."
    shared, runs = m["copied"]
    return f"Of {runs:,} runs of eight words in this text, {shared} also stand in PandaLM (a stock phrase of polite letters). Other public sets were not compared."


def epoch_seconds(m):
    seconds = [m[name]["seconds"] / m["recipe"]["epochs"] for name in sorted(m) if name.startswith("seed ")]
    return f"{min(seconds):.0f} to {max(seconds):.0f}" if seconds else "not measured"


def language_model(m):
    if "language_model" not in m:
        return "Not measured for this version."
    kinds = m["language_model"]["kind"]
    rows = [["all", share(m["language_model"]["all"])], *([kind, share(kinds[kind])] for kind in kinds)]
    return table(["core rows", "the chosen answer is likelier, per token"], rows)


def training(m):
    seeds = [m[name] for name in sorted(m) if name.startswith("seed ")]
    if not seeds:
        return "Not measured for this version."
    test = [s["test"] for s in seeds]
    rows = [
        ["test, all rows", over_seeds([t["all"] for t in test]), share(test[0]["all"])],
        ["test, both rows of a mirror set", over_seeds([t["both_right"] for t in test]), share(test[0]["both_right"])],
    ]
    for key, names in (("kind", ("mirror", "edit")), ("difficulty", "123"), ("axis", sorted(test[0]["axis"]))):
        for name in names:
            parts = [t[key][name] for t in test]
            rows.append([f"test, {key} {name}", over_seeds(parts), share(parts[0])])
    for split in ("test, prompt blanked", "ood", "contrast", "rank4"):
        parts = [s[split]["all"] for s in seeds]
        rows.append([split, over_seeds(parts), share(parts[0])])
    for name in sorted(seeds[0]["contrast"]["slice"]):
        parts = [s["contrast"]["slice"][name] for s in seeds]
        rows.append([f"contrast, {name}", over_seeds(parts), share(parts[0])])
    rows += [[f"test, {extra}", *cells] for extra, cells in _other_training(m)]
    return table(["rows", f"mean of {len(seeds)} seeds (each)", "first seed, with interval"], rows)


def _other_training(m):
    for size in SIZES[:-1]:
        if f"size {size}" in m:
            parts = m[f"size {size}"]
            yield f"trained on the first {size} rows", (over_seeds(parts), share(parts[0]))
    if "head_only" in m:
        yield "only the head, on frozen features", ("", share(m["head_only"]["all"]))
    if "trained_blind" in m:
        yield "trained and judged without the prompt", ("", share(m["trained_blind"]["all"]))


def pilot(m):
    if "pilot" not in m:
        return "Not measured for this version."
    rows = []
    for name, runs in m["pilot"].items():
        mirror = [run["kind"]["mirror"] for run in runs]
        rows.append([name, over_seeds([run["all"] for run in runs]), over_seeds(mirror), share(mirror[0])])
    return table(["what learns", "all rows: mean (each seed)", "mirror rows", "mirror rows, first seed"], rows)


def transfer(m):
    seeds = [m[name]["pandalm"] for name in sorted(m) if name.startswith("seed ") and m[name]["pandalm"]]
    if not seeds:
        return "Not measured for this version."
    rows = []
    for number, parts in enumerate(seeds):
        longer, shorter = (parts[k][0] / parts[k][1] for k in ("longer", "shorter"))
        rows.append([number, share(parts["longer"]), share(parts["shorter"]), f"{(longer + shorter) / 2:.3f}",
                     share(parts["all"]), share(parts["the longer answer"])])  # fmt: skip
    head = ["seed", "the chosen is longer", "the chosen is shorter", "mean of the two", "all", "the longer answer wins"]
    return table(head, rows)


def render():
    """The text of README.md."""
    m = json.loads(MEASUREMENTS.read_text(encoding="utf-8")) if MEASUREMENTS.exists() else {}
    parts = {
        "composition": composition(), "axes": axes(), "second_reading": second_reading(), "audit": audit(json.loads(SECOND_READING.read_text())), "shortcuts": shortcuts(m),
        "language_model": language_model(m), "copied": copied(m), "epoch_seconds": epoch_seconds(m), "training": training(m), "pilot": pilot(m), "transfer": transfer(m),
        "recipe": json.dumps(m.get("recipe", {})), "sha256": m.get("sha256", "not measured"),
    }  # fmt: skip
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


if __name__ == "__main__":
    write_text(DATA / "README.md", render())
    print(f"{DATA / 'README.md'}: written")
