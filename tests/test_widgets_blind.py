"""The blind rating of notebook 05: sides at random, the key after the last answer, the same pairs on paper."""

import pytest

from rmtutorial.lesson import widgets
from rmtutorial.lesson.widgets import blind

PROMPTS = [f"prompt {i}?" for i in range(10)]
PICKED, RANDOM = ([f"{name} {i}" for i in range(10)] for name in ("picked", "random"))


def rating(**settings):
    box = widgets.blind.blind_rating(PROMPTS, PICKED, RANDOM, ("the pick", "a random one"), **settings)
    return box.children[0].children, box.children[1]


def test_both_sides_occur_and_a_seed_gives_the_same_ones():
    """A reader who always says A gets about half; the printed table and the buttons have one key."""
    assert blind.sides(10) == blind.sides(10) and len({tuple(blind.sides(10, seed)) for seed in range(20)}) > 15
    assert 4000 < blind.sides(10_000).count("A") < 6000


@pytest.mark.parametrize("seed", [0, 1])
def test_each_row_holds_both_answers_on_the_side_that_the_key_names(seed):
    """The first answer stands below the letter of its side, the second below the other."""
    for i, (row, side) in enumerate(zip(blind.side_by_side(PROMPTS, PICKED, RANDOM, seed), blind.sides(10, seed))):
        assert row["prompt"] == PROMPTS[i] and row[side] == PICKED[i] and {row["A"], row["B"]} == {PICKED[i], RANDOM[i]}


def test_nothing_tells_where_an_answer_comes_from_before_the_last_is_judged():
    """Pairs in turn; the names and the key only at the end, and then no click counts."""
    buttons, text = rating()
    for i, row in enumerate(blind.side_by_side(PROMPTS, PICKED, RANDOM)):
        assert f"Pair {i + 1} of 10" in text.value and "the pick" not in text.value
        assert text.value.index(row["A"]) < text.value.index(row["B"])
        buttons[0].click()
    assert "the pick" in text.value and " ".join(blind.sides(10)) in text.value and buttons[0].disabled
    before = text.value
    buttons[1].click()
    assert text.value == before


def test_who_always_sides_with_the_first_gets_all_points_and_an_interval_that_has_a_width():
    """Ten of ten: Wilson's interval for ten, from 0.72."""
    buttons, text = rating(seed=3)
    for side in blind.sides(10, 3):
        buttons["AB".index(side)].click()
    assert "<b>10</b> of 10" in text.value and "1.00 [0.72, 1.00]" in text.value


def test_no_difference_is_half_a_point():
    """Ten ties are 5 of 10."""
    assert blind.wins_of_first("=" * 10) == [0.5] * 10
    assert "<b>5</b> of 10" in blind.render_result("=" * 10, ("the pick", "a random one"))


def test_another_letter_is_refused_with_its_place():
    """A typing error in the notebook."""
    with pytest.raises(ValueError, match="answer 2 is 'C'"):
        blind.wins_of_first("AC")


def test_texts_are_shown_and_not_run():
    """A sample may hold HTML; it is data."""
    text = widgets.blind.blind_rating(["<b>?"], ["<script>1</script>\nline"], ["x"]).children[1].value
    assert "<script" not in text and "<b>?" not in text and "<br>line" in text
