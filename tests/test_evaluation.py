"""The numbers of a report, each worked out once more from its definition."""

import math
from dataclasses import replace

import pytest
import torch

from conftest import tiny_sft
from rmtutorial.evaluation import accuracy_table, compare, evaluate, pairwise_accuracy, report_of
from rmtutorial.intervals import accuracy_interval, bootstrap_means, grouped_interval, mcnemar, units, wilson_interval
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
    assert report.n == 6 and report.interval == accuracy_interval(report.right, units(pairs))
    assert report.right.mean().item() == pytest.approx(report.accuracy)
    assert report.losses.mean().item() == pytest.approx(report.loss, abs=1e-5)


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


def test_accuracy_table_has_a_row_for_each_judge_with_its_interval(pairs):
    """One right, one wrong, one tie of three: 1/2, and the interval by set."""
    scores = {"a": torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]), "b": torch.tensor([[1.0, 0.0]] * 3)}
    table = accuracy_table(scores, pairs[1:4])
    assert table.loc["a", "accuracy"] == 0.5 and table.loc["b", "accuracy"] == 1.0
    right = torch.tensor([1.0, 0.0, 0.5])
    assert tuple(table.loc["a", ["low", "high"]]) == accuracy_interval(right, units(pairs[1:4]))
    assert tuple(table.loc["b", ["low", "high"]]) == wilson_interval(1.0, 3) and table["pairs"].tolist() == [3, 3]


# Intervals by the unit that varies.


def test_with_one_row_a_unit_the_bootstrap_is_the_textbook_interval():
    """200 independent rows, 70 % right: mean +- 1.96 sqrt(p (1 - p) / n), to a point."""
    right = torch.tensor([1.0] * 140 + [0.0] * 60)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 200)
    assert grouped_interval(right, range(200)) == pytest.approx((0.7 - half, 0.7 + half), abs=0.01)


def test_rows_that_err_together_make_the_interval_wider():
    """Every row four times: the spread is that of 50 rows, not of 200. An interval over rows is half as wide."""
    right = torch.tensor([1.0] * 35 + [0.0] * 15).repeat_interleave(4)
    (low, high), over_rows = grouped_interval(right, [i // 4 for i in range(200)]), wilson_interval(0.7, 200)
    assert (high - low) / (over_rows[1] - over_rows[0]) == pytest.approx(2, abs=0.1)


def test_twins_that_err_in_opposite_ways_make_the_interval_narrower():
    """A judge who ignores the prompt has one of two right in every mirror set: 0.5 exactly, whatever is drawn."""
    right = torch.tensor([1.0, 0.0] * 50)
    assert grouped_interval(right, [i // 2 for i in range(100)]) == (0.5, 0.5)
    low, high = wilson_interval(0.5, 100)
    assert high - low > 0.19


def test_the_mean_of_units_of_unequal_size_counts_rows():
    """One unit of nine rows, all right, one of a single row, wrong: means of a draw are 1, 0.9 or 0."""
    means = bootstrap_means(torch.tensor([1.0] * 9 + [0.0]), [0] * 9 + [1], draws=400)
    assert {round(m, 3) for m in means.tolist()} == {0.0, 0.9, 1.0}
    assert (means == 0.9).double().mean().item() == pytest.approx(0.5, abs=0.08)


def test_about_95_of_100_intervals_hold_the_truth():
    """Simulated sets whose two rows share their luck: the interval by set holds the true share, that by row too rarely."""
    generator = torch.Generator().manual_seed(0)
    held = torch.zeros(2)
    for _ in range(300):
        right = (torch.rand(60, generator=generator) < 0.7).double().repeat_interleave(2)  # 60 sets of two equal rows
        for i, unit in enumerate(([k // 2 for k in range(120)], range(120))):
            low, high = torch.quantile(bootstrap_means(right, unit, draws=200), torch.tensor([0.025, 0.975]).double())
            held[i] += low <= 0.7 <= high
    assert held[0] / 300 > 0.9 and held[1] / 300 < 0.88


def test_where_all_rows_are_right_the_interval_is_wilsons_for_as_many_rows_as_units():
    """A bootstrap of ones has no width, and ten rows of five sets are no proof of perfection."""
    assert accuracy_interval(torch.ones(10), [i // 2 for i in range(10)]) == wilson_interval(1.0, 5)
    assert accuracy_interval(torch.full((10,), 0.5), [i // 2 for i in range(10)]) == (0.5, 0.5)  # a head of zeros
    with pytest.raises(ValueError, match="one unit alone"):
        grouped_interval(torch.tensor([0.0, 1.0]), ["a", "a"])


def test_a_unit_is_the_set_the_prompt_or_a_column(pairs):
    """Without a group the prompt is the unit; a column that is empty somewhere is refused."""
    assert len(set(units(pairs))) == 5 and len(set(units(pairs, "axis"))) == 2
    alone = [replace(pair, group="") for pair in pairs]
    assert len(set(units(alone))) == len(set(units(pairs, "prompt"))) == 5  # two of six share their prompt
    with pytest.raises(ValueError, match="by='topic': 6 of 6 pairs have no topic"):
        units(pairs, "topic")


# Two judges on the same rows.


def report(margins, pairs):
    rewards = torch.stack([torch.tensor(margins), torch.zeros(len(margins))], dim=1)
    return report_of(rewards, torch.ones(len(margins), 2), pairs)


@pytest.fixture
def many():
    """100 pairs, each a set of its own."""
    return [PreferencePair(f"Why {i}?", "yes", "no", group=f"s{i}") for i in range(100)]


def test_a_paired_comparison_sees_what_overlapping_intervals_hide(many):
    """One judge is better by 0.1 logits on every row: the two accuracies overlap, the difference of losses is clear."""
    noise = torch.randn(100, generator=torch.Generator().manual_seed(0))
    a, b = report((noise + 0.6).tolist(), many), report((noise + 0.5).tolist(), many)
    assert a.interval[0] < b.interval[1]
    found = compare(a, b)
    assert found.loss_interval[0] > 0 and found.loss_gain == pytest.approx(b.loss - a.loss, abs=1e-6)
    assert found.accuracy_gain == pytest.approx(a.accuracy - b.accuracy, abs=1e-6)
    assert found.only_a >= 1 and found.only_b == 0
    back = compare(b, a)
    assert back.loss_gain == pytest.approx(-found.loss_gain) and (back.only_a, back.only_b) == (0, found.only_a)
    lower, higher = str(found).partition(" nats")[0], str(back).partition(" nats")[0]
    assert lower.startswith("loss lower by 0.") and "-" not in lower  # and not "lower by -0.001"
    assert higher == lower.replace("lower", "higher")


def test_a_judge_does_not_differ_from_itself(many):
    """No gain, no width, p = 1."""
    one = report(torch.randn(100, generator=torch.Generator().manual_seed(1)).tolist(), many)
    found = compare(one, one)
    assert (found.loss_gain, *found.loss_interval, found.accuracy_gain, found.p) == (0, 0, 0, 0, 1)


def test_reports_of_other_rows_are_refused(many):
    """Same number, other order: a difference row by row would be nonsense."""
    one = report([1.0] * 100, many)
    with pytest.raises(ValueError, match="reports of other rows"):
        compare(one, report([1.0] * 100, many[::-1]))


@pytest.mark.parametrize(("a", "b", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (8, 2, 2 * 56 / 1024), (5, 5, 1.0)])
def test_mcnemar_is_the_binomial_test_of_the_rows_on_which_they_differ(a, b, p):
    """8 to 2: twice (1 + 10 + 45) / 1024, as heads and tails of a fair coin."""
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(p)


def test_a_judge_who_ignores_the_prompt_has_no_mirror_set_right():
    """One of two rows is right in each; whoever reads the prompt can have both."""
    rows = [PreferencePair(f"Why {i}?", *answers, group=f"m{i // 2}", kind="mirror")
            for i in range(8) for answers in [("a", "b") if i % 2 else ("b", "a")]]  # fmt: skip
    blind = report([1.0, -1.0] * 4, rows)
    assert blind.accuracy == 0.5 and not any(blind.sets_right().values()) and len(blind.sets_right()) == 4
    assert sum(report([1.0] * 6 + [1.0, -1.0], rows).sets_right().values()) == 3
    assert blind.sets_right("edit") == {}
