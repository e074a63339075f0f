"""What is recorded of heads on every layer, on people's labels."""

import pytest
import torch

from rmtutorial.evaluation import pairwise_accuracy
from rmtutorial.lesson import pandalm, recorded
from rmtutorial.recipe import TrainConfig


def test_pandalm_has_a_margin_of_every_held_out_row_on_every_layer():
    """190 rows of 39 prompts; "the longer answer" is right on 0.63 of them by characters, on 0.69 by tokens."""
    found = recorded.load("pandalm layers")
    assert sorted(map(int, found["margins"])) == list(range(1, 31)) and found["ridge"] == TrainConfig.head_ridge
    assert {len(margins) for margins in found["margins"].values()} == {190} and len(set(found["prompt"])) == 39
    for unit, share in (("characters", 0.63), ("tokens", 0.69)):
        assert pairwise_accuracy(*torch.tensor(found[unit]).T) == pytest.approx(share, abs=0.005)


def test_layers_are_compared_row_by_row(tmp_path, monkeypatch):
    """Accuracy: right rows, ties by half; a gain is the mean difference of the same rows."""
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    recorded.save("pandalm layers", {"prompt": [0, 0, 1, 2], "margins": {"1": [1, -2, 0, 3], "2": [1, 2, 3, -1]}})
    table = pandalm.accuracy_by_layer()
    assert table["accuracy"].tolist() == [0.625, 0.75] and (table["low"] <= table["accuracy"]).all()
    gain, low, high = pandalm.accuracy_gain(2, 1)
    assert gain == pytest.approx(0.125) and low <= gain <= high
