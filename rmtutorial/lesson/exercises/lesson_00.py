"""Exercises of notebook 00: join prompt and answer, pool the states of the answer, the loss; count mirror sets."""

import torch

from rmtutorial.lesson.exercises import mirror_sets
from rmtutorial.lesson.exercises.exercise import Exercise, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import dtype_mistake, gradient_mistake

EXERCISES = {}


def join(prompt_ids, eos_id, response_ids, max_length):
    """Two lists of ids, with the id `eos_id` between them -> one list, at most max_length long."""
    ids = [*prompt_ids, eos_id, *response_ids]
    return ids[-max_length:]


def join_mistake(function):
    whole = [5, 6, 0, 7, 8, 9]
    got = tried(function, [5, 6], 0, [7, 8, 9], 10)
    if not isinstance(got, list):
        return f"it gave a {type(got).__name__}; return a list of ids"
    if got == [5, 6, 7, 8, 9]:
        return "the separator is missing: without EOS between them, prompt and response run together"
    if got == [5, 6, 7, 8, 9, 0]:
        return "EOS stands at the end; it is the separator, between prompt and response"
    if got != whole:
        return f"for prompt [5, 6], EOS 0 and response [7, 8, 9] it gave {got}, not {whole}"
    if other := [type(i).__name__ for i in got if not isinstance(i, int)]:
        return f"it gave {got}, with a {other[0]} in it: ids are integers, as they came in"
    for prompt, eos, response in (([3], 4, [8]), ([5, 0], 0, [7]), ([], 0, [7, 8]), ([5], 0, [0, 7])):
        if (got := tried(function, prompt, eos, response, 9)) != (right := [*prompt, eos, *response]):
            always = "; the separator stands there whatever is beside it" if len(got) < len(right) else ""
            return f"for prompt {prompt}, EOS {eos} and response {response} it gave {got}, not {right}{always}"
    cut = {length: tried(function, [5, 6], 0, [7, 8, 9], length) for length in (5, 4, 2, 3, 6)}
    if cut[5] == whole[:5]:
        return "what is too long lost its right end, and with it the end of the answer; cut from the left"
    if cut[5] == [5, 0, 7, 8, 9]:
        return "cut to 5 tokens it gave [5, 0, 7, 8, 9]: the wrong end of the prompt went; drop what stands first"
    for length in (5, 4):  # the usual cuts, before those that reach into the answer
        if cut[length] != whole[-length:]:
            return f"cut to {length} tokens it gave {cut[length]}, not {whole[-length:]}"
    if len(cut[2]) > 2:
        return f"cut to 2 tokens it gave {cut[2]}: when the answer itself is too long, its left end has to go too"
    if len(cut[3]) > 3:
        return f"for max_length 3 it gave {len(cut[3])} ids, {cut[3]}; beware of ids[-0:], which is all of them"
    for length, ids in cut.items():
        if ids != whole[-length:]:
            return f"cut to {length} tokens it gave {ids}, not {whole[-length:]}"
    return None


EXERCISES["0.1"] = Exercise(
    join,
    hints=("Lists are joined with +.", "What is too long loses its left end: ids[-max_length:]."),
    mistake=join_mistake,
)


def mean_pool(hidden, n_response):
    """States (T, H) of prompt, EOS and response -> (H,), averaged over the n_response tokens."""
    return hidden[-n_response:].mean(dim=0)  # (T, H) -> (H,)


def mean_pool_mistake(function):
    hidden = (torch.arange(27.0) ** 2 % 23).reshape(9, 3)  # (T, H), so uneven that no wrong mean is right by accident
    got = tried(function, hidden, 3)
    if not isinstance(got, torch.Tensor):
        return f"it gave a {type(got).__name__}; return a tensor (H,), which the head can read and a gradient can pass"
    if mistake := named(got, _wrong_means(hidden, 3)):
        return mistake
    if not same(got, expected := hidden[-3:].mean(0)):
        return (
            f"for 9 states of 3 numbers, of which the response has the last 3, {hidden[-3:].int().tolist()}, "
            f"it gave {shown(got)}, not {shown(expected)}"
        )
    generator = torch.Generator().manual_seed(0)
    for T, H, n in ((5, 4, 2), (6, 2, 1), (9, 3, 5), (4, 3, 3)):
        states = torch.randn(T, H, generator=generator)
        if not same(got := tried(function, states, n), expected := states[-n:].mean(0)):
            return f"right for 9 tokens, 3 of the response; for {T} and {n} it gave {shown(got)}, not {shown(expected)}"
    if not same(got := tried(function, hidden, 11), hidden.mean(0)):
        return (
            "wrong where `join` has cut into the response: of 11 response tokens only 9 states are there, all of them "
            f"the response's, and their mean is {shown(hidden.mean(0))}; it gave {shown(got)}"
        )
    push = torch.zeros(9, 3)
    push[-3:] = 1 / 3
    return gradient_mistake(lambda states: tried(function, states, 3).sum(), (hidden,), {"hidden": push}) or (
        dtype_mistake(lambda states: tried(function, states, 3), (hidden,), "states")
    )


def _wrong_means(hidden, n):
    answer = hidden[-n:]
    dim = "the mean runs over the wrong thing: over tokens (dim=0), of the answer only, and what is left is (H,)"
    return [
        (hidden.mean(0), "it averages the prompt's tokens too; only the last n_response belong to the answer"),
        (hidden[-1], "that is the last token alone; average over all n_response tokens"),
        (hidden.mean(), dim),
        (answer.mean(1), dim),
        (answer.mean(), "it averages over the hidden size as well; the mean runs over tokens only (dim=0)"),
        (answer.sum(0), "that is the sum; a long answer would get a large reward for its length alone"),
        (answer.median(0).values, "that is the median; asked is the mean"),
        (answer.amax(0), "that is the largest of each number; asked is the mean"),
        (answer.amin(0), "that is the smallest of each number; asked is the mean"),
        (hidden[-n:-1].mean(0), "one token too few: hidden[-n:-1] leaves out the last token"),
        (
            hidden[n:].mean(0),
            "`hidden[n_response:]` starts after n_response tokens; the last n_response are `hidden[-n_response:]`",
        ),
        (hidden[-n - 1 :].mean(0), "one token too many: the separator before the answer does not count"),
        (hidden[-n - 1 : -1].mean(0), "one place too far left: the separator is in, the answer's last token is out"),
    ]


EXERCISES["0.2"] = Exercise(
    mean_pool,
    hints=("hidden[-n_response:] are the states of the answer.", "The mean runs over dim=0."),
    mistake=mean_pool_mistake,
)


def pair_loss(r_chosen, r_rejected):
    """Loss of one pair, a scalar tensor, from the rewards () of its two answers."""
    return -torch.log(torch.sigmoid(r_chosen - r_rejected))  # ()


NEAR = ((1.5, -0.5), (-0.5, 1.0), (2.0, 2.0), (0.3, -2.2))  # rewards of chosen and rejected
FAR = ((3.5, -3.5), (-20.0, 20.0))  # margins 7 and -40, where the formula as it stands still holds


def pair_loss_mistake(function):
    found = []
    for given in NEAR:
        rewards = tuple(map(torch.tensor, given))
        got = tried(function, *rewards)
        if not isinstance(got, torch.Tensor):
            return f"it gave a {type(got).__name__}, which has no gradient; return a tensor, without .item() or math"
        found.append(got)
    if all(same(got, found[0]) for got in found):
        return f"it gives {shown(found[0])} for each of four pairs of rewards: they do not enter"
    for given, got in zip(NEAR, found):
        rewards = tuple(map(torch.tensor, given))
        mistake = named(got, _wrong_losses(*rewards)) or _pair_mistake(function, given)
        if mistake:
            return mistake
    for given in FAR:
        if mistake := _pair_mistake(function, given):
            return (
                f"right for margins near 0. At {given[0] - given[1]:+g}, {mistake}. "
                "A clamp, or a small number added, keeps the worst pairs from learning"
            )
    return dtype_mistake(function, (torch.tensor(1.0), torch.tensor(0.0)), "rewards")


def _pair_mistake(function, given):
    """Value and gradients for one pair of rewards, against softplus of the negative margin and its slope."""
    rewards = tuple(map(torch.tensor, given))
    got, right = tried(function, *rewards), torch.nn.functional.softplus(rewards[1] - rewards[0])
    if not same(got, right):
        return f"for rewards {given[0]} and {given[1]} it gave {shown(got)}, not {shown(right)}"
    push = torch.sigmoid(rewards[1] - rewards[0])
    return gradient_mistake(function, rewards, {"r_chosen": -push, "r_rejected": push})


def _wrong_losses(chosen, rejected):
    margin = chosen - rejected
    if margin == 0:  # there the signs cannot be told apart
        return [(torch.tensor(0.0), "equal rewards cost ln 2, not 0: the loss of saying fifty-fifty")]
    p, wrong = torch.sigmoid(margin), torch.sigmoid(-margin)
    flipped = "the sign of the margin is flipped: it would teach the model to prefer the rejected answer"
    if margin < 0:  # the pairs before it, with a margin above 0, were right
        flipped = "right where chosen is ahead, wrong where it is behind: abs() takes the sign of the margin away"
    return [
        (wrong.log().neg(), flipped),
        (p.log(), "the minus before the logarithm is missing: minimizing it makes the model worse"),
        (p, "that is the probability that the chosen answer wins; the loss is minus its logarithm"),
        (-p, "the logarithm is missing; the loss is -log of that probability"),
        (wrong, "that is the probability of the wrong outcome; the loss is -log of the right one's"),
        (-margin, "the sigmoid and the logarithm are missing; nothing would ever stop the margin from growing"),
        (p.log2().neg(), "that is in bits; with the natural logarithm it is in nats"),
        (p.log10().neg(), "that is the logarithm to base 10; take the natural one, torch.log"),
        (p.log().neg()[None], "the number is right, in a tensor of shape (1,); a loss is a scalar tensor, of shape ()"),
        (-torch.sigmoid(chosen).log(), "the rejected reward does not enter; the sigmoid is of the difference"),
        (
            -torch.sigmoid(chosen).log() - torch.sigmoid(-rejected).log(),
            "it judges each answer for itself, good or bad; only the difference of the two rewards is compared",
        ),
    ]


EXERCISES["0.3"] = Exercise(
    pair_loss,
    hints=(
        "Three steps from the inside out: the margin, its sigmoid, minus the logarithm.",
        "torch.sigmoid and torch.log keep the gradient; math.log does not.",
    ),
    mistake=pair_loss_mistake,
)


EXERCISES |= mirror_sets.EXERCISES
