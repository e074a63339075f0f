"""Recorded runs of notebook 04: reward models and DPO at equal depth, the family, beta.

Made by tests/bench/dpo_runs.py. Letters: S seeds, n judged rows, P held-out prompts. Means are over seeds first, row by row; an interval is 95 %, over sets of rows or over prompts.
"""

import torch

from rmtutorial.intervals import grouped_interval, units
from rmtutorial.lesson import recorded
from rmtutorial.lesson.family import BETA, FAMILY
from rmtutorial.preferences import load_preferences

SEEDS = (0, 1, 2)
BETAS = {0.03: "beta 0.03", BETA: "DPO", 0.3: "beta 0.3", 1.0: "beta 1.0"}  # beta -> how its runs are called


def live_rows(train=240, every=4):
    """The rows of the small run that a reader watches: the first of `train`, and every fourth of those judged."""
    return load_preferences(size=train), recorded.judged_rows()[::every]


def runs(name):
    """The recorded runs of "RM 30", "RM 16", a loss of FAMILY or "beta 0.03" ..., one a seed, as dicts.

    Raises: FileNotFoundError, with the command that records them, where one is missing.
    """
    names = [f"pairs {name.replace('+', 'and')} seed {seed}" for seed in SEEDS]
    found = [recorded.load(one) for one in names]
    if None in found:
        raise FileNotFoundError(f"{names[found.index(None)]!r} is not recorded: python tests/bench/dpo_runs.py")
    return found


def values(name):
    """(S, n, 2): rewards of a reward model (logits), implicit rewards of a policy by its beta (logits), chosen first."""
    beta = next((b for b, known in BETAS.items() if known == name), BETA)
    return torch.stack(
        [torch.tensor(run["rewards"]) if "rewards" in run else beta * torch.tensor(run["change"]) for run in runs(name)]
    )


def changes(name):
    """(S, n, 2): change of log pi of both answers, nats."""
    return torch.stack([torch.tensor(run["change"]) for run in runs(name)])


def reports(name):
    """A PairReport a seed, of the judged rows."""
    return [recorded.report(rewards.tolist()) for rewards in values(name)]


def paired(a, b, what="losses", some=None):
    """(gain, low, high) of one kind of run over another, row by row, each first averaged over its seeds.

    Args: a, b, names; what, "losses" (nats, lower is a gain) or "right" (accuracy); some, indices of rows, or all.
    """
    sign = -1 if what == "losses" else 1
    mean = {name: torch.stack([getattr(report, what) for report in reports(name)]).mean(dim=0) for name in (a, b)}
    return interval_by_set(sign * (mean[a] - mean[b]), some)


def interval_by_set(of_rows, some=None):
    """(mean, low, high) of a number for each judged row, or for some of them."""
    unit = units(recorded.judged_rows())
    some = range(len(unit)) if some is None else [int(i) for i in some]
    chosen = of_rows[list(some)]
    return (chosen.double().mean().item(), *grouped_interval(chosen, [unit[i] for i in some]))


def by_prompt(of_prompts):
    """(mean, low, high) of a number for each prompt (P,)."""
    return (of_prompts.double().mean().item(), *grouped_interval(of_prompts, range(len(of_prompts))))


def depth_table(groups):
    """Accuracy and loss of reward models of 16 and 30 layers and of DPO with 30, on all rows and on groups of them.

    Args: groups, {name: indices of judged rows}. Returns: a pandas table, a row a model.
    """
    import pandas

    rows = {}
    for name in ("RM 16", "RM 30", "DPO"):
        right, losses = (
            torch.stack([getattr(r, what) for r in reports(name)]) for what in ("right", "losses")
        )  # (S, n)
        rows[name] = {"accuracy": right.mean().item()}
        rows[name] |= dict(zip(("low", "high"), interval_by_set(right.mean(dim=0))[1:]))
        rows[name] |= {group: right[:, some].mean().item() for group, some in groups.items()}
        rows[name] |= {
            "loss": losses.mean().item(),
            "of seeds": ", ".join(f"{loss:.2f}" for loss in losses.mean(dim=1)),
        }
    return pandas.DataFrame.from_dict(rows, orient="index")


def writing_table():
    """Nats a token of what the untrained model wrote, through the LM head, before and after training: a pandas table."""
    import pandas

    base, rows = torch.tensor(untrained()["nats"]), {}
    for name in ("RM 16", "RM 30", "DPO"):
        found = runs(name)
        before = torch.tensor(found[0].get("nats untrained", base.tolist()))
        after = torch.tensor([run["nats"] for run in found]).mean(dim=0)  # (P,)
        change, low, high = by_prompt(after - before)
        rows[name] = {
            "before": before.mean().item(),
            "after": after.mean().item(),
            "change": change,
            "low": low,
            "high": high,
        }
    return pandas.DataFrame.from_dict(rows, orient="index")


def family_table():
    """Each loss: mean change of log pi of both answers and pairs ranked right by it, with intervals by set.

    SimPO ranks by log pi a token, IPO and the others by the log-ratio.
    """
    import pandas

    rows = {}
    for name in FAMILY:
        change = changes(name)
        ranked = _own_reward(name, change)
        of = {"chosen": change[..., 0], "rejected": change[..., 1], "right": (ranked[..., 0] > ranked[..., 1]).double()}
        rows[name] = {
            key + end: number
            for key, value in of.items()
            for end, number in zip(("", " low", " high"), interval_by_set(value.mean(dim=0)))
        }
        rows[name]["KL"] = torch.tensor([run["kl"] for run in runs(name)]).mean().item()
    return pandas.DataFrame.from_dict(rows, orient="index")


def _own_reward(name, change):
    if name != "SimPO":
        return change
    before = untrained()
    return (change + torch.tensor(before["logprobs"])) / torch.tensor(before["tokens"])


def beta_table():
    """Each beta: drift (KL of own answers, nats), change of log pi of the chosen answers, accuracy, with intervals."""
    import pandas

    rows = {}
    for beta, name in BETAS.items():
        drift = torch.tensor([run["kl"] for run in runs(name)])  # (S, P)
        right = torch.stack([report.right for report in reports(name)]).mean(dim=0)
        parts = {"KL": by_prompt(drift.mean(dim=0)), "right": interval_by_set(right), "chosen": interval_by_set(changes(name).mean(dim=0)[:, 0])}  # fmt: skip
        rows[beta] = {key + end: x for key, part in parts.items() for end, x in zip(("", " low", " high"), part)}
        rows[beta]["KL of seeds"] = ", ".join(f"{kl:.2f}" for kl in drift.mean(dim=1))
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("beta")


def untrained():
    """log pi of the judged rows (n, 2), their tokens, nats of own answers, before any training."""
    return or_missing("pairs untrained", "dpo_runs")


def cost_table():
    """Forwards and seconds a pair, and what one batch keeps in memory (MiB): a column a model, as it was recorded."""
    import pandas

    found, columns = or_missing("pairs cost", "dpo_runs"), {}
    for name, model in found["models"].items():
        memory = {f"{what} (MiB)": mib for what, mib in model["memory"].items()}
        first = model["forwards"] + (2 if model["memory"]["reference"] else 0)  # the reference is asked once
        forwards = {"forwards a pair": model["forwards"], "in the first epoch": first}
        columns[name] = {**forwards, "seconds a pair": model["seconds"], **memory}
    return pandas.DataFrame(columns).rename_axis(f"recorded {found['recorded']}", axis="columns")


def or_missing(name, script):
    """A record, or a FileNotFoundError with the command that makes it."""
    found = recorded.load(name)
    if found is None:
        raise FileNotFoundError(f"{name!r} is not recorded: python tests/bench/{script}.py")
    return found
