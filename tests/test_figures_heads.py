"""The drawings of notebook 01 show the numbers that they were given."""

import matplotlib.pyplot as plt
import pandas
import pytest
from matplotlib.patches import Rectangle

from rmtutorial.lesson import figures

TOKENS = ["Who", "?", "<|im_end|>", "\n", "Me", "<|im_end|>"]


@pytest.fixture(autouse=True)
def close_all():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def boxes(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def test_the_swap_shows_shapes_and_weights():
    """Of a toy: embeddings 10 x 4 = 40 weights in both towers, a tied head that has none of its own, 4 in the new one."""
    shown = texts(figures.heads.head_swap(3, 10, 4, 99, tied=True, tokens=7))
    assert shown.count("embeddings (10, 4)\n40 weights") == 2
    assert shown.count("3 layers and a norm\n3 x 99 + 4 weights") == 2
    assert "reward head\n(4,): 4 weights" in shown and "logits (1, 7, 10)" in shown and "reward (1,)" in shown
    assert any("tied" in text for text in shown)
    assert not any("tied" in text for text in texts(figures.heads.head_swap(3, 10, 4, 99, tied=False, tokens=7)))


def test_the_arrows_of_the_batch_end_at_the_tokens_that_are_read():
    """Rules that read one token share an arrow; padding is written as padding, whatever its token is."""
    rows = {"right": ([*TOKENS, "<|im_end|>"], [1] * 6 + [0]), "left": (["<|im_end|>", *TOKENS], [0] + [1] * 6)}
    reads = {"right": {"end": 6, "last 1 of the mask": 5}, "left": {"end": 6, "last 1 of the mask": 6, "odd": -7}}
    ax, other = figures.reading.padded_batch(rows, reads).figure.axes
    assert {text.get_text(): text.xy[0] for text in ax.texts if hasattr(text, "xy")} == {
        "end": 6,
        "last 1 of the mask": 5,
    }
    assert {text.get_text(): text.xy[0] for text in other.texts if hasattr(text, "xy")} == {
        "end\nlast 1 of the mask": 6,
        "odd": 0,
    }
    assert texts(ax).count("pad") == texts(other).count("pad") == 1 and len(boxes(ax)) == 7


def test_every_token_of_a_trace_is_drawn_with_its_value():
    """The last one in a thick frame; positive and negative on different colors; long answers on several lines."""
    ax = figures.reading.trace_text({"one": (TOKENS, [0.5, -0.5, 1, 0, -1, 2.0]), "two": (["word"] * 60, [1.0] * 60)})
    shown = texts(ax)
    assert shown.count("word") == 60 and {"+0.5", "-0.5", "+2.0", "one", "two", "\\n"} <= set(shown)
    thick = [box for box in boxes(ax) if box.get_linewidth() > 1]
    assert len(thick) == 2 and len(boxes(ax)) == 66
    assert boxes(ax)[0].get_facecolor() != boxes(ax)[1].get_facecolor()
    assert len({box.get_y() for box in boxes(ax)[6:]}) > 1


def test_both_sets_of_pairs_stand_in_one_figure():
    """Their dots are the accuracies, their bars the ends of the intervals."""
    sweep = pandas.DataFrame({"accuracy": [0.5, 0.7], "low": [0.4, 0.6], "high": [0.6, 0.8]}, index=[1, 2])
    ax = figures.layers.layer_sweep(sweep, 2, {"PandaLM": sweep.loc[[2]] + 0.1})
    labels = ax.get_legend_handles_labels()[1]
    assert {"this course's pairs, 95 %", "PandaLM, 95 %", "layer 2", "chance"} == set(labels)
    ours, theirs = (container.lines[0].get_ydata() for container in ax.containers)
    assert list(ours) == [0.5, 0.7] and list(theirs) == [pytest.approx(0.8)]
