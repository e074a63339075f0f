"""Widgets, figures and the table of ticks of notebook 04."""

import copy

import pytest
import torch

from rmtutorial.gradients import gradient_ledger
from rmtutorial.lesson import figures, widgets
from rmtutorial.lesson.ledger import ABSENT, MOVED, NONE, ZERO, reached, ticks
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


def test_the_table_of_ticks_is_the_answer_to_whose_parameters_move(ledgers):
    """Exact: the reference is a constant, a reward model has no LM head, DPO no reward head; frozen layers get nothing."""
    table = ticks(ledgers)
    assert table["RM"].tolist() == [MOVED, MOVED, ABSENT, MOVED, ABSENT]
    assert table["DPO"].tolist() == [MOVED, MOVED, MOVED, ABSENT, ABSENT]
    assert table["RM, backbone frozen"].tolist() == [NONE, NONE, ABSENT, MOVED, ABSENT]
    assert reached(ledgers["DPO"]) == {"embeddings", "blocks", "LM head"} and reached(
        ledgers["RM, backbone frozen"]
    ) == {"reward head"}


def test_a_head_of_zeros_moves_alone_and_below_it_the_gradient_is_exactly_0(sft, pairs):
    """dr/dh = w = 0: a gradient arrives and is 0, which is not the same as none. The reference gets none."""
    lm, tokenizer = sft
    rm = RewardModel.from_sft(lm, tokenizer, layers=None)
    loss = bradley_terry_loss(*rm(rm.batch(rm.encode_pairs(pairs))).unbind(1))
    table = ticks({"RM": gradient_ledger(rm, loss, reference=copy.deepcopy(lm).requires_grad_(False))})["RM"]
    assert table.to_dict() == {
        "embeddings": ZERO,
        "blocks": ZERO,
        "LM head": ABSENT,
        "reward head": MOVED,
        "reference": NONE,
    }


def texts(ax):
    return [text.get_text().strip() for axis in ax.get_figure().axes for text in axis.texts]


def test_the_heat_map_has_its_values_in_it_and_leaves_zeros_empty():
    """Two rows of three tokens, three zeros, a name at each start; of twenty tokens the last fifteen are shown."""
    rows = {"RM": torch.tensor([0.0, 0.0, 2.0]), "DPO": torch.tensor([0.0, 1.0, 0.5])}
    assert texts(figures.dpo.token_gradients(rows, ["a", "b", "c"], {"chosen": 1})) == [
        "chosen",
        "1.00",
        "1.00",
        "0.50",
    ]
    ax = figures.dpo.token_gradients({"DPO": torch.ones(20)}, [str(i) for i in range(20)], {"chosen": 2, "rejected": 9})
    assert [label.get_text() for label in ax.get_xticklabels()] == [str(i) for i in range(5, 20)]
    assert texts(ax).count("1.00") == 15 and "chosen" not in texts(ax) and "rejected" in texts(ax)


def test_the_scatter_has_one_dot_a_pair_and_a_rate_its_number():
    """Groups by marker, chosen over rejected; a rate stands beside its marker."""
    change = torch.tensor([[1.0, -1.0], [-2.0, -3.0], [0.0, 2.0]])
    ax = figures.dpo.displacement(change, {"edit": torch.tensor([0, 2]), "mirror": torch.tensor([1])})
    drawn = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert drawn["edit"] == [[-1, 1], [2, 0]] and drawn["mirror"] == [[-3, -2]]
    assert texts(figures.dpo.pass_rates({"before": (0.25, 0.2, 0.3), "after": (0.5, 0.4, 0.6)})) == ["0.25", "0.50"]
