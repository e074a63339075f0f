"""The widgets of notebook 04, by trait."""

import copy

import pytest
import torch

from rmtutorial.gradients import gradient_ledger
from rmtutorial.lesson import figures, widgets
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.policy import Policy
from rmtutorial.recipe import freeze
from rmtutorial.reward_model import RewardModel


def test_dpo_explorer_shows_the_numbers_of_the_formula():
    """beta 0.1, log-ratios 5 and -5: margin 1, loss -log sigma(1) = 0.313, gradient -+ 0.1 sigma(-1) = 0.0269."""
    box = widgets.dpo.dpo_explorer()
    text = box.children[2].value
    for number in ("+0.50", "-0.50", "+1.00", "0.313", "-0.0269", "+0.0269"):
        assert number in text
    before = box.children[1].value
    box.children[0].children[0].value = 1.0  # beta
    assert "+10.00" in box.children[2].value and box.children[1].value != before


@pytest.fixture
def ledgers(sft, pairs):
    lm, tokenizer = sft
    rm = RewardModel.from_sft(lm, tokenizer, layers=None)
    torch.nn.init.ones_(rm.reward_head.weight)
    loss = lambda model: bradley_terry_loss(*model(model.batch(model.encode_pairs(pairs))).unbind(1))  # noqa: E731
    policy = Policy(copy.deepcopy(lm), tokenizer)
    policy.fix_reference()
    found = {"RM": gradient_ledger(rm, loss(rm)), "DPO": gradient_ledger(policy, loss(policy))}
    freeze(rm, 0)
    return {**found, "RM, backbone frozen": gradient_ledger(rm, loss(rm))}


def test_ledger_explorer_counts_the_parameters_that_a_gradient_reaches(ledgers):
    """RM: all. Frozen: the head alone. Each switch draws another figure."""
    box = widgets.dpo.ledger_explorer(ledgers)
    images = []
    for title, table in ledgers.items():
        box.children[0].children[0].value = title
        images.append(box.children[1].value)
        reached = 32 if "frozen" in title else table["parameters"].sum()
        assert f"<b>{reached:,}</b>" in box.children[2].value
    assert len(set(images)) == 3


def texts(ax):
    return [text.get_text().strip() for axis in ax.get_figure().axes for text in axis.texts]


def test_the_ledger_figure_says_what_no_bar_can_show(ledgers):
    """A part that is not there, one that gets no gradient, and an LM head that is the embedding matrix."""
    shown = texts(figures.dpo.gradient_ledger(ledgers))
    frozen = ledgers["RM, backbone frozen"]
    assert shown.count("× no gradient") == frozen["gradient"].isna().sum() == len(frozen) - 1
    assert shown.count("not there") == 3  # no reward head under DPO, no LM head in two reward models
    assert shown.count("= embeddings") == 1


def test_a_dot_marks_every_token_without_pull():
    """Two rows of three tokens, three zeros, and a name at each start."""
    rows = {"RM": torch.tensor([0.0, 0.0, 2.0]), "DPO": torch.tensor([0.0, 1.0, 0.5])}
    shown = texts(figures.dpo.token_gradients(rows, ["a", "b", "c"], {"chosen": 1}))
    assert shown.count("·") == 3 and shown.count("chosen") == 1
