"""One pool of sampled answers and what many judges say of it. Recorded for notebook 05: about an hour on 2 cores.

    python tests/bench/pool.py [STEP ...]       (default: all of STEPS, in order; what is done already is kept)

reward    the reward model of notebook 03, by the same recipe and seed (out/reward_model, if it is there)
sample    24 held-out prompts, 256 answers of at most 24 tokens to each, by the untrained language model
gold      another reward model of the same make, trained on every bundled row (the prompts of the pool among them)
panda     a judge of another make: all 30 layers, mean pooling, a head fitted on human labels (PandaLM's,
          in ../shared/data/pandalm: not part of the project; the step is left out where they are absent)
score     all of them on all answers, and small proxies: heads on states of layer 16 or 4, fitted on a few gold-labelled pairs

The results go to rmtutorial/data/recorded: pool.json (prompts, texts, what was done) and pool.safetensors (scores).
"""

import datetime
import json
import sys
from pathlib import Path

import torch
from pandalm import read
from safetensors.torch import load_file, save_file

from rmtutorial.backbones import load_sft
from rmtutorial.best_of_n import text_labels
from rmtutorial.evaluation import evaluate
from rmtutorial.features import pooled_features
from rmtutorial.lesson import recorded, session
from rmtutorial.preferences import load_preferences
from rmtutorial.probe import fit_head, set_head
from rmtutorial.reward_model import RewardModel
from rmtutorial.sampling import sample
from rmtutorial.training import TrainConfig, train_reward_model

ROOT = Path(__file__).parents[2]
AT = ROOT / "out" / "bench" / "pool"
PANDALM = ROOT.parent / "shared" / "data" / "pandalm"
PROMPTS, ANSWERS, NEW_TOKENS, TEXTS, TOGETHER = 24, 256, 24, 64, 16
SIZES, SEEDS = (25, 100, 400), 8  # gold-labelled pairs of a small proxy; its subsets


def prompts():
    """Every so many of the distinct prompts of the held-out rows; those of several turns are left out."""
    distinct = list(dict.fromkeys(p.prompt for p in recorded.judged_rows() if isinstance(p.prompt, str)))
    return distinct[:: len(distinct) // PROMPTS][:PROMPTS]


def reward():
    folder = ROOT / "out" / "reward_model"
    if not (folder / "config.json").is_file():
        rm = RewardModel.from_sft(*load_sft(layers=16))
        train_reward_model(rm, load_preferences(), TrainConfig(seed=3))
        rm.save_pretrained(folder)
    return RewardModel.from_pretrained(folder)


def sampled():
    """{name: tensor} of ids (P, N, L), lengths (P, N) and log-probabilities (P, N, L)."""
    lm, tokenizer = load_sft()
    AT.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, prompt in enumerate(prompts()):
        path = AT / f"prompt_{number}.safetensors"
        if not path.is_file():
            found = sample(lm, tokenizer, [prompt], ANSWERS, NEW_TOKENS, seed=number)
            save_file({"ids": found.ids, "lengths": found.lengths, "logprobs": found.logprobs}, path)
            print(number, prompt[:60], found.lengths.float().mean().item(), flush=True)
        parts.append(load_file(path))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def gold():
    folder = AT / "gold"
    if not (folder / "config.json").is_file():
        rm = RewardModel.from_sft(*load_sft(layers=16))
        rows = [pair for split in ("train", "test", "ood", "rank4") for pair in load_preferences(split=split)]
        train_reward_model(rm, rows, TrainConfig(seed=0))
        rm.save_pretrained(folder)
    return RewardModel.from_pretrained(folder)


def panda():
    """A head on human labels; None where they are absent."""
    if not PANDALM.is_dir():
        return None
    rm = RewardModel.from_sft(*load_sft(), layers=None, pooling="mean")
    path = AT / "panda.safetensors"
    if not path.is_file():
        w, _ = fit_head(pooled_features(rm, read(PANDALM / "train.jsonl")), TrainConfig.head_ridge)
        save_file({"w": w}, path)
    set_head(rm, load_file(path)["w"])
    return rm


def texts():
    """(P, N) texts of the pool."""
    _, tokenizer = load_sft()
    found = sampled()
    return [
        [tokenizer.decode(row[:n], skip_special_tokens=True).strip() for row, n in zip(rows, lengths.tolist())]
        for rows, lengths in zip(found["ids"], found["lengths"])
    ]


def on_pool(name, rm, function="score_encoded"):
    """Scores (P, N), or pooled states (P, N, H), of the pool's texts; kept under `name`."""
    path = AT / f"{name}.safetensors"
    if not path.is_file():
        rows = [(p, some[i : i + TOGETHER]) for p, some in zip(prompts(), texts()) for i in range(0, ANSWERS, TOGETHER)]
        values = getattr(rm, function)(rm.encode_rows(rows))  # (P N / TOGETHER, TOGETHER[, H])
        save_file({"values": values.reshape(PROMPTS, ANSWERS, *values.shape[2:]).contiguous()}, path)
        print(name, "done", flush=True)
    return load_file(path)["values"]


def proxies(layers):
    """{size: (SEEDS, P, N)}: heads fitted on the first layers' states of a few training pairs that gold has labelled."""
    rm, pairs = RewardModel.from_sft(*load_sft(layers=16), layers=layers), load_preferences()
    path = AT / f"train_{layers}.safetensors"
    if not path.is_file():
        save_file({"features": pooled_features(rm, pairs)}, path)
    features, states = load_file(path)["features"], on_pool(f"states_{layers}", rm, "pooled_encoded")
    path = AT / "gold_of_train.safetensors"
    if not path.is_file():
        judge = gold()
        save_file({"rewards": judge.score_encoded(judge.encode_pairs(pairs))}, path)
    rewards = load_file(path)["rewards"]  # (n, 2)
    wrong = rewards[:, 1] > rewards[:, 0]
    features = torch.where(wrong[:, None, None], features.flip(1), features)  # the answer that gold prefers first
    found = {}
    for size in SIZES:
        for seed in range(SEEDS):
            some = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:size]
            w, _ = fit_head(features[some], TrainConfig.head_ridge)
            found.setdefault(size, []).append(states @ w)
    return {size: torch.stack(scores) for size, scores in found.items()}


def score():
    pool, words = sampled(), texts()
    judges = {"reward": on_pool("reward", reward()), "gold": on_pool("gold", gold())}
    about = {"recorded": datetime.date.today().isoformat(), "prompts": prompts(), "new tokens": NEW_TOKENS}
    about["texts"] = [some[:TEXTS] for some in words]
    about["accuracy"] = {
        name: evaluate(rm(), recorded.judged_rows()).accuracy for name, rm in (("reward", reward), ("gold", gold))
    }
    if (human := panda()) is not None:
        judges["panda"] = on_pool("panda_scores", human)
        about["accuracy"]["panda, of its own held-out rows"] = evaluate(human, read(PANDALM / "heldout.jsonl")).accuracy
        about["accuracy"]["panda"] = evaluate(human, recorded.judged_rows()).accuracy
    judges |= {"logprob": pool["logprobs"].sum(-1), "length": pool["lengths"].float()}
    small = {f"head_{layers}_{size}": s for layers in (16, 4) for size, s in proxies(layers).items()}
    save_file(
        {**{name: values.float().contiguous() for name, values in judges.items()}, "text": text_labels(words).int(),
         **{name: values[..., : ANSWERS].half().contiguous() for name, values in small.items()}},
        recorded.FOLDER / "pool.safetensors",
    )  # fmt: skip
    (recorded.FOLDER / "pool.json").write_text(json.dumps(about, ensure_ascii=False) + "\n", encoding="utf-8")


STEPS = {"reward": reward, "sample": sampled, "gold": gold, "panda": panda, "score": score}

if __name__ == "__main__":
    session.start()
    for name in sys.argv[1:] or STEPS:
        STEPS[name]()
        print(f"{name}: done", flush=True)
