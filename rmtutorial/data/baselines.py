"""Shortcuts: how far a judge gets that sees no meaning. Each is a vector of features of an answer.

A judge is a logistic regression on the difference of the two feature vectors, without intercept, so exchanging
the answers exchanges its verdict. Accuracy is by cross-validation over sets: both rows of a mirror set lie in the
same fold. (Split by row, the twin in the training part gives the answer away, with the sign flipped.)
"""

import itertools
import re
import zlib
from collections import Counter

import torch

FOLDS = 5


def words(text):
    return re.findall(r"[a-z0-9']+", text.lower())


def length(prompt, answer):
    n, sentences = len(words(answer)), len(re.findall(r"[.!?]+(?:\s|$)", answer))
    return Counter({"words": n / 10, "log": torch.log(torch.tensor(n + 1.0)).item(), "square": n * n / 400,
                    "sentences": sentences, "characters": len(answer) / 50})  # fmt: skip


def bag_of_words(prompt, answer):
    w = words(answer)
    return Counter(set(w) | {" ".join(pair) for pair in itertools.pairwise(w)})


def characters(prompt, answer):
    text = f" {answer.lower()} "
    return Counter({text[i : i + n] for n in (3, 4, 5) for i in range(len(text) - n + 1)})


STYLE = {
    "exclamation": "!", "question": r"\?", "end question": r"\?$", "digit": r"\d", "bullet": r"^- ", "heading": r"^#",
    "bold": r"\*\*", "table": r"^\|", "number": r"^\d+\. ", "newline": "\n", "quote": '"', "comma": ",", "colon": ":",
    "semicolon": ";", "no final stop": r"[^.!?]$", "sorry": r"(?i)\b(sorry|can't|cannot|won't|rather not)\b",
    "agree": r"(?i)\b(you're right|yes|correct|exactly)\b", "object": r"(?i)\b(no|not|isn't|actually)\b",
    "hedge": r"(?i)\b(may|might|usually|probably|about|perhaps|often)\b", "I": r"\bI\b", "you": r"(?i)\byour?\b",
    "because": r"(?i)\b(because|since|so)\b", "capitals": r"\b[A-Z]{3,}\b",
}  # fmt: skip


def style(prompt, answer):
    return Counter({name: min(3, len(re.findall(p, answer, re.MULTILINE))) for name, p in STYLE.items()})


def overlap(prompt, answer):
    """Content words (four letters and more) of the answer that stand in the prompt: count and share."""
    content = [w for w in words(answer) if len(w) > 3]
    shared = [w for w in content if w in set(words(prompt))]
    return Counter({"count": len(shared) / 3, "share": len(shared) / max(1, len(content))})


SHORTCUTS = {
    "length": length,
    "words and word pairs": bag_of_words,
    "character 3- to 5-grams": characters,
    "23 style marks": style,
    "overlap with the prompt": overlap,
}


def fold_of(group):
    return zlib.crc32(("fold " + group).encode()) % FOLDS


def differences(pairs, feature):
    """Features of the chosen minus features of the rejected answer: (N, F), columns standardized by their spread."""
    rows = []
    for pair in pairs:
        prompt = pair.prompt if isinstance(pair.prompt, str) else pair.prompt[-1]["content"]
        difference = feature(prompt, pair.chosen)
        difference.subtract(feature(prompt, pair.rejected))
        rows.append(difference)
    names = {name: i for i, name in enumerate(sorted(set().union(*rows)))}
    entries = [(i, names[name], value) for i, row in enumerate(rows) for name, value in row.items()]
    row, column, value = (torch.tensor(part) for part in zip(*entries))
    matrix = torch.zeros(len(rows), len(names))
    matrix[row, column] = value.float()
    return matrix / matrix.pow(2).mean(0).sqrt().clamp(min=0.2) if len(names) < 100 else matrix


def right(pairs, feature, l2=1e-2, steps=30):
    """For every pair: did the judge that was fitted on the other folds prefer the chosen answer? (N,), 1, 0 or 0.5.

    Fitted in the dual: w = X^T a needs only the products of rows, N x N, however many features there are.
    """
    X = differences(pairs, feature)
    K = X @ X.T  # (N, N)
    K = K / K.diagonal().mean()
    folds = torch.tensor([fold_of(pair.group) for pair in pairs])
    verdict = torch.zeros(len(pairs))
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        a = torch.zeros(int(train.sum()), requires_grad=True)
        kernel = K[train][:, train]
        optimizer = torch.optim.LBFGS([a], max_iter=steps)

        def closure(a=a, kernel=kernel, optimizer=optimizer):
            optimizer.zero_grad()
            margin = kernel @ a
            loss = torch.nn.functional.softplus(-margin).mean() + l2 * (a @ margin)
            loss.backward()
            return loss

        optimizer.step(closure)
        score = K[test][:, train] @ a.detach()
        verdict[test] = (score > 1e-7).float() + 0.5 * (score.abs() <= 1e-7).float()
    return verdict


def longer_is_chosen(pairs):
    """(N,): 1 where the chosen answer has more words, 0.5 where both have as many."""
    gap = torch.tensor([len(words(p.chosen)) - len(words(p.rejected)) for p in pairs])
    return (gap > 0).float() + 0.5 * (gap == 0).float()
