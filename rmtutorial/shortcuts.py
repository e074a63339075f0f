"""How far does a judge get that understands nothing? By length, words, style, or overlap with the prompt, in any script.

A judge is a logistic regression on the difference of two feature vectors, without intercept: exchanging the answers
exchanges its verdict. It is tried on prompts that it was not fitted on.
"""

import re
import zlib
from dataclasses import dataclass

import numpy as np
import torch

from rmtutorial.intervals import wilson_interval

FOLDS = 5
BUCKETS = 4096  # for hashed n-grams
READ = 2000  # characters of a text
LONGER = "the longer answer"
FEWEST = 50  # units (prompts or groups); below that no judge can be fitted
STYLE = (r"[!！]", r"[?？]", r"\d", r"^\s*[-*•] ", r"^#", r"\*\*", r"^\s*\|", r"^\s*\d+[.)、] ", r"\n", r"[\"“”«»「」]",
         r"[,，、]", r"[:：]", r"[;；]", r"[^.!?。！？]\Z", r"\(", r"`", r"[\U0001F300-\U0001FAFF]", r"[A-ZА-Я]{2,}",
         r"https?://", r"\bI\b|我", r"(?i)\b(sorry|can't|cannot)\b|抱歉|对不起")  # fmt: skip


@dataclass
class Shortcut:
    """One judge: the share of pairs that it ranks right, a tie counts one half, with its 95 % interval by unit."""

    name: str
    accuracy: float
    low: float
    high: float


def shortcuts(pairs, units):
    """[Shortcut, ...] for PreferencePairs and the name of each one's unit; [] where there are too few units."""
    if len(set(units)) < FEWEST:
        return []
    folds = torch.tensor([zlib.crc32(unit.encode()) % FOLDS for unit in units])
    texts = [("\n".join(_texts(p.prompt))[-READ:], p.chosen[:READ], p.rejected[:READ]) for p in pairs]
    judges = {
        "length": _length,
        "words (2 to 4 characters)": _words,
        "style": _style,
        "overlap with the prompt": _overlap,
    }
    found = [_shortcut(LONGER, longer_wins(pairs), units)]
    for name, features in judges.items():
        X = np.stack([features(p, chosen) - features(p, rejected) for p, chosen, rejected in texts])  # (N, F)
        found.append(_shortcut(name, _right(torch.from_numpy(X), folds), units))
    return found


def _texts(prompt):
    return [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]


def _shortcut(name, verdict, units):
    accuracy = verdict.mean().item()
    return Shortcut(name, accuracy, *wilson_interval(accuracy, len(set(units))))


def longer_wins(pairs):
    """(N,): 1 where the chosen answer has more characters, 0.5 where both have as many."""
    gap = torch.tensor([len(p.chosen) - len(p.rejected) for p in pairs])
    return (gap > 0).float() + 0.5 * (gap == 0).float()


def _length(prompt, answer):
    n = len(answer)
    return np.array(
        [n / 200, np.log1p(n), answer.count("\n") / 5, len(re.findall(r"[.!?。！？]+", answer))], np.float32
    )


def _style(prompt, answer):
    return np.array([min(3, len(re.findall(mark, answer, re.MULTILINE))) for mark in STYLE], np.float32)


def _overlap(prompt, answer):
    """How many of the answer's pairs and fours of characters stand in the prompt, and their share."""
    found = []
    for n in (2, 4):
        asked, said = (
            {text[i : i + n] for i in range(len(text) - n + 1)} for text in (prompt.casefold(), answer.casefold())
        )
        found += [len(asked & said) / 50, len(asked & said) / max(1, len(said))]
    return np.array(found, np.float32)


def _words(prompt, answer):
    """Which n-grams of characters stand in the answer, hashed into BUCKETS. Needs no spaces between words."""
    codes = np.frombuffer(f" {answer.casefold()} ".encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    there = np.zeros(BUCKETS, np.float32)
    for n in (2, 3, 4):
        hashed = np.full(max(0, len(codes) - n + 1), n, np.uint64)
        for k in range(n):
            hashed = hashed * np.uint64(1_000_003) + codes[k : k + len(hashed)]
        there[(hashed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(52)] = 1  # the upper 12 bits
    return there


def _right(X, folds, l2=1e-2):
    """(N,): did the judge that was fitted on the other folds prefer the chosen answer? 1, 0, or 0.5."""
    if X.shape[1] < 100:  # counts of different size
        X = X / X.square().mean(0).sqrt().clamp(min=0.05)
    X = X / X.square().sum(1).mean().sqrt().clamp(min=1e-6)
    verdict = torch.full((len(X),), 0.5)
    for fold in range(FOLDS):
        fitted, tried = X[folds != fold], X[folds == fold]
        if len(fitted) and len(tried):
            score = tried @ _fit(fitted, l2)
            verdict[folds == fold] = (score > 1e-7).float() + 0.5 * (score.abs() <= 1e-7).float()
    return verdict


def _fit(X, l2):
    w = torch.zeros(X.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=30)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.softplus(-(X @ w)).mean() + l2 * w.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return w.detach()
