"""A blind rating: of two answers to a prompt, which is better? Where each comes from is said after the last pair."""

import html
import random

import ipywidgets

from rmtutorial.intervals import accuracy_interval

CHOICES = {"A is better": "A", "B is better": "B", "no difference": "="}


def sides(count, seed=0):
    """Where the first of each pair's two answers stands: `count` letters, "A" or "B", at random."""
    luck = random.Random(seed)
    return [luck.choice("AB") for _ in range(count)]


def side_by_side(prompts, first, second, seed=0):
    """The pairs as they are shown, and could be printed: dicts of prompt, A and B. first, second: an answer a prompt."""
    rows = zip(prompts, first, second, sides(len(prompts), seed), strict=True)
    return [{"prompt": p, "A": f, "B": s} if side == "A" else {"prompt": p, "A": s, "B": f} for p, f, s, side in rows]


def wins_of_first(answers, seed=0):
    """The answers "A", "B" or "=" to the pairs, read with the key: 1 for the first answer, 0 for the second, 0.5 for a tie.

    Raises: ValueError for another letter.
    """
    for place, answer in enumerate(answers, 1):
        if answer not in "AB=" or len(answer) != 1:
            raise ValueError(f"answer {place} is {answer!r}: A, B or = is possible")
    return [0.5 if a == "=" else float(a == side) for a, side in zip(answers, sides(len(answers), seed))]


def blind_rating(prompts, first, second, names=("the first", "the second"), seed=0):
    """Judge the pairs one by one; after the last it says how often the first answer won, with the 95 % interval.

    Args: prompts, P str; first, second, P str each, the two answers; names, where they come from; seed of the sides.
    Returns: a VBox of [buttons, text]. Nothing is written down: a new call starts anew.
    """
    pairs, answers = side_by_side(prompts, first, second, seed), []
    buttons, text = [ipywidgets.Button(description=choice) for choice in CHOICES], ipywidgets.HTML()

    def show():
        done = len(answers) == len(pairs)
        for button in buttons:
            button.disabled = done
        if done:
            text.value = render_result(answers, names, seed)
        else:
            text.value = render_pair(pairs[len(answers)], len(answers) + 1, len(pairs))

    def answered(button):
        if len(answers) < len(pairs):  # a click may still be under way
            answers.append(CHOICES[button.description])
            show()

    for button in buttons:
        button.on_click(answered)
    show()
    return ipywidgets.VBox([ipywidgets.HBox(buttons), text])


def render_pair(pair, number, count):
    lines = [("Prompt", pair["prompt"]), ("A", pair["A"]), ("B", pair["B"])]
    shown = "".join(f"<p><b>{name}</b><br>{html.escape(t).replace(chr(10), '<br>')}</p>" for name, t in lines)
    return f"<p>Pair {number} of {count}</p>{shown}"


def render_result(answers, names, seed=0):
    wins = wins_of_first(answers, seed)
    low, high = accuracy_interval(wins, range(len(wins)))
    where = " ".join(sides(len(answers), seed))
    return (
        f"<p>You preferred {html.escape(names[0])} to {html.escape(names[1])} in <b>{sum(wins):g}</b> of {len(wins)} "
        f"pairs (half a point for no difference): {sum(wins) / len(wins):.2f} [{low:.2f}, {high:.2f}]. "
        f"The key, where {html.escape(names[0])} stood: {where}. Your answers: {' '.join(answers)}.</p>"
    )
