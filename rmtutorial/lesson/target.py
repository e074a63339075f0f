"""A target that a machine can check, so that one sees DPO do something: one short sentence, and an end.

The prompts are the bundled ones with an instruction behind them. Recorded by tests/bench/dpo_target.py.
Letters: S seeds, P prompts, G answers to each.
"""

import json

import torch

from rmtutorial.best_of_n import best_of_n
from rmtutorial.data.checks import verify
from rmtutorial.intervals import accuracy_interval
from rmtutorial.lesson.dpo_runs import or_missing
from rmtutorial.preferences import BUNDLED

INSTRUCTION = "Answer in one sentence of at most 15 words."
CHECK = "sentences:1 & max_words:15"  # of rmtutorial.data.checks
NEW_TOKENS = 24  # at most; who has not ended by then has not passed


def prompts(*splits):
    """The distinct prompts of one turn of these splits, the instruction behind each.

    Rows whose own prompt asks for a form that a machine checks (`verify`) are left out: two orders could contradict.
    """
    found = {}
    for split in splits:
        for line in (BUNDLED / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if not row["verify"] and len(row["prompt"]) == 1:
                found[f"{row['prompt'][0]['content']}\n\n{INSTRUCTION}"] = None
    return list(found)


def passed(samples, tokenizer):
    """Which answers are finished and meet CHECK: (P, G) bool of `sampling.Samples`."""
    ok = [[verify(CHECK, text) for text in group] for group in samples.texts(tokenizer)]
    return torch.tensor(ok) & samples.finished


def own_pairs(samples, ok):
    """Of every prompt with both, an answer that passed and one that did not: ([(p, winner, loser)], encoded pairs).

    The tokens are those that were written: an answer that was cut has no end mark, and none is added.
    """
    chosen = [
        (p, int(row.long().argmax()), int(row.long().argmin())) for p, row in enumerate(ok) if 0 < row.sum() < len(row)
    ]
    encoded = samples.encoded
    return chosen, [[encoded[p][win], encoded[p][lose]] for p, win, lose in chosen]


def pass_rate(ok):
    """(rate, low, high) of (P, G), 95 % by a bootstrap over prompts: the answers to one prompt are alike."""
    of = ok.double().mean(dim=1)  # (P,)
    return (of.mean().item(), *accuracy_interval(of, range(len(of))))


def recorded_passes(n=4):
    """{label: pass rates by prompt (P,)}: as it is, after DPO (mean over seeds), and as the best of n by a reward model."""
    found = or_missing("dpo target", "dpo_target")
    before = torch.tensor(found["passed"]).double()  # (P, G)
    after = torch.tensor([run["dpo"]["passed"] for run in found["runs"]]).double()  # (S, P, G)
    told = [best_of_n(torch.tensor(run["rm"]["scores"]), before, [n])[:, 0] for run in found["runs"]]  # S of (P,)
    return {
        "as it is": before.mean(dim=1),
        "DPO on own answers": after.mean(dim=(0, 2)),
        f"best of {n}, RM of the same pairs": torch.stack(told).mean(dim=0),
        f"best of {n}, RM of notebook 03": best_of_n(torch.tensor(found["reward"]), before, [n])[:, 0],
    }
