"""The numbers of a report, each worked out once more from its definition."""

import math
from dataclasses import replace

import pytest
import torch

from conftest import tiny_sft
from rmtutorial.evaluation import accuracy_table, evaluate, pairwise_accuracy, wilson_interval
from rmtutorial.preferences import PreferencePair
from rmtutorial.reward_model import RewardModel


def reward_model(sft, **settings):
    """With a head that is not zero, so that the pairs get different scores."""
    rm = RewardModel.from_sft(*sft, **{"layers": None, **settings})
    torch.nn.init.normal_(rm.reward_head.weight, generator=torch.Generator().manual_seed(1))
    return rm


def token_ids(rm, prompt, answer):
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    text = rm.tokenizer.apply_chat_template(messages, tokenize=False)
    return rm.tokenizer(text, add_special_tokens=False).input_ids


# Accuracy and its interval.


@pytest.mark.parametrize(
    ("accuracy", "n", "low", "high"),
    [(0.5, 200, 0.43, 0.57), (0.6, 200, 0.53, 0.67), (0.7, 200, 0.63, 0.76), (0.8, 200, 0.74, 0.85),
     (0.0, 10, 0.0, 0.28), (1.0, 10, 0.72, 1.0)],
)  # fmt: skip
def test_wilson_interval_has_its_textbook_values(accuracy, n, low, high):
    """At 0 of 10 the upper end is z^2 / (n + z^2) = 3.84 / 13.84 = 0.28."""
    assert [round(end, 2) for end in wilson_interval(accuracy, n)] == [low, high]


@pytest.mark.parametrize("n", [1, 7, 50, 1000])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_ends_of_the_interval_are_just_not_rejected_by_the_score_test(n, share):
    """Wilson's definition: all p with |accuracy - p| <= z sqrt(p (1 - p) / n); at the ends both sides are equal."""
    for p in wilson_interval(share, n):
        assert abs(share - p) == pytest.approx(1.96 * math.sqrt(p * (1 - p) / n))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 200, 10**6])
def test_the_interval_stays_between_0_and_1_and_holds_the_accuracy(n):
    """The plain interval p +- 1.96 s has no width at 0 and 1 and leaves the range beside them."""
    for right in {0, 1, n // 2, n}:
        low, high = wilson_interval(right / n, n)
        assert 0 <= low <= right / n + 1e-12 and right / n - 1e-12 <= high <= 1
        assert low < high


def test_an_interval_of_no_pairs_is_refused():
    """0 of 0 is no proportion."""
    with pytest.raises(ValueError, match="n=0"):
        wilson_interval(0.5, 0)


def test_a_tie_counts_one_half():
    """Two right, one wrong, one tie: 2.5 of 4. A model that says the same to everything has 1/2, not 0."""
    assert pairwise_accuracy(torch.tensor([1.0, 2.0, 0.0, 3.0]), torch.tensor([0.0, 1.0, 1.0, 3.0])) == 2.5 / 4
    assert pairwise_accuracy(torch.ones(5), torch.ones(5)) == 0.5


def test_swapping_chosen_and_rejected_gives_the_rest_to_one(sft, pairs):
    """P(right) + P(wrong) = 1 with ties on both sides, and every margin changes its sign."""
    rm, swapped = reward_model(sft), [replace(p, chosen=p.rejected, rejected=p.chosen) for p in pairs]
    there, back = evaluate(rm, pairs), evaluate(rm, swapped)
    assert there.accuracy + back.accuracy == pytest.approx(1) and there.accuracy != back.accuracy
    assert there.longer_wins + back.longer_wins == pytest.approx(1)
    assert torch.allclose(there.margins, -back.margins, atol=1e-5)


# The report.


def test_the_report_measures_what_each_answer_scores_alone(sft, pairs):
    """Loss -log sigma(margin), accuracy and mean margin from plain forward passes, one answer at a time."""
    rm = reward_model(sft)
    with torch.no_grad():
        alone = [
            [
                rm.backbone(torch.tensor([token_ids(rm, p.prompt, a)])).last_hidden_state[0, -1]
                for a in (p.chosen, p.rejected)
            ]
            for p in pairs
        ]
        margins = [((good - bad) @ rm.reward_head.weight[0]).item() for good, bad in alone]
    report = evaluate(rm, pairs)
    assert report.margins.tolist() == pytest.approx(margins, abs=1e-3)
    assert report.loss == pytest.approx(sum(math.log(1 + math.exp(-m)) for m in margins) / 6, abs=1e-3)
    assert report.margin == pytest.approx(sum(margins) / 6, abs=1e-3)
    assert report.accuracy == pytest.approx(sum(m > 0 for m in margins) / 6)
    assert report.n == 6 and report.interval == wilson_interval(report.accuracy, 6)


def test_an_untrained_head_has_loss_ln2_and_accuracy_one_half(sft, pairs):
    """All rewards are 0: sigma(0) = 1/2, and every pair is a tie."""
    report = evaluate(RewardModel.from_sft(*sft, layers=None), pairs)
    assert report.loss == pytest.approx(math.log(2)) and report.accuracy == 0.5 and report.margin == 0


def test_longer_wins_is_the_accuracy_of_counting_tokens(sft, pairs):
    """Both sides have the same prompt, so the longer conversation has the longer answer; equal length is a tie."""
    pairs = [*pairs, PreferencePair("Why?", "the cat", "the mat")]
    rm, points = reward_model(sft), 0.0
    for pair in pairs:
        difference = len(token_ids(rm, pair.prompt, pair.chosen)) - len(token_ids(rm, pair.prompt, pair.rejected))
        points += 1 if difference > 0 else 0.5 if difference == 0 else 0
    assert evaluate(rm, pairs).longer_wins == pytest.approx(points / 7)
    assert 0 < points < 7 and points % 1 == 0.5  # some of each, and the tie


def test_a_prompt_that_is_cut_does_not_change_which_answer_is_longer(pairs):
    """Behind a long prompt both sides are cut to the same length; their answers are whole and as long as before."""
    long = [replace(pair, prompt="See the mat. " * 60) for pair in pairs]
    wide, narrow = (reward_model(tiny_sft("llama"), max_length=length) for length in (250, 100))
    assert evaluate(narrow, long).longer_wins == evaluate(wide, pairs).longer_wins


def test_by_axis_divides_the_pairs_and_leaves_out_those_without_axis(sft, pairs):
    """Each part is what `evaluate` says of those pairs alone, however they were batched."""
    rm, pairs = reward_model(sft), [replace(pairs[0], axis=""), *pairs[1:]]
    report = evaluate(rm, pairs)
    assert {axis: part.n for axis, part in report.by_axis.items()} == {"a": 2, "b": 3}
    for axis, part in report.by_axis.items():
        alone = evaluate(rm, [pair for pair in pairs if pair.axis == axis])
        assert torch.allclose(part.r_chosen, alone.r_chosen, atol=1e-4)
        assert (part.accuracy, part.longer_wins, part.interval) == (alone.accuracy, alone.longer_wins, alone.interval)
        assert part.loss == pytest.approx(alone.loss, abs=1e-4)


def test_the_whole_is_the_weighted_mean_of_its_axes(sft, pairs):
    """sum n_a x_a / n, for everything that is a mean over pairs."""
    report = evaluate(reward_model(sft), pairs)
    parts = report.by_axis.values()
    assert sum(part.n for part in parts) == report.n == 6
    for name in ("accuracy", "loss", "margin", "longer_wins"):
        assert sum(part.n * getattr(part, name) for part in parts) / 6 == pytest.approx(getattr(report, name), rel=1e-5)


def test_without_axes_the_report_has_no_parts(sft, pairs):
    """Asked not to divide, or nothing to divide by."""
    rm = reward_model(sft)
    assert evaluate(rm, pairs, by_axis=False).by_axis == {}
    assert evaluate(rm, [replace(pair, axis="") for pair in pairs]).by_axis == {}


def test_the_table_has_a_row_an_axis_and_one_for_all(sft, pairs):
    """What a notebook shows: accuracy between its limits, beside the length rule and chance."""
    report = evaluate(reward_model(sft), pairs)
    frame = report.to_frame()
    assert [*frame.index] == ["a", "b", "all"] and frame["pairs"].tolist() == [3, 3, 6]
    assert frame.loc["all", ["accuracy", "longer wins", "loss"]].tolist() == pytest.approx(
        [report.accuracy, report.longer_wins, report.loss]
    )
    assert (frame["low"] <= frame["accuracy"]).all() and (frame["accuracy"] <= frame["high"]).all()
    assert (frame["chance"] == 0.5).all()


def test_the_report_as_text_has_accuracy_interval_and_the_two_baselines(sft, pairs):
    """An accuracy without its interval and without the length rule beside it says little."""
    report = evaluate(reward_model(sft), pairs)
    low, high = report.interval
    wanted = [f"{report.accuracy:.2f} [{low:.2f}, {high:.2f}] on 6 pairs", f"wins: {report.longer_wins:.2f}", "0.50"]
    assert all(part in str(report) for part in wanted)


def test_an_empty_list_is_refused(sft):
    """A mean over nothing is nan, and a nan in a table looks like a bad model."""
    with pytest.raises(ValueError, match="list of pairs is empty"):
        evaluate(reward_model(sft), [])


def test_accuracy_table_has_a_row_for_each_judge_with_its_interval():
    """One right, one wrong, one tie of three: 1/2, between Wilson's bounds for n = 3."""
    table = accuracy_table(
        {"a": torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]), "b": torch.tensor([[1.0, 0.0]] * 3)}
    )
    assert table.loc["a", "accuracy"] == 0.5 and table.loc["b", "accuracy"] == 1.0
    assert tuple(table.loc["a", ["low", "high"]]) == wilson_interval(0.5, 3) and table["pairs"].tolist() == [3, 3]
