"""Widgets without a browser: set a trait, read what the image and the text show."""

import itertools
import json

import ipywidgets
import pandas
import pytest
import torch

from rmtutorial.features import pooled_features
from rmtutorial.lesson import widgets
from rmtutorial.preferences import load_preferences
from rmtutorial.probe import layer_features
from rmtutorial.reward_model import RewardModel

PNG = 'src="data:image/png;base64,iVBORw0KGgo'  # the first bytes of every PNG


@pytest.fixture
def rm(sft):
    return RewardModel.from_sft(*sft, layers=None)


def controls(box):
    return {control.description: control for control in box.children[0].children}


def test_sigmoid_and_loss_shows_the_numbers_of_the_formula():
    """Margin 1 - 3 = -2: P = sigma(-2) = 0.119, loss -log 0.119 = 2.127, gradient -sigma(2) = -0.881."""
    box = widgets.loss.sigmoid_and_loss()
    before = box.children[1].value
    controls(box)["reward of rejected"].value = 3.0
    assert box.children[1].value != before and PNG in box.children[1].value
    text = box.children[2].value
    for number in ("-2.0", "0.119", "2.127", "-0.881", "+0.881"):
        assert number in text


def test_the_picture_of_a_widget_has_a_text_for_those_who_cannot_see_it():
    """alt, escaped; the Image widget of ipywidgets has none."""
    assert 'alt="The sigmoid and the loss over the margin' in widgets.loss.sigmoid_and_loss().children[1].value
    assert (
        widgets.img(b"x", 'a "b"')
        == '<img style="max-width:100%" alt="a &quot;b&quot;" src="data:image/png;base64,eA==">'
    )


def test_pair_explorer_shows_all_tokens_once_and_frames_the_scored_ones(rm, pairs):
    """As many spans as the packed batch has tokens; two of them framed."""
    box = widgets.pairs.pair_explorer(rm, pairs)
    for i in (0, 4):
        controls(box)["pair"].value = i
        text = box.children[2].value
        assert text.count("<span") == rm.batch(rm.encode_pairs([pairs[i]])).tokens
        assert text.count("2px solid black") == 2
    assert PNG in box.children[1].value


def test_text_of_a_pair_is_shown_and_not_run(rm, pairs):
    """A prompt may hold HTML; it is data."""
    from dataclasses import replace

    evil = replace(pairs[0], prompt="<script>alert(1)</script>", chosen="<b>no</b>")
    assert "<script" not in widgets.pairs.pair_explorer(rm, [evil]).children[2].value
    question = widgets.labels.render_question(evil, 0)
    assert "<script" not in question and "<b>no" not in question


def test_training_explorer_trains_anew_at_every_move():
    """Features that tell the answers apart: no learning at a tiny rate and one epoch, nearly all at a high one."""
    torch.manual_seed(0)
    features = torch.randn(64, 2, 16) + torch.tensor([[0.5], [-0.5]])
    box = widgets.training.training_explorer(features[:48], features[48:], range(16))
    controls(box)["learning rate"].value = 0.1
    controls(box)["epochs"].value = 20
    good = box.children[2].value
    controls(box)["pairs"].value = min(controls(box)["pairs"].options)
    assert "48 pairs, 20 epochs" in good and box.children[2].value != good
    assert PNG in box.children[1].value


def test_the_layer_explorer_tells_the_numbers_of_the_layer_it_is_on():
    """Accuracy and interval of the third layer, and of the other set of pairs where that has this layer."""
    sweep = pandas.DataFrame({"accuracy": [0.5, 0.6, 0.7], "low": [0.4, 0.5, 0.6], "high": [0.6, 0.7, 0.8]}, [1, 2, 3])
    box = widgets.layers.layer_explorer(sweep, layer=1, other={"PandaLM": sweep.loc[[2]] + 0.1})
    assert "layer 1: held-out accuracy <b>0.50</b> [0.40, 0.60]" in box.children[2].value
    controls(box)["layer"].value = 2
    assert "layer 2: held-out accuracy <b>0.60</b> [0.50, 0.70]" in box.children[2].value
    assert "PandaLM <b>0.70</b> [0.60, 0.80]" in box.children[2].value


def test_the_features_of_each_layer_are_those_of_a_backbone_cut_there(sft, pairs):
    """Cutting the model after layer k and reading the head's input gives the k-th features, by either pooling."""
    features = layer_features(RewardModel.from_sft(*sft, layers=None), pairs, ("last", "mean"))
    for how, k in itertools.product(("last", "mean"), (1, 3, 4)):
        cut = RewardModel.from_sft(*sft, layers=k, pooling=how)
        torch.testing.assert_close(features[how][k - 1], pooled_features(cut, pairs), atol=1e-5, rtol=0)
    some = layer_features(RewardModel.from_sft(*sft, layers=None), pairs, {"last": range(1, 5), "mean": [3]})
    assert torch.equal(some["last"], features["last"]) and torch.equal(some["mean"], features["mean"][2:3])


def test_labels_are_kept_in_the_preference_format_and_go_on(tmp_path, pairs):
    """What the reader preferred stands in `chosen`; a second session starts behind the first."""
    path = tmp_path / "mine.jsonl"
    box = widgets.labels.label_your_own(pairs[:3], path)
    first, second, _ = box.children[0].children
    (first if widgets.labels.chosen_first(pairs[0], 0) else second).click()  # as the bundled label
    (second if widgets.labels.chosen_first(pairs[1], 0) else first).click()  # against it
    kept = load_preferences(path, split="all")
    assert [(p.chosen, p.rejected) for p in kept] == [
        (pairs[0].chosen, pairs[0].rejected), (pairs[1].rejected, pairs[1].chosen)]  # fmt: skip
    assert "you agree with the bundled label in 1 " in box.children[1].value
    again = widgets.labels.label_your_own(pairs[:3], path)
    assert "2 judged" in again.children[1].value
    again.children[0].children[2].click()
    assert "All judged" in again.children[1].value and all(b.disabled for b in again.children[0].children)
    assert {json.loads(line)["agrees"] for line in path.read_text().splitlines()} == {True, False}


def test_which_answer_stands_first_is_random_and_the_label_hidden(pairs):
    """Neither always the chosen one nor always the other; the question names A and B only."""
    first = [widgets.labels.chosen_first(pair, 0) for pair in load_preferences(split="test")]
    assert 0.4 < sum(first) / len(first) < 0.6
    text = widgets.labels.render_question(pairs[0], 0)
    assert "chosen" not in text and "rejected" not in text


def test_a_reward_head_is_fitted_on_the_readers_labels(tmp_path):
    """Somebody who always disagrees teaches a head that ranks the held-out pairs the other way round."""
    torch.manual_seed(0)
    features = torch.randn(40, 2, 8) + torch.tensor([[2.0], [-2.0]])
    pairs = load_preferences(size=20)
    box = widgets.labels.label_your_own(pairs, tmp_path / "mine.jsonl", features[:20], features[20:])
    current = iter(pairs)
    first, second, _ = box.children[0].children
    for pair in current:
        (second if widgets.labels.chosen_first(pair, 0) else first).click()
    assert "agree with the bundled label in 0 " in box.children[1].value
    share = float(box.children[1].value.split("labels ranks ")[1].split(" ")[0])
    assert share < 0.1


def test_controls_are_labelled_and_of_kinds_that_old_ipywidgets_have(rm, pairs):
    """Every slider has a description; nothing that ipywidgets 7.7 (Colab) lacks."""
    for box in (widgets.loss.sigmoid_and_loss(), widgets.pairs.pair_explorer(rm, pairs)):
        for control in controls(box).values():
            assert control.description
            assert isinstance(control, ipywidgets.FloatSlider | ipywidgets.IntSlider | ipywidgets.SelectionSlider)


def click(box, *buttons):
    for number in buttons:
        box.children[0].children[number].click()


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_labels_of_another_batch_stay_and_each_click_adds_one(tmp_path, pairs):
    """Yesterday's pairs and today's, judged into one file, in any order; what stood there is still the same text."""
    path = tmp_path / "mine.jsonl"
    click(widgets.labels.label_your_own(pairs[:3], path), 0, 1, 0)
    before = path.read_text()
    click(widgets.labels.label_your_own(pairs[3:], path), 1, 2, 0)
    assert path.read_text().startswith(before) and len(rows_of(path)) == 5
    assert "5 judged" in widgets.labels.label_your_own(pairs, path).children[1].value


def test_labels_know_a_pair_by_its_texts(tmp_path, pairs):
    """Pairs of one's own file have no id, and two files may both begin to count at 1."""
    from dataclasses import replace

    path, nameless = tmp_path / "mine.jsonl", [replace(pair, id="") for pair in pairs[:3]]
    click(widgets.labels.label_your_own(nameless, path), 0, 0, 0, 0)  # the fourth click finds no pair
    assert len(rows_of(path)) == 3
    others = [replace(pair, id=judged.id) for pair, judged in zip(pairs[3:], pairs[:3])]
    assert "Nothing judged yet" in widgets.labels.label_your_own(others, path).children[1].value
    flipped = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in nameless]
    agreed = sum(row["agrees"] for row in rows_of(path))
    text = widgets.labels.label_your_own(flipped, path).children[1].value
    assert f"3 judged; you agree with the bundled label in {3 - agreed} " in text


def test_without_ids_the_better_answer_does_not_always_stand_at_the_same_place():
    """The reader would learn where to click."""
    from dataclasses import replace

    nameless = [replace(pair, id="") for pair in load_preferences(split="test")]
    first = [widgets.labels.chosen_first(pair, 0) for pair in nameless]
    assert 0.4 < sum(first) / len(first) < 0.6


@pytest.mark.parametrize(
    "end", ['{"prompt": "Why?", "cho', "notes of mine", '{"some": "row"}', "[1, 2]", '\ufeff{"a": 1}']
)
def test_a_line_that_is_no_label_is_told_and_stays(tmp_path, pairs, end):
    """Half a line of a kernel that was killed: the next label begins a new line, and all others count."""
    path = tmp_path / "mine.jsonl"
    click(widgets.labels.label_your_own(pairs[:2], path), 0, 1)
    path.write_text(path.read_text() + end, encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    box = widgets.labels.label_your_own(pairs, path)
    assert "line 3 of" in box.children[1].value and "2 judged" in box.children[1].value
    click(box, 0)
    assert path.read_text(encoding="utf-8").startswith(before + "\n")
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[3])["id"] == pairs[2].id


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00", b"# my thesis\n", b'[{"prompt": "a"}]'])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, pairs, content):
    """A wrong name typed: nothing is added to a picture."""
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(ValueError, match="mine: line 1 is no label"):
        widgets.labels.label_your_own(pairs, tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == content


def test_two_clicks_at_once_are_two_labels(tmp_path):
    """Of two pairs in one kernel; and of two kernels with the same file, each keeps what the other has added."""
    import threading

    pairs, path = load_preferences(size=40), tmp_path / "mine.jsonl"
    boxes = [widgets.labels.label_your_own(pairs[:20], path), widgets.labels.label_your_own(pairs[20:], path)]
    threads = [threading.Thread(target=click, args=(boxes[i % 2], *[i % 2] * 5)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row["id"] for row in rows_of(path)) == sorted(pair.id for pair in pairs)


def test_a_label_that_could_not_be_kept_is_told_and_asked_again(tmp_path, pairs, monkeypatch):
    """An exception within a button would be seen nowhere."""

    def full(path, line):
        raise OSError(28, "No space left on device")

    box = widgets.labels.label_your_own(pairs, tmp_path / "mine.jsonl")
    asked = box.children[1].value
    with monkeypatch.context() as patch:
        patch.setattr(widgets.labels, "append_line", full)
        click(box, 0)
    assert "not kept" in box.children[1].value and box.children[1].value.endswith(asked)
    click(box, 0)
    assert len(rows_of(tmp_path / "mine.jsonl")) == 1


def test_labels_that_cannot_be_written_are_refused_before_the_first_question(tmp_path, pairs):
    """Not after twenty judgements."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        widgets.labels.label_your_own(pairs, tmp_path / "file" / "mine.jsonl")
