"""What `accelerate config` left in the environment, or another Accelerator in the kernel, does not reach what is learned."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from conftest import tiny_sft
from rmtutorial.processes import ENGINES
from rmtutorial.recipe import TrainConfig
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """As in a new process: accelerate keeps its state for the life of one."""

    def forget():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    forget()
    yield
    forget()


def train(pairs):
    """(norms of the gradients, weights of the head) of a short run."""
    rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None)
    history = train_reward_model(rm, pairs, TrainConfig(epochs=2, train_top=1, batch_size=2, lr=1e-3))
    return [row["grad_norm"] for row in history.steps], rm.reward_head.weight.detach().clone()


def assert_same(found, expected):
    assert found[0] == expected[0] and torch.equal(found[1], expected[1])


@pytest.mark.parametrize(
    "name, value",
    [("GRADIENT_ACCUMULATION_STEPS", "3"), ("GRADIENT_ACCUMULATION_STEPS", "auto"), ("MIXED_PRECISION", "bf16"), ("MIXED_PRECISION", "fp16"),
     ("MIXED_PRECISION", "fp8"), ("DYNAMO_BACKEND", "inductor"), ("FP8_BACKEND", "TE"), ("DOWNCAST_BF16", "true"),
     ("USE_CPU", "true")],
)  # fmt: skip
def test_the_recipes_gradients_hold_whatever_the_environment_says(pairs, monkeypatch, name, value):
    """The same numbers to the last bit; a quarter of the gradient would go unnoticed, since the loss falls all the same."""
    expected = train(pairs)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    assert_same(train(pairs), expected)


@pytest.mark.parametrize("settings", [{"gradient_accumulation_steps": 5}, {"dynamo_backend": "eager"}])
def test_another_accelerator_in_the_kernel_changes_nothing(pairs, settings):
    """accelerate shares its state among all of them; one that was left in the middle of accumulating stops every step."""
    expected = train(pairs)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    Accelerator(cpu=True, **settings).gradient_state._set_sync_gradients(False)
    assert_same(train(pairs), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_another_engine_is_refused_with_the_name_of_its_variable(pairs, monkeypatch, engine):
    """It would wrap the model and step in its own way: the loop that one reads would not be the one that runs."""
    monkeypatch.setenv(f"ACCELERATE_USE_{engine}", "true")
    with pytest.raises(ValueError, match=f"ACCELERATE_USE_{engine}=true in the environment"):
        train(pairs)
