"""Exercises of notebook 00: join prompt and answer, pool the states of the answer."""

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, same, tried

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
    cut = {length: tried(function, [5, 6], 0, [7, 8, 9], length) for length in (5, 4, 2, 3)}
    if cut[5] == whole[:5]:
        return "what is too long lost its right end, and with it the end of the answer; cut from the left"
    if cut[5] == [5, 0, 7, 8, 9]:
        return "cut to 5 tokens it gave [5, 0, 7, 8, 9]: the wrong end of the prompt went; drop what stands first"
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
    hidden = torch.arange(21.0).reshape(7, 3)  # (T, H), so long that no wrong end is the right one by accident
    got = tried(function, hidden, 2)
    if same(got, hidden.mean(0)):
        return "it averages the prompt's tokens too; only the last n_response belong to the answer"
    if same(got, hidden[-1]):
        return "that is the last token alone; average over all n_response tokens"
    if same(got, hidden.mean()) or same(got, hidden[-2:].mean(1)):
        return "the mean runs over the wrong thing: over tokens (dim=0), of the answer only, and what is left is (H,)"
    if same(got, hidden[-2:].mean()):
        return "it averages over the hidden size as well; the mean runs over tokens only (dim=0)"
    if same(got, hidden[2:].mean(0)):
        return "`hidden[n_response:]` starts after n_response tokens; the last n_response are `hidden[-n_response:]`"
    if same(got, hidden[-3:].mean(0)):
        return "one token too many: the separator before the answer does not count"
    if not same(got, expected := hidden[-2:].mean(0)):
        got, shapes = torch.as_tensor(got), [tuple(torch.as_tensor(x).shape) for x in (got, expected)]
        shown = f"{got.tolist()} of shape {shapes[0]}, not {expected.tolist()} of shape {shapes[1]}"
        return f"for states {hidden.tolist()} and 2 response tokens it gave {shown}"
    return None


EXERCISES["0.2"] = Exercise(
    mean_pool,
    hints=("hidden[-n_response:] are the states of the answer.", "The mean runs over dim=0."),
    mistake=mean_pool_mistake,
)
