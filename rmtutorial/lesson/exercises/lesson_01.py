"""Exercises of notebook 01: the last real token, and how many parameters the swap leaves."""

import torch

from rmtutorial.lesson.exercises.exercise import Exercise, same, tried

EXERCISES = {}


def last_token(attention_mask):
    """(B, T) mask of 0 and 1 -> (B,) positions, integers."""
    T = attention_mask.shape[1]
    positions = torch.arange(T) * attention_mask  # (B, T), padding counts as 0
    return positions.argmax(dim=1)  # (B,)


def last_token_mistake(function):
    right, left = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]), torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]])
    got = tried(function, right)
    if same(got, [3, 3]):
        return "with padding on the right that is the last position, padding or not; find the last 1 of the mask"
    if same(got, [3, 4]):
        return "one too far: that is how many real tokens there are, and positions count from 0"
    if not same(got, [2, 3]):
        return f"for the mask {right.tolist()} it gave {torch.as_tensor(got).tolist()}, not [2, 3]"
    got = tried(function, left)
    if same(got, [2, 1]):
        return (
            "right for padding on the right, silently wrong on the left: "
            "sum - 1 counts tokens, and they start later there"
        )
    if torch.as_tensor(got).is_floating_point():
        return f"the values are right, their type is {torch.as_tensor(got).dtype}: positions are indices, so integers"
    if not same(got, [3, 3]):
        return f"for padding on the left, {left.tolist()}, it gave {torch.as_tensor(got).tolist()}, not [3, 3]"
    return None


EXERCISES["1.1"] = Exercise(
    last_token,
    hints=("Which position is the last one whose mask is 1?", "torch.arange(T) * mask is 0 on padding; argmax."),
    mistake=last_token_mistake,
)


def parameters_after_swap(parameters, vocabulary, hidden, tied):
    """Weights of the reward model, from those of the language model."""
    removed = 0 if tied else vocabulary * hidden  # a tied head is the embedding matrix, which stays
    return parameters - removed + hidden


def parameters_after_swap_mistake(function):
    tied, untied = tried(function, 1000, 50, 4, True), tried(function, 1000, 50, 4, False)
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
    return None


EXERCISES["1.2"] = Exercise(
    parameters_after_swap,
    hints=(
        "What is removed if the head shares its matrix with the embeddings?",
        "The new head has `hidden` weights.",
    ),
    mistake=parameters_after_swap_mistake,
)
