"""What a policy is rewarded for: a function of texts, a reward model, or the folder of one.

Letters: P prompts, G answers to each, N = P G.
"""

import os

import torch
from torch import nn

from rmtutorial.classifier import Classifier, load_scorer
from rmtutorial.features import checksum
from rmtutorial.scorer import PairScorer

SCORERS = (PairScorer, Classifier)


def load_reward(reward):
    """A reward as `rewards_of` takes it: a folder or a Hub id is loaded, everything else stays what it is.

    Args: reward, a RewardModel (or what `load_scorer` gives), a folder or Hub id of one, or any function
        (prompts, answers) -> one number for each answer. Both lists have N entries: a prompt stands there once for
        each of its answers.
    Raises: as `load_scorer`; ValueError for what is none of these.
    """
    if isinstance(reward, str | os.PathLike):
        return load_scorer(reward)
    if isinstance(reward, SCORERS) or (callable(reward) and not isinstance(reward, nn.Module)):
        return reward
    raise ValueError(
        f"reward is a {type(reward).__name__}: pass a function (prompts, answers) -> numbers, a RewardModel, or the "
        "folder of one (save_pretrained)"
    )


def rewards_of(reward, prompts, answers):
    """Rewards (P, G), float32 on the CPU, of P lists of G answers (text) to P prompts.

    Args: reward, as `load_reward` returns it. A reward model reads each prompt once for its group.
    Raises: ValueError, with prompt and answer, for a reward that is not finite or no number, or for which the function
        raises; and for another number of rewards than answers.
    """
    rows = [(prompt, answer) for prompt, group in zip(prompts, answers) for answer in group]
    if isinstance(reward, SCORERS):
        names = [f"the prompt {shown(prompt)}" for prompt in prompts]
        values = reward.score_encoded(reward.encode_rows(list(zip(prompts, answers)), names)).flatten()
    else:
        values = torch.tensor(_numbers(_called(reward, rows), rows))
    for row, value in zip(rows, values.tolist()):
        if not abs(value) < float("inf"):
            raise ValueError(f"the reward is {value} {_for(*row)}: it must be finite")
    return values.view(len(prompts), -1)


def reward_settings(reward):
    """What a checkpoint must agree with: the weights of a reward model, the name of a function."""
    if isinstance(reward, SCORERS):
        return {"the reward": checksum(reward.parameters())}
    return {"the reward": getattr(reward, "__qualname__", type(reward).__name__)}


def shown(prompt):
    """A prompt as errors name it: its beginning, of chat messages that of the last one."""
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _for(prompt, answer):
    return f"for the prompt {shown(prompt)} and the answer {shown(answer)}"


def _called(reward, rows):
    """What the function returns for all rows; if it raises, each row is tried alone, to find out which it was."""
    try:
        return reward(*map(list, zip(*rows)))
    except Exception as error:  # whatever somebody's function may raise
        for prompt, answer in rows:
            try:
                reward([prompt], [answer])
            except Exception as alone:
                raise ValueError(f"the reward function raised {alone!r} {_for(prompt, answer)}") from alone
        raise ValueError(
            f"the reward function raised {error!r} for {len(rows)} answers together, and for none of them alone; the "
            f"first is {_for(*rows[0])}"
        ) from error


def _numbers(values, rows):
    """N floats of what the function has returned: a list, an array or a tensor of N numbers."""
    shape = tuple(getattr(values, "shape", ())) or (
        len(values) if hasattr(values, "__len__") else type(values).__name__,
    )
    if shape != (len(rows),):
        raise ValueError(
            f"the reward function returned {' x '.join(map(str, shape))} for {len(rows)} answers, the first of them "
            f"{_for(*rows[0])}: it must return one number for each"
        )
    values, found = values.detach() if torch.is_tensor(values) else values, []
    for value, row in zip(values, rows):
        try:
            found.append(float(value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the reward is {value!r} {_for(*row)}: it must be a number") from error
    return found
