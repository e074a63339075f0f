"""What notebook 02 stands on: raw files in other people's forms, fits with ties, its figures and its widget."""

import ast
import json
import re
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

from rmtutorial.audit import audit
from rmtutorial.backbones import load_sft
from rmtutorial.data.baselines import bag_of_words, fold_of, right
from rmtutorial.encoding import encode
from rmtutorial.intervals import wilson_interval
from rmtutorial.lesson import figures, raw, recorded, ties, widgets
from rmtutorial.lesson.leaks import set_in_training
from rmtutorial.preferences import load_preferences, read_rows
from rmtutorial.reward_model import RewardModel

ROOT = Path(__file__).parents[1]
# What was broken on purpose in broken.jsonl, and where: part of the finding -> lines.
FAULTS = {
    "chosen and rejected are identical": [3],
    "chosen is empty": [4],
    "column 'rejected' is missing": [5],
    "prompt is null": [6],
    "broken JSON": [7],
    "chosen ends with the role 'user'": [8],
    "repeat an earlier one": [10],
    "contradict each other": [11, 12],
    "score_chosen = score_rejected": [13],
    "score_chosen < score_rejected": [14],
    "control tokens": [15],
    "damaged characters": [16],
    "differ in white space": [17],
    "different scripts": [18],
    "in train and in test": [20],
    "nothing of the prompt is left": [21],
    "longer than 1,024 tokens": [21],
}


@pytest.fixture(autouse=True)
def close_all():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", raw.FORMS)
def test_every_raw_file_is_read_whole(name):
    """As many pairs as lines, and no answer that repeats its prompt or has marks of its form left in it."""
    pairs = load_preferences(raw.path(name), split="all")
    assert len(pairs) == len(raw.path(name).read_text(encoding="utf-8").splitlines()) >= 1
    for pair in pairs:
        for answer in (pair.chosen, pair.rejected):
            assert answer.strip() == answer and "Human:" not in answer and "Assistant:" not in answer


@pytest.mark.parametrize("name, roles", [("hh", "user assistant user"), ("sharegpt", "system user assistant user"),
                                         ("long", "system user")])  # fmt: skip
def test_turns_are_read_with_their_roles(name, roles):
    """A system turn and earlier answers stay in the prompt."""
    assert [turn["role"] for turn in load_preferences(raw.path(name), split="all")[-1].prompt] == roles.split()


def test_the_wheel_takes_raw_and_recorded_files_along():
    """A notebook that is run from an installed package finds them."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    patterns = ast.literal_eval(re.search(r"package-data\]\nrmtutorial = (\[.*?\])", project)[1])
    for path in [*raw.FOLDER.iterdir(), *recorded.FOLDER.iterdir()]:
        inside = path.relative_to(ROOT / "rmtutorial").as_posix()
        assert any(fnmatch(inside, pattern) for pattern in patterns), inside


def test_raw_files_are_plain_text():
    """Only where another script is the subject there is one."""
    files = sorted(raw.FOLDER.iterdir())
    assert {path.stem for path in files} == {*raw.FORMS, "rankings", "broken"}
    for path in files:
        assert path.stem in ("chinese", "broken") or path.read_text(encoding="utf-8").isascii(), path.name


def test_every_ranking_has_one_tie_and_stands_in_no_order():
    """So that sorting is needed, and is not enough."""
    for _, row in read_rows(raw.path("rankings"))[0]:
        scores = [answer["score"] for answer in row["answers"]]
        assert len(scores) - len(set(scores)) == 1 and scores != sorted(scores, reverse=True)


@pytest.mark.real
def test_the_audit_finds_what_was_broken_on_purpose_and_nothing_else():
    """Each fault in its line; and the notebook's file of a long answer is as long as it says."""
    findings = [f for f in audit(raw.path("broken")).findings if f.level != "note"]
    for part, lines in FAULTS.items():
        (finding,) = [f for f in findings if part in f.what]
        assert finding.rows == lines, part
    assert len(findings) == len(FAULTS)
    tokenizer = load_sft(layers=1)[1]
    lengths, ids = widgets.cuts.lengths_of(tokenizer, load_preferences(raw.path("long"), split="all")[0])
    assert 1400 < lengths["answer"] < 1550 and lengths["end mark"] == 2 and sum(lengths.values()) == len(ids)


def exact_votes(slope=0.8, n=10_000):
    """Strengths and outcomes in the very shares of two votes with log-odds slope * strength."""
    strength, outcome = [], []
    for s in (0.0, 1.0, 2.0):
        p = torch.sigmoid(torch.tensor(slope * s)).item()
        for k, share in enumerate((p * p, (1 - p) ** 2, 2 * p * (1 - p))):
            strength += [s] * round(n * share)
            outcome += [k] * round(n * share)
    return torch.tensor(strength, dtype=torch.float64), torch.tensor(outcome)


def test_two_votes_are_davidsons_model_and_halves_are_one_vote():
    """Slope 1.6 and nu 2 with ties modeled, 1.6 with ties dropped, 0.8 with ties as halves: as the notebook says."""
    from rmtutorial.lesson.exercises.ties import davidson_loss

    s, o = exact_votes()
    start = torch.zeros(2, dtype=torch.float64)
    slope, log_nu = ties.fit(lambda theta: davidson_loss(theta[0] * s, theta[1], o), start)
    assert slope.item() == pytest.approx(1.6, abs=0.005) and log_nu.exp().item() == pytest.approx(2, abs=0.005)
    half = ties.fit(lambda theta: ties.tie_as_half(theta[0] * s, o), start[:1])
    assert half.item() == pytest.approx(0.8, abs=0.003)
    dropped = ties.fit(lambda theta: ties.tie_as_half(theta[0] * s[o != 2], o[o != 2]), start[:1])
    assert dropped.item() == pytest.approx(1.6, abs=0.005)


def test_a_tie_is_half_a_win_and_half_a_loss():
    """-log sigma(1) = 0.3133 and -log sigma(-1) = 1.3133, and their mean 0.8133."""
    for outcome, loss in ((0, 0.3133), (1, 1.3133), (2, 0.8133)):
        assert ties.tie_as_half(torch.ones(1), torch.tensor([outcome])).item() == pytest.approx(loss, abs=1e-4)


def test_an_interval_by_unit_is_not_fooled_by_copies():
    """Every row four times: by row half as wide, by unit as wide as before; and the fit lies within."""
    generator = torch.Generator().manual_seed(0)
    s = torch.ones(80, dtype=torch.float64)
    o = (torch.rand(80, generator=generator) < 0.3).long()
    loss = lambda theta, s, o: ties.tie_as_half(theta[0] * s, o)  # noqa: E731
    width = {}
    for name, data, units in (("once", (s, o), range(80)), ("by row", (s.repeat(4), o.repeat(4)), range(320)),
                              ("by unit", (s.repeat(4), o.repeat(4)), [i % 80 for i in range(320)])):  # fmt: skip
        best, low, high = ties.fit_by_unit(loss, 1, data, list(units))
        assert low < best < high
        width[name] = (high - low).item()
    assert width["by unit"] == pytest.approx(width["once"], rel=0.01)
    assert width["by row"] == pytest.approx(width["once"] / 2, rel=0.25)


@pytest.fixture
def tokenizer(sft):
    """With the plain template where a model has none."""
    return RewardModel.from_sft(*sft, layers=None).tokenizer


LENGTHS = {"prompt": 30, "answer": 60, "end mark": 2}


@pytest.mark.parametrize("most, left, right", [(50, (0, 48, 2), (30, 20, 0)), (92, (30, 60, 2), (30, 60, 2)),
                                               (1, (0, 0, 1), (1, 0, 0)), (500, (30, 60, 2), (30, 60, 2))])  # fmt: skip
def test_the_bars_of_a_cut_are_as_long_as_what_is_left(most, left, right):
    """Solid parts of the second and third bar; dotted ones have the whole length."""
    ax = figures.pairs.cut(LENGTHS, most)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths[::2] == [30, 60, 2] * 3
    assert tuple(widths[7:12:2]) == left and tuple(widths[13:18:2]) == right


@pytest.mark.parametrize("kind", ["mirror", "edit"])
def test_a_partner_is_in_training_where_it_lies_in_another_fold(kind):
    """Set by set: by row in about 4 of 5 mirror sets, 1 - 1 / 5; a row without a partner never; by set never."""
    pairs = [pair for pair in load_preferences(split="all") if pair.kind == kind]
    for column in ("id", "prompt", "group"):
        known, folds = set_in_training(pairs, column), [fold_of(getattr(pair, column)) for pair in pairs]
        for i, pair in enumerate(pairs):
            others = [fold for other, fold in zip(pairs, folds) if other.group == pair.group]
            assert known[i].item() == any(fold != folds[i] for fold in others)
        share = 0 if column == "group" or kind == "edit" else 0.8
        assert known.float().mean().item() == pytest.approx(share, abs=0.04)


def test_a_judge_that_is_always_wrong_of_a_known_partner_measures_a_tenth():
    """Notebook 02's sum, 4 / 5 of 0 and 1 / 5 of one half: where both rows of a mirror set are tested, one is right."""
    mirror = [pair for pair in load_preferences(split="all") if pair.kind == "mirror"]
    verdict = right([replace(pair, group=pair.id) for pair in mirror], bag_of_words)
    known = set_in_training(mirror, "id")
    assert verdict[~known].mean() == 0.5 and verdict[known].mean() < 0.04
    expected = known.float().mean() * verdict[known].mean() + 0.5 * (~known).float().mean()
    assert verdict.mean().item() == pytest.approx(expected.item(), abs=1e-6)


def test_annotators_stand_at_their_shares():
    """Two annotators, two slices: four points, two names."""
    found = {"x": {"all": (0.9, (0.8, 1.0)), "some": (0.5, (0.4, 0.6))}, "y": {"all": (0.7, (0.6, 0.8)), "some": (0.6, (0.5, 0.7))}}  # fmt: skip
    ax = figures.pairs.annotators(found)
    assert [line.get_xdata()[0] for line in ax.lines[1:8:2]] == [0.9, 0.7, 0.5, 0.6]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["all", "some"]


def test_the_curves_of_davidsons_model_start_where_they_must():
    """At strength 0: nu / (2 + nu) ties, the rest in halves; marks at the shares of the data, with intervals by unit."""
    strength, outcome = torch.tensor([0.0, 0.0, 3.0, 3.0]), torch.tensor([2, 0, 0, 0])
    ax = figures.pairs.ties(strength, outcome, [*"abcd"], 1.6, 2.0)
    curves = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) > 2]
    assert [curve[0] for curve in curves] == pytest.approx([0.25, 0.25, 0.5])
    marks = [line.get_ydata()[0] for line in ax.lines if len(line.get_ydata()) == 1]
    assert marks == [0.5, 1.0, 0.0, 0.0, 0.5, 0.0]
    intervals = [tuple(line.get_ydata()) for line in ax.lines if len(line.get_ydata()) == 2]
    assert intervals[1] == pytest.approx(wilson_interval(1.0, 2)) and intervals[0] == (0.0, 1.0)
    assert [text.get_text()[:6] for text in ax.get_legend().get_texts()] == ["chosen", "reject", "tie: t"]


def test_the_cut_explorer_says_what_is_lost(tokenizer, pairs):
    """Behind a cut the prompt's rest is counted; where nothing is cut it says so; the answer can be exchanged."""
    long = replace(pairs[0], chosen="Because air scatters blue light more. " * 20)
    box = widgets.cuts.cut_explorer(tokenizer, [long])
    controls = {control.description: control for control in box.children[0].children}
    assert "nothing is cut" in box.children[2].value
    controls["max_length"].value = 32
    lengths, ids = widgets.cuts.lengths_of(tokenizer, long)
    left = max(0, lengths["prompt"] - len(ids) + 32)
    assert f"keeps {left} of {lengths['prompt']}" in box.children[2].value
    controls["answer"].value = "rejected"
    assert "nothing is cut" in box.children[2].value and "data:image/png" in box.children[1].value


def test_the_parts_of_a_text_add_up(tokenizer, pairs):
    """Prompt, answer and end mark are all of it, and the answer starts where `encode` says."""
    for side in ("chosen", "rejected"):
        lengths, ids = widgets.cuts.lengths_of(tokenizer, pairs[0], side)
        assert sum(lengths.values()) == len(ids) and min(lengths.values()) >= 0
        assert lengths["prompt"] == encode(tokenizer, pairs[0].prompt, getattr(pairs[0], side), 10**6).start


def test_text_in_the_cut_explorer_is_shown_and_not_run(tokenizer, pairs):
    """A long prompt of HTML is data."""
    evil = replace(pairs[0], chosen="<script>alert(1)</script> " * 40)
    assert "<script" not in widgets.cuts.render_cut(tokenizer, evil, "chosen", 64)[1]


def test_every_line_of_the_raw_files_is_json_but_the_broken_one():
    """Written by us, so that each can be opened in an editor and read."""
    broken = 0
    for path in raw.FOLDER.iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                json.loads(line)
            except json.JSONDecodeError:
                broken += 1
    assert broken == 1
