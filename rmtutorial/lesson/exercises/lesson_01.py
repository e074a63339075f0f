"""Exercises of notebook 01: the last real token, from token lists to rewards, what the swap does to the weights."""

import copy

import torch
from transformers import GPT2Config, GPT2Model

from rmtutorial.lesson.exercises.exercise import Exercise, Wrong, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import gradient_mistake

EXERCISES = {}


def last_token(attention_mask):
    """(B, T) mask of 0 and 1 -> (B,) positions, integers."""
    T = attention_mask.shape[1]
    return (torch.arange(T) * attention_mask).amax(dim=1)  # padding counts as 0


RIGHT, LEFT = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]), torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]])
BOTH = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]])  # rows of one batch, padded on different sides


def long_mask():
    """(16, 200): real tokens from a random place to a random place."""
    places = torch.randint(200, (16, 2), generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    at = torch.arange(200)
    return ((at >= places[:, :1]) & (at <= places[:, 1:])).long(), places[:, 1]


def last_token_mistake(function):
    got = tried(function, RIGHT)
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} came back; return a tensor of shape (B,)"
    if same(got, [3, 3]):
        return "with padding on the right that is the last position, padding or not; find the last 1 of the mask"
    if same(got, [3, 4]):
        return "one too far: that is how many real tokens there are, and positions count from 0"
    if not same(got, [2, 3]):
        return f"for the mask {RIGHT.tolist()} it gave {shown(got)}, not [2, 3]"
    got = tried(function, LEFT)
    if same(got, [2, 1]):
        return (
            "right for padding on the right, silently wrong on the left: "
            "sum - 1 counts tokens, and they start later there"
        )
    if not same(got, [3, 3]):
        return f"for padding on the left, {LEFT.tolist()}, it gave {shown(got)}, not [3, 3]"
    if got.dtype not in (torch.int64, torch.int32):
        return f"the values are right, their type is {got.dtype}: positions are indices, which torch takes as int64 or int32"
    if not same(got := tried(function, BOTH), [1, 3, 0]):
        return f"each row has a side of its own: for {BOTH.tolist()} it gave {shown(got)}, not [1, 3, 0]"
    mask, last = long_mask()
    if not same(tried(function, mask), last):
        return "right for rows of 4 tokens, wrong for 200: sorting leaves the order of equal values open (stable=True)"
    if not same(got := tried(function, mask[:1].int()), last[:1]):
        return f"for one row of an int32 mask it gave {shown(got)}, not {last[:1].tolist()}"
    return None


EXERCISES["1.1"] = Exercise(
    last_token,
    hints=("Which position is the last one whose mask is 1?", "torch.arange(T) * mask is 0 on padding; amax."),
    mistake=last_token_mistake,
)


def rewards_of(backbone, rows, w, pad_id):
    """B lists of token ids -> rewards (B,) of their last tokens, by one forward pass."""
    T = max(len(row) for row in rows)
    ids = torch.tensor([row + [pad_id] * (T - len(row)) for row in rows])  # (B, T)
    lengths = torch.tensor([len(row) for row in rows])  # (B,)
    mask = (torch.arange(T) < lengths[:, None]).long()  # (B, T), by length: a text may hold pad_id itself
    hidden = backbone(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, T, H)
    return hidden[torch.arange(len(rows)), lengths - 1] @ w  # (B, H) @ (H,) -> (B,)


PAD = 2  # it closes two of the texts and stands in the middle of one, as EOS does where pad is EOS
ROWS = ([5, 6, 2, 7, 2], [8, 9, 10], [4, 3, 11, 12, 5, 6, 2])
MORE = ([3, 4], [9, 0, 8, 7])  # whose pad is 0


def tiny_backbone():
    """A random GPT-2 of one layer: with left padding its absolute positions shift, unless they are given."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=2, n_positions=16, initializer_range=0.5)
        return GPT2Model(config).eval()


def alone(backbone, rows, w):
    """Rewards (B,) of rows that are read one by one, without any padding."""
    states = [backbone(input_ids=torch.tensor([row])).last_hidden_state[0, -1] for row in rows]
    return torch.stack(states) @ w


def padded_rewards(backbone, rows, w, pad, side="right", **how):
    """Rewards that a mistake gives: padding on one side; how: `mask_by_id`, `read`, `without_mask`."""
    T = max(map(len, rows))
    fill = [[pad] * (T - len(row)) for row in rows]
    ids = torch.tensor([row + more if side == "right" else more + row for row, more in zip(rows, fill)])
    lengths = torch.tensor([[len(row)] for row in rows])
    mask = torch.arange(T) < lengths if side == "right" else torch.arange(T) >= T - lengths
    if how.get("mask_by_id"):
        mask = ids != pad
    kept = {} if how.get("without_mask") else {"attention_mask": mask.long()}
    hidden = backbone(input_ids=ids, **kept).last_hidden_state
    at = torch.full((len(rows),), T - 1) if how.get("read") == "end" else (torch.arange(T) * mask).amax(1)
    return hidden[torch.arange(len(rows)), at] @ w


@torch.no_grad()
def known_mistakes(backbone, w, right):
    """[(what it gives for ROWS, what is said of it), ...]"""
    return [
        (padded_rewards(backbone, ROWS, w, PAD, read="end"), "the last position of each row is read, padding or not"),
        (
            padded_rewards(backbone, ROWS, w, PAD, mask_by_id=True),
            "the mask asks which ids are pad_id, and two of the texts end in that token themselves: go by the lengths",
        ),
        (
            padded_rewards(backbone, ROWS, w, PAD, "left"),
            "padded on the left, a text begins at a later position, and this backbone counts positions from the left "
            "edge: pad on the right, or pass position_ids",
        ),
        (
            padded_rewards(backbone, ROWS, w, PAD, "left", without_mask=True),
            "padded on the left without attention_mask: the texts look back at padding",
        ),
        (right.detach()[:, None], "the values are right, in a column of shape (B, 1); w is a vector (H,)"),
    ]


def rewards_of_mistake(function):
    backbone = tiny_backbone()
    w = torch.linspace(-1, 1, 8, requires_grad=True)
    rows = copy.deepcopy(list(ROWS))
    calls = []
    counting = backbone.register_forward_pre_hook(lambda _, args: calls.append(args))
    try:
        got = tried(function, backbone, rows, w, PAD)
    except Exception:
        if any(len(args) > 1 for args in calls):
            return "backbone(ids, mask): what stands second differs from model to model; write attention_mask=mask"
        raise
    counting.remove()
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} came back, which has no gradient; return a tensor of shape (B,)"
    if rows != list(ROWS):
        raise Wrong("it changes the lists that it is given, which the caller still needs; work on copies")
    right = alone(backbone, ROWS, w)
    if message := named(got.detach(), known_mistakes(backbone, w, right)):
        return message
    if not same(got.detach(), right, 1e-4):
        return f"each text alone gets {shown(right)}, in one batch it gave {shown(got)}"
    if len(calls) != 1:
        return f"the values are right, by {len(calls)} forward passes; one is asked for, with the texts padded"
    if mistake := gradient_mistake(
        lambda w: function(backbone, copy.deepcopy(list(ROWS)), w, PAD).sum(),
        (w.detach(),),
        {"w": torch.autograd.grad(right.sum(), w)[0]},
    ):
        return mistake
    if not tried(function, backbone, copy.deepcopy(list(ROWS)), w.detach(), PAD).requires_grad:
        return "the values are right, but no gradient reaches the backbone, so it could never learn"
    with torch.no_grad():
        for rows in (MORE, ROWS[:1]):
            got = tried(function, backbone, copy.deepcopy(list(rows)), w.detach(), 0)
            if not same(got, alone(backbone, rows, w), 1e-4):
                return f"right for {len(ROWS)} texts; for {len(rows)} others, of lengths {[*map(len, rows)]}, with pad_id 0, it gave {shown(got)}"
    return None


EXERCISES["1.2"] = Exercise(
    rewards_of,
    hints=(
        "Pad the rows on the right to the longest, and make a mask from their lengths, not from pad_id.",
        "hidden[torch.arange(B), lengths - 1] reads one state a row; a copy of a list: row + [pad_id] * n.",
    ),
    mistake=rewards_of_mistake,
)


def parameters_after_swap(parameters, vocabulary, hidden, tied):
    """Weights of the reward model, from those of the language model."""
    removed = 0 if tied else vocabulary * hidden  # a tied head is the embedding matrix, which stays
    return parameters - removed + hidden


def parameters_after_swap_mistake(function):
    tied, untied = tried(function, 1000, 50, 4, True), tried(function, 1000, 50, 4, False)
    if other := [got for got in (tied, untied) if not isinstance(got, int)]:
        return f"it gave {other[0]!r}, a {type(other[0]).__name__}; a number of weights is an integer"
    if (tied, untied) == (800, 800):
        return "two things: a tied LM head is the embedding matrix and stays, and the reward head has `hidden` weights"
    if tied == 1000 - 200 + 4:
        return "a tied LM head is the embedding matrix itself: taking the head away removes no parameter"
    if untied == 1000 + 4:
        return "an LM head of its own has vocabulary x hidden parameters, and they go"
    if (tied, untied) in ((1000, 800), (1005, 805)):
        return "the reward head has `hidden` parameters: one weight for each number of the state, no bias"
    if (tied, untied) != (1004, 804):
        return f"of 1000 parameters, vocabulary 50, hidden 4, it leaves {tied} (tied) and {untied} (not tied)"
    got = tried(function, 9000, 70, 60, True), tried(function, 9000, 70, 60, False)
    if got != (9060, 4860):
        return (
            f"right for one model; of 9000 parameters, vocabulary 70, hidden 60, it leaves {got[0]} (tied) and {got[1]}"
        )
    return None


EXERCISES["1.3"] = Exercise(
    parameters_after_swap,
    hints=(
        "What is removed if the head shares its matrix with the embeddings?",
        "The new head has `hidden` weights.",
    ),
    mistake=parameters_after_swap_mistake,
)
