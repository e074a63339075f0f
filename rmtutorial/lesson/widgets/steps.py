"""A prompt and two answers of the learner's own, scored at each step of a training."""

import html

import ipywidgets
import torch

from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer

NAMES = ("first answer", "second answer")
WIDE = ipywidgets.Layout(width="720px")


def own_pair(rewards_at_steps, prompt, first, second):
    """Type a prompt and two answers; see both rewards before training and after each step.

    Args: rewards_at_steps, (prompt, first, second) -> rewards (steps + 1, 2); the texts to begin with.
    """
    texts = (("prompt", "prompt", prompt), ("first", NAMES[0], first), ("second", NAMES[1], second))
    controls = {
        name: ipywidgets.Text(text, description=words, layout=WIDE, style={"description_width": "100px"}, continuous_update=False)
        for name, words, text in texts
    }  # fmt: skip
    alt = "The rewards of both answers over the optimizer steps; the table below has the numbers."
    return explorer(controls, lambda **typed: render_own_pair(rewards_at_steps, **typed), alt)


def render_own_pair(rewards_at_steps, prompt, first, second):
    if empty := [name for name, text in zip(("prompt", *NAMES), (prompt, first, second)) if not text.strip()]:
        return figures.steps.rewards_by_step(
            {"": torch.zeros(0, 2)}, NAMES
        ), f"<p>Type the {' and the '.join(empty)}.</p>"
    rewards = torch.as_tensor(rewards_at_steps(prompt, first, second))  # (steps + 1, 2)
    lines = [*zip(NAMES, rewards.T.tolist()), ("margin", (rewards[:, 0] - rewards[:, 1]).tolist())]
    head = "".join(f"<th>{step}</th>" for step in range(len(rewards)))
    body = "".join(f"<tr><th>{name}</th>{''.join(f'<td>{x:+.2f}</td>' for x in row)}</tr>" for name, row in lines)
    margin = lines[-1][1][-1]
    better = f"the {NAMES[margin < 0]} by {abs(margin):.2f}" if abs(margin) >= 0.005 else "neither answer"
    return figures.steps.rewards_by_step({prompt: rewards}, NAMES), (
        f"<table><tr><th>after step</th>{head}</tr>{body}</table>"
        f"<p>To <i>{html.escape(prompt)}</i> the trained model prefers <b>{better}</b>.</p>"
    )
