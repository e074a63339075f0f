"""Records of the scripts that ask which layers to keep; each is checked once it is there."""

import pytest
import torch

from rmtutorial.checkpoints import MAY_CHANGE
from rmtutorial.evaluation import pairwise_accuracy
from rmtutorial.lesson import recorded
from rmtutorial.recipe import TrainConfig


def loaded(name, script):
    found = recorded.load(name)
    if found is None:
        pytest.skip(f"not recorded yet: tests/bench/{script}")
    return found


def test_the_runs_of_30_layers_differ_from_those_of_16_in_nothing_else():
    """The same recipe, rows and seeds, judged on the same 328 rows."""
    for seed, run in loaded("depths", "depths.py").items():
        half = recorded.load(f"seed {seed}")
        recipe = {key: value for key, value in vars(TrainConfig(seed=int(seed))).items() if key not in MAY_CHANGE}
        assert run["recipe"] == recipe and run["rows"] == half["rows"] and run["layers"] == 30
        report = recorded.report(run["rewards"])
        assert report.n == 328 and report.loss == pytest.approx(run["evaluations"][-1]["loss"], abs=2e-3)


def test_pandalm_has_a_margin_of_every_held_out_row_on_every_layer():
    """190 rows of 39 prompts; "the longer answer" is right on 0.63 of them by characters, on 0.69 by tokens."""
    found = loaded("pandalm layers", "pandalm_layers.py")
    assert sorted(map(int, found["margins"])) == list(range(1, 31)) and found["ridge"] == TrainConfig.head_ridge
    assert {len(margins) for margins in found["margins"].values()} == {190} and len(set(found["prompt"])) == 39
    for unit, share in (("characters", 0.63), ("tokens", 0.69)):
        assert pairwise_accuracy(*torch.tensor(found[unit]).T) == pytest.approx(share, abs=0.005)
