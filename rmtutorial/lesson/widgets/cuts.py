"""What a maximum length leaves of a text."""

import html

import ipywidgets

from rmtutorial.encoding import encode
from rmtutorial.lesson import figures
from rmtutorial.lesson.widgets import explorer, slider

LENGTHS = (32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 2048)


def cut_explorer(tokenizer, pairs, max_length=1024):
    """Choose a pair, one of its answers and a maximum length: what is left when it is cut on either side."""
    controls = {
        "i": slider(ipywidgets.IntSlider, "pair", min=0, max=len(pairs) - 1, value=0),
        "side": ipywidgets.ToggleButtons(options=("chosen", "rejected"), description="answer"),
        "max_length": slider(ipywidgets.SelectionSlider, "max_length", options=LENGTHS, value=max_length),
    }
    alt = "Three bars: the whole text, and what a cut on the left or on the right leaves of it."
    return explorer(controls, lambda i, side, max_length: render_cut(tokenizer, pairs[i], side, max_length), alt)


def lengths_of(tokenizer, pair, side="chosen"):
    """({part of the text: tokens}, token ids) of a pair's prompt with one of its answers."""
    encoded = encode(tokenizer, pair.prompt, getattr(pair, side), max_length=10**6)
    ends = [i for i, token in enumerate(encoded.ids) if token == tokenizer.eos_token_id and i >= encoded.start]
    end = ends[-1] if ends else len(encoded.ids)
    return {"prompt": encoded.start, "answer": end - encoded.start, "end mark": len(encoded.ids) - end}, encoded.ids


def render_cut(tokenizer, pair, side, max_length):
    lengths, ids = lengths_of(tokenizer, pair, side)
    if len(ids) <= max_length:
        message = f"<p>{len(ids):,} tokens: nothing is cut.</p>"
    else:
        first, last = (html.escape(repr(tokenizer.decode(part))) for part in (ids[-max_length:][:20], ids[:max_length][-20:]))  # fmt: skip
        message = (
            f"<p>{len(ids):,} tokens. Cut on the left, the text begins with {first}; the prompt keeps "
            f"{max(0, lengths['prompt'] - len(ids) + max_length)} of {lengths['prompt']} tokens. Cut on the right, it "
            f"ends with {last}, without its end mark. TRL's RewardTrainer leaves the pair out.</p>"
        )
    return figures.pairs.cut(lengths, max_length), message
