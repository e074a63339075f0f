"""Exercises 6.1 and 6.2: which answers of a group are the better ones, and which tokens are theirs."""

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, as_tensor, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import dtype_mistake

EXERCISES = {}

THREE = torch.tensor(  # rewards of four answers to each of three prompts; those of the last are almost alike
    [[1.0, 3.0, 2.0, 6.0], [0.5, -1.5, 0.75, 0.0], [0.1, 0.12, 0.1, 0.07]]
)
SQUARE = torch.tensor([[0.2, 1.4, -0.3], [5.0, 4.0, 9.0], [-2.0, -2.5, -1.0]])
EPS = 0.1  # large, so that it matters where it stands
CLOSE = torch.tensor([[1.0, 3.0, 2.0, 6.0], [0.5, -1.5, 0.75, 0.0]]) * torch.tensor([[2.0**-12], [2.0**-20]])
ONE_OF_MANY = torch.stack([torch.eye(1024)[5], -torch.eye(1024)[700]])  # one answer stands out from 1,023


def group_advantage(rewards, eps=1e-4):
    """(r - mean) / (std + eps) within the answers to each prompt: rewards (P, G) -> (P, G)."""
    above = rewards - rewards[:, :1]  # of equal rewards exactly 0, which r - mean need not be
    return (above - above.mean(dim=1, keepdim=True)) / (above.std(dim=1, keepdim=True) + eps)


def group_advantage_mistake(function):
    got = tried(function, THREE, EPS)
    if mistake := named(got, _wrong_advantages(THREE, EPS)) or _rows_mistake(got, THREE):
        return mistake
    if not same(got, right := group_advantage(THREE, EPS)):
        if clamped(got := as_tensor(got), right):
            return f"right, but clamped to {shown(got.min())} ... {shown(got.max())}; an advantage has no bounds here"
        return f"for three prompts with four answers and eps 0.1 it gave {shown(got)}, not {shown(right)}"
    for rewards, eps in ((THREE, 0.5), (THREE[:, :2], EPS), (SQUARE, EPS), (1000 * SQUARE, EPS)):
        if not same(got := tried(function, rewards, eps), right := group_advantage(rewards, eps), 1e-4):
            return f"right for eps 0.1 and (3, 4) rewards; for {tuple(rewards.shape)} others and eps {eps} it gave {shown(got)}, not {shown(right)}"
    if not same(got := tried(function, SQUARE), group_advantage(SQUARE), 1e-5):
        return f"without eps it gave {shown(got)}; its default is 1e-4"
    return (
        _tied_mistake(function)
        or _close_mistake(function)
        or _clamp_mistake(function)
        or dtype_mistake(function, (THREE, EPS), "rewards")
    )


def _rows_mistake(got, rewards):
    """What is wrong with the shape: groups that are left out, say those of equal rewards."""
    if (shape := tuple(as_tensor(got).shape)) == tuple(rewards.shape):
        return None
    left = len(rewards) - shape[0] if len(shape) == 2 and shape[1] == rewards.shape[1] else 0
    if left > 0:
        return (
            f"{left} of {len(rewards)} prompts are left out; each keeps its row: where all rewards are equal, of zeros"
        )
    return f"advantages of shape {shape} came back for rewards of shape {tuple(rewards.shape)}; each answer has one"


def clamped(got, right):
    """Whether these are the right numbers, held within bounds."""
    low, high = got.min(), got.max()
    return low < high and same(got, right.clamp(low, high))


def _close_mistake(function):
    for eps in (1e-4, 1e-6):
        if not same(got := tried(function, CLOSE, eps), right := group_advantage(CLOSE, eps), 1e-5):
            return (
                f"right for rewards that lie apart; for two groups whose std is {CLOSE[0].std():.0e} and {CLOSE[1].std():.0e}, with eps "
                f"{eps}, it gave {shown(got)}, not {shown(right)}: eps alone holds such groups down, without a threshold"
            )
    return None


def _clamp_mistake(function):
    if same(got := tried(function, ONE_OF_MANY), right := group_advantage(ONE_OF_MANY), 1e-3):
        return None
    (got, other), (right, _) = [(x.max().item(), x.min().item()) for x in (as_tensor(got), right)]
    return (
        f"the only good answer of 1,024 has the advantage {right:.1f}, the only bad one {-right:.1f}; it gave {got:.1f} and {other:.1f}: "
        "clamped, though an advantage has no bounds here"
    )


def _tied_mistake(function):
    level = torch.linspace(100, 1000, 64)[:, None]
    got = tried(function, rewards := level.expand(64, 7).contiguous())
    if mistake := _rows_mistake(got, rewards):
        return mistake
    if same(got, torch.zeros(64, 7)):
        return None
    return (
        f"right where rewards differ; but of seven equal rewards of 100 to 1000 some got an advantage of {got.abs().max():.2g}: the "
        "mean of equal numbers is rounded, and a std of the same size scales the rest up. Take one reward of the group "
        "off all of them first"
    )


def _wrong_advantages(rewards, eps):
    mean, std = rewards.mean(1, keepdim=True), rewards.std(1, keepdim=True)
    centred, G = rewards - mean, rewards.shape[1]
    batch = "the whole batch is one group: an easy prompt's answers all look good, whatever they say; mean and std over dim=1"
    return [
        ((rewards - rewards.mean()) / (rewards.std() + eps), batch),
        ((rewards - rewards.mean()) / (rewards.std(correction=0) + eps), batch),
        (centred / (rewards.std() + eps), "the mean is the group's, the std that of the whole batch, which holds how prompts differ"),
        ((rewards - rewards.mean()) / (std + eps), "the std is the group's, the mean that of the whole batch"),
        ((rewards - rewards.mean(0)) / (rewards.std(0) + eps), "the answers of different prompts are compared with each other: dim=1"),
        (centred / (rewards.std(1, keepdim=True, correction=0) + eps), "the std divides by G; divide by G - 1, as torch's std does by itself"),
        (centred / std, "eps is missing: in a group of equal rewards that is 0 / 0"),
        (centred / (std.square() + eps).sqrt(), "eps stands within the root; it is added to the std"),
        (centred / std.clamp(min=eps), "eps is a floor of the std here; it is added to it"),
        (centred / std + eps, "eps is added to the quotient; it belongs to the std, in the denominator"),
        (centred / (std.square() + eps), "that is divided by the variance; the std is its root"),
        (centred, "that is r - mean, without the std (a variant with a name, Dr. GRPO); divide by std + eps"),
        (centred * G / (G - 1), "that is the reward less the mean of the others (RLOO); asked is (r - mean) / (std + eps)"),
        (rewards / (std + eps), "the mean is not subtracted: all answers to a prompt with high rewards would be pushed up"),
        (-centred / (std + eps), "the sign: the better answer has the higher advantage"),
        ((centred / (std + eps)).mean(1), "one number for each prompt came back; each answer has an advantage"),
    ]  # fmt: skip


EXERCISES["6.1"] = Exercise(
    group_advantage,
    hints=(
        "A group is a row: mean and std with dim=1, keepdim=True.",
        "torch's std divides by G - 1 already; eps is added to it, in the denominator.",
        "The mean of equal rewards is rounded, their difference to the first of them is exactly 0: subtract that first.",
    ),
    mistake=group_advantage_mistake,
)

END = 2  # the end mark, and the padding too
ROWS = torch.tensor(  # a prompt of four tokens, with an end mark of its own as chat prompts have; then an answer
    [
        [7, END, 5, 9, 8, 6, END, END, END],  # ended after two words: padding
        [7, END, 5, 9, 3, 4, 8, 6, 5],  # cut: no end mark
        [7, END, 5, 9, END, END, END, END, END],  # ended at once
        [7, END, 5, 9, 4, END, 6, 8, END],  # ended; something stands behind the end
    ]
)


def answer_mask(ids, start, end_id):
    """True on the answer's tokens and its end mark: ids (G, T), pad id = end_id -> (G, T) bool."""
    answer = torch.arange(ids.shape[1]) >= start  # (T,) behind the prompt
    ends = ((ids == end_id) & answer).long()  # (G, T)
    return answer & (ends.cumsum(dim=1) - ends == 0)  # no end mark before this token


def answer_mask_mistake(function):
    got = tried(function, ROWS, 4, END)
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} came back; return a tensor of bool, of the shape of ids"
    if mistake := named(got, _wrong_masks(ROWS, 4, END)):
        return mistake
    if not same(got, right := answer_mask(ROWS, 4, END)):
        row = (got != right).any(1).nonzero()[0].item() if got.shape == right.shape else 0
        return f"for the row {ROWS[row].tolist()} with a prompt of 4 tokens it gave {_bits(got[row])}, not {_bits(right[row])}"
    for ids, start, end_id in (
        (ROWS, 1, END),
        (ROWS, 6, END),
        (ROWS + 5, 4, END + 5),
        (ROWS, 4, 5),
        (ROWS[:1, :7], 4, END),
    ):
        if not same(got := tried(function, ids, start, end_id), right := answer_mask(ids, start, end_id)):
            return f"right for a prompt of 4 tokens; for {ids.tolist()}, a prompt of {start} and the end mark {end_id} it gave {got.tolist()}, not {right.tolist()}"
    if got.dtype != torch.bool:
        return f"it returns {str(got.dtype).removeprefix('torch.')}; a mask is torch.bool, with which tensors can be indexed: .bool()"
    return None


def _bits(row):
    return "".join(str(int(x)) for x in row.flatten())


def _wrong_masks(ids, start, end_id):
    G, T = ids.shape
    at, ends = torch.arange(T), ids == end_id
    answer, own = at >= start, (ids == end_id) & (at >= start)
    before = own.long().cumsum(1) - own.long()  # end marks of the answer in front of this token
    right, first = answer & (before == 0), own.long().argmax(1)[:, None]
    last = (own.long() * at).argmax(1)[:, None]
    prompt = "the prompt is counted too: nobody has to learn to write it"
    masked = "the end mark is masked: pad and end mark are one id here, and without it nothing learns when to stop; the answers grow"
    return [
        (~ends, f"two things: {prompt}; and {masked}"),
        (answer & ~ends, masked),
        (right & ~ends, masked),
        (answer.expand(G, T), "tokens behind the end mark are counted: they were not chosen by anyone"),
        (answer & (ends.long().cumsum(1) - ends.long() == 0), "the prompt has an end mark of its own, and the answer is over before it begins; look behind start"),
        (before == 0, prompt),
        (torch.ones_like(right), f"two things: {prompt}; and tokens behind the end mark are counted"),
        ((at >= start - 1) & (before == 0), "it begins one token early: position start - 1 is the prompt's last token"),
        ((at > start) & (before == 0), "it begins one token late: position start is the answer's first token"),
        (answer & (before - (own.roll(1, 1) & (at > start)).long() <= 0) & (before <= 1), "it ends one token late: behind the end mark nothing was written"),
        (answer & (at <= first), "where no end mark comes argmax gives 0, and an answer that was cut loses its tokens; all of them were written"),
        (answer & (at <= last), "it goes up to the last end mark; the first one ends the answer"),
        (right.sum(1), "one number for each answer came back, its length; a mask has the shape of ids"),
        (~right, "it is inverted: True where a token was written by the policy"),
    ]  # fmt: skip


EXERCISES["6.2"] = Exercise(
    answer_mask,
    hints=(
        "Two conditions: behind the prompt, and no end mark of the answer before this token.",
        "cumsum counts the end marks up to and with this token; less itself, those before it.",
        "The prompt's own end marks must not count: (ids == end_id) & (torch.arange(T) >= start).",
    ),
    mistake=answer_mask_mistake,
)
