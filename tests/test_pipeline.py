"""The drawn pipeline shows the tensors of a run; the steps of a training can be looked back at; a pair of one's own."""

import matplotlib.pyplot as plt
import pytest
import torch

from conftest import tiny_sft
from rmtutorial.evaluation import evaluate
from rmtutorial.lesson import figures, widgets
from rmtutorial.lesson.figures.pipeline import PARTS
from rmtutorial.lesson.figures.steps import mirror_margins
from rmtutorial.lesson.parts import gradient_norm, parts_before_head, parts_of, parts_of_rewards
from rmtutorial.lesson.steps import Steps, margins
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.preferences import load_preferences
from rmtutorial.reward_model import RewardModel


@pytest.fixture(autouse=True)
def close_all():
    yield
    plt.close("all")


@pytest.fixture
def rm():
    rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None, pooling="mean")
    torch.nn.init.normal_(rm.reward_head.weight, generator=torch.Generator().manual_seed(1))
    return rm


def written(ax):
    return [text.get_text() for text in ax.texts]


def test_the_parts_are_those_of_the_model(rm, pairs):
    """Rewards, loss and gradient by another route: packed, and autograd on the package's loss."""
    parts = parts_of(rm, pairs[1])
    rewards = torch.cat(rm.score_pairs([pairs[1]]))
    assert torch.allclose(torch.tensor(parts["reward"]), rewards, atol=1e-4)
    assert parts["margin"] == pytest.approx((rewards[0] - rewards[1]).item(), abs=1e-4)
    assert parts["loss"] == pytest.approx(bradley_terry_loss(rewards[:1], rewards[1:]).item(), abs=1e-4)
    push = torch.sigmoid(rewards[1] - rewards[0]).item()
    assert parts["gradient"]["reward"] == pytest.approx([-push, push], abs=1e-4)
    difference = parts["pooled"][0] - parts["pooled"][1]
    assert parts["gradient"]["head"] == pytest.approx((push * difference.norm()).item(), rel=1e-3)
    assert parts["gradient"]["backbone"] > 0 and all(p.grad is None for p in rm.parameters())
    assert list(parts) == list(PARTS)


def test_frozen_layers_have_no_gradient_to_show(rm, pairs):
    """A head alone learns in the first phase of notebook 03."""
    rm.backbone.requires_grad_(False)
    assert parts_of(rm, pairs[0])["gradient"]["backbone"] == 0


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_picture_has_the_numbers_of_the_run(rm, pairs, pooling):
    """Both rewards, margin, loss and gradient are written; the states are those that were given."""
    rm.pooling = pooling
    parts = parts_of(rm, pairs[0])
    ax = figures.pipeline.pipeline(parts, "gradient", pooling)
    numbers = [f"{parts['margin']:+.2f}", f"{parts['loss']:.2f}", *(f"{r:.2f}" for r in parts["reward"])]
    assert set(numbers) <= set(written(ax))
    assert any(f"norm {parts['gradient']['backbone']:.2f}" in text for text in written(ax))
    shown = [image.get_array() for image in ax.images]
    assert torch.equal(torch.tensor(shown[0]), parts["states"][0][:, :24])
    assert torch.equal(torch.tensor(shown[3]), parts["pooled"][1][None, :24])


def test_the_bracket_marks_what_is_pooled(rm, pairs):
    """Of the mean the answer's rows, of the last token one row."""
    parts = {name: value for name, value in parts_of(rm, pairs[0]).items() if name in PARTS[:5]}
    height = {}
    for pooling in ("mean", "last"):
        ax = figures.pipeline.pipeline(parts, pooling=pooling)
        bracket = next(line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 4)
        height[pooling] = max(bracket) - min(bracket)
    assert height["mean"] == pytest.approx(parts["tokens"][0][1] * height["last"])


def test_what_is_still_to_come_is_an_empty_frame_and_what_is_lit_is_bold(rm, pairs):
    """After each part the picture can be drawn, and no number stands there before its time."""
    parts = parts_of(rm, pairs[0])
    for count in range(len(PARTS) + 1):
        known = {name: parts[name] for name in PARTS[:count]}
        lit = PARTS[min(count, len(PARTS) - 1)]
        ax = figures.pipeline.pipeline(known, lit)
        assert (f"{parts['loss']:.2f}" in written(ax)) == ("loss" in known)
        bold = [
            text.get_text()
            for text in ax.texts
            if text.get_weight() == "bold" and text.get_text() in (*PARTS, "prompt and answers")
        ]
        assert bold == [{"text": "prompt and answers"}.get(lit, lit)]
        ax.figure.canvas.draw()


def test_a_part_that_does_not_exist_is_refused(rm, pairs):
    """A slip of the pen in `lit` or in the dict."""
    with pytest.raises(ValueError, match="no part is called pool; there are text, tokens"):
        figures.pipeline.pipeline({}, lit="pool")
    with pytest.raises(ValueError, match="no part is called rewards"):
        figures.pipeline.pipeline({"rewards": [0, 1]})


def test_the_strip_has_the_same_parts_and_numbers(rm, pairs):
    """Names in order, today's in bold brackets; below each a line for each answer, or one for both."""
    parts = parts_of(rm, pairs[0])
    found = figures.strip.pipeline(parts, lit=("margin", "loss")).data
    names, known = ([cell.split("</td>")[0] for cell in row.split("<td>")[1:]][::2] for row in found.split("<tr>")[1:])
    assert names == ["prompt and answers", *PARTS[1:6], "<b>[margin]</b>", "<b>[loss]</b>", "gradient"]
    T, H = parts["states"][1].shape
    assert known[3].endswith(f"<br>{T}&nbsp;×&nbsp;{H}") and known[6] == f"{parts['margin']:+.2f}"
    assert known[5] == "<br>".join(f"{r:.2f}" for r in parts["reward"])
    assert known[8] == "<br>".join(f"{push:+.2f}" for push in parts["gradient"]["reward"])


def test_the_strip_shows_dots_for_what_is_not_known_and_refuses_other_names(pairs):
    """As in notebook 03, where rewards are recorded and no model is there yet."""
    found = figures.strip.pipeline(parts_of_rewards(pairs[0], [1.0, -1.0]), lit=("loss",)).data
    assert found.count("<td>…<") == 5 and ">+2.00<" in found and ">0.13<" in found  # log(1 + e^-2)
    with pytest.raises(ValueError, match="no part is called pool; there are text"):
        figures.strip.pipeline({}, lit=("pool",))


def test_the_parts_before_the_head_are_those_of_a_reward_model_that_reads_the_last_token(rm, pairs):
    """The head changes nothing below it, so the language model's backbone gives the same states."""
    rm.pooling = "last"
    whole, known = parts_of(rm, pairs[1]), parts_before_head(rm.backbone, rm.tokenizer, pairs[1])
    assert list(known) == list(PARTS[:5]) and known["tokens"] == whole["tokens"]
    for name in ("states", "pooled"):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(known[name], whole[name]))
    rewards = parts_of_rewards(pairs[1], whole["reward"])
    assert all(rewards[name] == pytest.approx(whole[name], abs=1e-5) for name in ("reward", "margin", "loss"))


def test_a_gradient_norm_is_over_all_parameters_that_have_one():
    """3-4-5, and a parameter without gradient does not count."""
    model = torch.nn.Linear(1, 1)
    extra = torch.nn.Parameter(torch.zeros(2))
    model.register_parameter("frozen", extra)
    model.weight.grad, model.bias.grad = torch.full((1, 1), 3.0), torch.full((1,), 4.0)
    assert gradient_norm(model) == pytest.approx(5.0)


def test_the_steps_of_a_training_are_found_again(rm, pairs):
    """Scores before training and after each step, as they were then; the weights stay where training has left them."""
    optimizer = torch.optim.AdamW(rm.parameters(), lr=1e-3)
    steps, seen = Steps(rm), [torch.cat(rm.score_pairs(pairs[:1])).tolist()]
    for pair in pairs[:3]:
        optimizer.zero_grad()
        bradley_terry_loss(*rm(rm.batch(rm.encode_pairs([pair]))).unbind(1)).backward()
        optimizer.step()
        steps.keep()
        seen.append(torch.cat(rm.score_pairs(pairs[:1])).tolist())
    last = {name: value.clone() for name, value in rm.state_dict().items()}
    found = steps.at_each(lambda: torch.cat(rm.score_pairs(pairs[:1])).tolist())
    assert torch.allclose(torch.tensor(found), torch.tensor(seen), atol=1e-3)
    assert len({round(r[0], 4) for r in found}) == 4
    assert all(torch.equal(value, last[name]) for name, value in rm.state_dict().items())


def test_the_weights_come_back_after_an_error_too(rm):
    """A text that cannot be scored must not leave the model at step 0."""
    steps = Steps(rm)
    with torch.no_grad():
        rm.reward_head.weight += 1
    steps.keep()
    now = rm.reward_head.weight.clone()
    with pytest.raises(ZeroDivisionError):
        steps.at_each(lambda: 1 / 0)
    assert torch.equal(rm.reward_head.weight, now)


def test_frozen_weights_are_not_kept(rm):
    """They do not move, and they are half of the memory."""
    rm.backbone.requires_grad_(False)
    assert len(Steps(rm).weights) == 1


REWARDS = torch.tensor([[0.0, 0.1], [0.5, -0.25], [1.5, -1.0]])


def test_a_panel_shows_the_rewards_of_both_answers():
    """Two lines a panel, with the numbers that were given."""
    ax = figures.steps.rewards_by_step({"one": REWARDS, "two": REWARDS + 1, "three": -REWARDS})
    lines = {line.get_label(): line.get_ydata().tolist() for line in ax.figure.axes[1].lines}
    assert lines == {"chosen": pytest.approx([1.0, 1.5, 2.5]), "rejected": pytest.approx([1.1, 0.75, 0.0])}
    assert [a.get_title() for a in ax.figure.axes[:3]] == ["one", "two", "three"]


def controls(box):
    return {control.description: control for control in box.children[0].children}


def test_a_typed_pair_is_scored_at_each_step():
    """What is typed reaches the model; table, picture and verdict follow."""
    asked = []

    def rewards(*texts):
        asked.append(texts)
        return REWARDS if texts[0] == "p" else -REWARDS

    box = widgets.steps.own_pair(rewards, "p", "a", "b")
    before = box.children[1].value
    assert all(number in box.children[2].value for number in ("-0.10", "+0.75", "+2.50"))
    assert "prefers <b>the first answer by 2.50</b>" in box.children[2].value
    controls(box)["prompt"].value = "<b>q</b>"
    assert asked == [("p", "a", "b"), ("<b>q</b>", "a", "b")] and box.children[1].value != before
    assert "prefers <b>the second answer by 2.50</b>" in box.children[2].value
    assert "<b>q" not in box.children[2].value


def test_an_empty_field_is_asked_for_and_nothing_is_scored():
    """While one text is rewritten another may be empty."""
    box = widgets.steps.own_pair(lambda *texts: REWARDS, "p", "a", "b")
    controls(box)["second answer"].value = "  "
    assert "Type the second answer." in box.children[2].value


def test_edit_and_mirror_rows_stand_apart_with_their_intervals(rm):
    """Accuracies and interval ends are those of the reports; each mirror set is one square."""
    test = load_preferences(split="test")
    rows = {kind: [pair for pair in test if pair.kind == kind][:6] for kind in ("edit", "mirror")}
    reports = {kind: evaluate(rm, part) for kind, part in rows.items()}
    ax = figures.steps.kinds_apart(reports, reports)
    drawn = [line.get_xdata() for line in ax.lines]
    for kind, at in (("edit", 0), ("mirror", 4)):
        assert tuple(drawn[at]) == pytest.approx(reports[kind].interval)
        assert drawn[at + 1][0] == pytest.approx(reports[kind].accuracy)
    margins = mirror_margins(reports["mirror"])
    assert margins.shape == (3, 2)
    squares = ax.figure.axes[1].lines[1].get_xydata()
    assert torch.allclose(torch.tensor(squares).float(), margins)
    assert margins[0].tolist() == pytest.approx(reports["mirror"].margins[:2].tolist())


def test_margins_are_chosen_less_rejected():
    """Whatever takes a prompt and an answer is a model: here the length of the answer is its reward."""
    pairs = load_preferences()[:3]
    found = margins(lambda prompt, answer: torch.tensor(float(len(answer))), pairs)
    assert found == [len(pair.chosen) - len(pair.rejected) for pair in pairs]
