"""Run the rewardbench command on a local file, on a CPU, and compare its scores.

python with_rewardbench.py out/interop/default.json out/interop/pairs.json
"""

import json
import runpy
import sys
from pathlib import Path
from unittest import mock

from transformers import BatchEncoding


def main(expected_file, pairs):
    expected = json.loads(Path(expected_file).read_text(encoding="utf-8"))
    model = Path(expected["folder"])
    results = model.parent / f"rewardbench-{model.name}"
    arguments = ["rewardbench", f"--model={model}", f"--dataset={pairs}", "--load_json", "--not_quantized", "--torch_dtype=float32",
                 f"--output_dir={results}/", f"--batch_size={4 if expected['left'] else 1}"]  # fmt: skip  # it pads on the left
    for before in (*model.parent.glob(f"{model.name}_outputs.jsonl"), *results.rglob("*_outputs.jsonl")):
        before.unlink()
    # It calls .to("cuda") whatever the machine has.
    with (
        mock.patch.object(sys, "argv", arguments),
        mock.patch.object(BatchEncoding, "to", lambda inputs, device: inputs),
    ):
        runpy.run_module("rewardbench.rewardbench", run_name="__main__")
    # A model that begins with / is written to that place, not to the output folder.
    (scores,) = [*model.parent.glob(f"{model.name}_outputs.jsonl"), *results.rglob("*_outputs.jsonl")]
    rows = [json.loads(line) for line in scores.read_text(encoding="utf-8").splitlines()]
    flat = lambda value: value[0] if isinstance(value, list) else value  # noqa: E731
    found = [flat(row[name]) for row in rows for name in ("scores_chosen", "scores_rejected")]
    worst = max(abs(a - b) for a, b in zip(found, expected["rewards"]))
    accuracy = sum(row["results"] for row in rows) / len(rows)
    ours = [a > b for a, b in zip(expected["rewards"][0 : 2 * len(rows) : 2], expected["rewards"][1::2])]
    print(f"largest difference {worst:.1e}; accuracy {accuracy}, ours {sum(ours) / len(rows)}")
    sys.exit(worst > 1e-4 or accuracy != sum(ours) / len(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
