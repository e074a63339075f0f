"""The log clinic: one recorded run after the other, with all that its log has."""

import ipywidgets

from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer


def log_explorer(runs):
    """Switch between recorded runs, {letter: History}: loss, accuracy, gradient norm, mean and spread of the rewards."""
    choice = ipywidgets.ToggleButtons(options=list(runs), description="run", style={"button_width": "50px"})
    alt = "Loss, accuracy, gradient norm and rewards of this run over its steps; the text below has the last numbers."
    return explorer({"letter": choice}, lambda letter: render_log(runs, letter), alt)


def render_log(runs, letter):
    steps, end = runs[letter].steps[-1], runs[letter].evaluations[-1]
    message = (
        f"run {letter}, step {steps['step']}: held-out loss <b>{end['loss']:.3f}</b>, accuracy <b>{end['accuracy']:.2f}</b>; "
        f"last batch: loss {steps['loss']:.3f}, gradient norm {steps['grad_norm']:.3g}, rewards {steps['reward_mean']:+.2f} "
        f"with a spread of {steps['reward_std']:.2f}"
    )
    return figures.clinic.one_run(letter, runs[letter]), message
