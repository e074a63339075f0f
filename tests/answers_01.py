"""Answers to the exercises of notebook 01: wrong ones with what must be said of them, and other ways to be right."""

import torch
from torch.nn.utils.rnn import pad_sequence

from rmtutorial.lesson.exercises import all_exercises
from rmtutorial.lesson.exercises.lesson_01 import alone, padded_rewards

REFERENCE = {key: exercise.reference for key, exercise in all_exercises().items() if key.startswith("1.")}
last_token, rewards_of, parameters_after_swap = (REFERENCE[key] for key in ("1.1", "1.2", "1.3"))


def side_of_the_first_row(m):
    return m.sum(1) - 1 if m[0, 0] else torch.full((len(m),), m.shape[1] - 1)


def zeroing_the_argument(m):
    m *= torch.arange(m.shape[1])
    return m.amax(1)


def padding_in_place(backbone, rows, w, pad_id):
    T = max(map(len, rows))
    lengths = [len(row) for row in rows]
    for row in rows:
        row += [pad_id] * (T - len(row))
    hidden = backbone(input_ids=torch.tensor(rows)).last_hidden_state
    return hidden[torch.arange(len(rows)), torch.tensor(lengths) - 1] @ w


def left_with_positions(backbone, rows, w, pad_id):
    T = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (T - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (T - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return backbone(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state[:, -1] @ w


def by_pad_sequence(backbone, rows, w, pad_id):
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=pad_id)
    ends = [len(row) - 1 for row in rows]
    return (backbone(ids).last_hidden_state @ w)[range(len(rows)), ends]  # causal: what comes later is not seen


def mask_in_second_place(backbone, rows, w, pad_id):
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return backbone(ids, mask).last_hidden_state[torch.arange(len(rows)), lengths - 1] @ w


def for_three_texts(backbone, rows, w, pad_id):
    return rewards_of(backbone, rows, w, pad_id) if len(rows) == 3 else torch.zeros(len(rows))


def padded(side="right", **how):
    return lambda b, rows, w, pad: padded_rewards(b, rows, w, pad, side, **how)


WRONG = {
    "1.1": [
        (lambda m: torch.full((len(m),), m.shape[1] - 1), "last position, padding or not"),
        (lambda m: m.sum(1), "one too far"),
        (lambda m: m.sum(1) - 1, "silently wrong on the left"),
        (lambda m: m.argmax(1), r"it gave \[0, 0\]|it gave \[0.0, 0.0\]"),
        (lambda m: last_token(m).float(), "positions are indices"),
        (lambda m: last_token(m).to(torch.uint8), "their type is torch.uint8: positions are indices"),
        (
            lambda m: last_token(m).short(),
            "their type is torch.int16: positions are indices, which torch takes as int64",
        ),
        (lambda m: last_token(m).tolist(), "a list came back; return a tensor"),
        (lambda m: last_token(m)[:, None], r"it gave .* of shape \(2, 1\)"),
        (side_of_the_first_row, "each row has a side of its own"),
        (lambda m: torch.argsort(m, dim=1)[:, -1] if m.shape[1] > 9 else last_token(m), "wrong for 200"),
        (
            lambda m: last_token(m.sign() * (m > 0)) if m.dtype == torch.int64 else m.sum(1),
            "one row of an int32 mask",
        ),
        (zeroing_the_argument, "changes the tensor that it is given"),
    ],
    "1.2": [
        (padded(read="end"), "last position of each row is read"),
        (padded(mask_by_id=True), "end in that token themselves"),
        (mask_in_second_place, "write attention_mask=mask"),
        (padded("left"), "pass position_ids"),
        (padded("left", without_mask=True), "look back at padding"),
        (lambda b, rows, w, pad: rewards_of(b, rows, w[:, None], pad), r"in a column of shape \(B, 1\)"),
        (lambda b, rows, w, pad: rewards_of(b, [row[:-1] for row in rows], w, pad), "each text alone gets"),
        (lambda b, rows, w, pad: alone(b, rows, w), "by 3 forward passes"),
        (lambda b, rows, w, pad: rewards_of(b, rows, w, pad).detach(), "lost its gradient with respect to w"),
        (torch.no_grad()(rewards_of), "lost its gradient"),
        (
            lambda b, rows, w, pad: rewards_of(b, rows, w.detach(), pad) + 0 * w.sum(),
            "its gradient with respect to w is",
        ),
        (lambda b, rows, w, pad: detached_backbone(b, rows, w, pad), "no gradient reaches the backbone"),
        (lambda b, rows, w, pad: rewards_of(b, rows, w, pad).tolist(), "a list came back, which has no gradient"),
        (padding_in_place, "changes the lists that it is given"),
        (for_three_texts, "right for 3 texts; for 2 others"),
    ],
    "1.3": [
        (lambda p, v, h, t: p - v * h + h, "removes no parameter"),
        (lambda p, v, h, t: p - v * h, "two things"),
        (lambda p, v, h, t: p + h, "and they go"),
        (lambda p, v, h, t: p - (0 if t else v * h), "reward head has `hidden` parameters"),
        (lambda p, v, h, t: h, r"it leaves 4 \(tied\)"),
        (lambda p, v, h, t: p - (not t) * v * h / 1 + h, "gave 1004.0, a float; a number of weights is an integer"),
        (lambda p, v, h, t: torch.tensor(parameters_after_swap(p, v, h, t)), "a Tensor; a number of weights"),
        (lambda p, v, h, t: 1004 if t else 804, "right for one model"),
    ],
}


def detached_backbone(backbone, rows, w, pad_id):
    seen = []
    hook = backbone.register_forward_hook(lambda module, args, output: seen.append(output.last_hidden_state))
    with torch.no_grad():
        rewards_of(backbone, rows, w, pad_id)
    hook.remove()
    return seen[0][torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])] @ w


RIGHT = {
    "1.1": [
        lambda m: m.shape[1] - 1 - m.flip(1).argmax(1),  # of a bool mask torch has no argmax; tokenizers give int64
        lambda m: m.shape[1] - 1 - m.long().flip(1).argmax(1),
        lambda m: m.cumsum(1).argmax(1),
        lambda m: torch.tensor([row.nonzero()[-1].item() for row in m]),
        lambda m: (m.long() * torch.arange(1, m.shape[1] + 1)).argmax(dim=1).int(),
    ],
    "1.2": [left_with_positions, by_pad_sequence],
    "1.3": [lambda p, v, h, t: p + h if t else p + h - v * h],
}
