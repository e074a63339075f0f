"""Gates of the bundled preferences: what the files promise, checked on every row."""

import itertools
import json
import math
import re
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoTokenizer

from rmtutorial.backbones import embedded_model
from rmtutorial.data.baselines import SHORTCUTS, bag_of_words, longer_is_chosen, right, style
from rmtutorial.data.build import DATA, SIZES, SPLITS, build, read_sets
from rmtutorial.data.checks import check_arithmetic, verify
from rmtutorial.data.datasheet import render
from rmtutorial.data.simulate import ANNOTATORS, flip_labels, majority, simulated_votes, vote_probability
from rmtutorial.encoding import encode_pairs
from rmtutorial.intervals import wilson_interval
from rmtutorial.preferences import load_preferences

AXES = {
    "relevance", "instruction", "grounding", "correctness", "completeness",
    "coherence", "honesty", "tone", "safety", "formatting",
}  # fmt: skip


@pytest.fixture(params=SPLITS)
def split(request):
    return request.param


@pytest.fixture
def rows(split):
    return [json.loads(line) for line in (DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def texts(row):
    return [message["content"] for key in ("prompt", "chosen", "rejected") for message in row[key]]


def shingles(text, n=5):
    text = re.sub(r"\W+", " ", text.lower())
    return {text[i : i + n] for i in range(len(text) - n + 1)}


def jaccard(a, b):
    return len(a & b) / max(1, len(a | b))


def test_the_files_are_built_from_the_sets_byte_for_byte(split):
    """Whoever edits a JSONL file by hand, or a set without building, is found here."""
    assert (DATA / f"{split}.jsonl").read_bytes() == build(split).encode()


def test_every_row_has_every_column_with_one_type(rows):
    """Stable types and no nulls, so that any loader makes the same table of it."""
    kinds = {tuple((key, type(value)) for key, value in row.items()) for row in rows}
    assert len(kinds) == 1
    assert {row["kind"] for row in rows} <= {"mirror", "edit", "rank"}
    assert {row["axis"] for row in rows} <= AXES | {"mixed"}


def test_text_is_plain_ascii_without_stray_spaces(rows):
    """No tabs, no double spaces, no marks of a chat template."""
    for text in (text for row in rows for text in texts(row)):
        assert text.isascii() and text == text.strip() and "\t" not in text and "  " not in text, text
        assert "<|" not in text, text


def test_ids_are_unique_and_no_set_is_split():
    """A set stands in one file only, whole."""
    sets = [(s["set"], split) for split in SPLITS for s in read_sets(split)]
    assert len({name for name, _ in sets}) == len(sets)
    ids = [pair.id for split in SPLITS for pair in load_preferences(split=split)]
    assert len(set(ids)) == len(ids)


def test_in_a_mirror_set_each_answer_is_right_once_and_wrong_once(split):
    """Hence every judge that does not read the prompt is right in exactly half of these rows."""
    groups = defaultdict(list)
    for pair in load_preferences(split=split):
        if pair.kind == "mirror":
            groups[pair.group].append(pair)
    for first, second in groups.values():
        assert (first.chosen, first.rejected) == (second.rejected, second.chosen)
        assert first.prompt != second.prompt


def test_at_least_half_of_the_core_is_mirror_sets():
    """So that a judge blind to the prompt stays near one half on the whole."""
    core = load_preferences(split="all")
    assert sum(pair.kind == "mirror" for pair in core) >= len(core) / 2


def test_training_sizes_are_nested_and_cut_no_set():
    """The first 200 rows lie in the first 400, those in the first 800; no mirror set is cut in two."""
    pairs = load_preferences()
    for size in SIZES:
        assert pairs[size - 1].group != pairs[size].group


def test_length_decides_nothing_in_the_edits():
    """The better answer is the longer one in about half of the single-prompt rows: within 0.48 to 0.52."""
    edits = [pair for pair in load_preferences(split="all") if pair.kind == "edit"]
    assert 0.48 <= longer_is_chosen(edits).mean().item() <= 0.52


# Accuracy that a judge without understanding may reach, by cross-validation over sets: (edit rows, all core rows).
# Random labels give 0.50 with a standard deviation of 0.024 to 0.034 on the edit rows.
SHORTCUT_LIMITS = {
    "length": (0.57, 0.53),
    "words and word pairs": (0.62, 0.55),
    "character 3- to 5-grams": (0.62, 0.55),
    "23 style marks": (0.60, 0.545),
    "overlap with the prompt": (0.58, 0.58),
}


@pytest.mark.parametrize("name", SHORTCUTS)
def test_shortcuts_fail(name):
    """Length, words, characters, style and echo, each fitted to the labels, stay near one half on unseen sets."""
    core = load_preferences(split="all")
    edits = [pair for pair in core if pair.kind == "edit"]
    for pairs, limit in zip((edits, core), SHORTCUT_LIMITS[name]):
        accuracy = right(pairs, SHORTCUTS[name]).mean().item()
        assert 0.42 <= accuracy <= limit  # far below one half: the twin of a mirror set leaked into the other fold


def test_length_decides_nothing_on_any_axis():
    """On each axis the better answer of a single-prompt row is the longer one in 40 to 60 of 100."""
    edits = [pair for pair in load_preferences(split="all") if pair.kind == "edit"]
    for axis in {pair.axis for pair in edits}:
        assert 0.4 <= longer_is_chosen([pair for pair in edits if pair.axis == axis]).mean().item() <= 0.6, axis


def test_no_word_gives_the_answer_away():
    """No word or word pair that stands on one side of 12 edit rows or more is off balance by over 4 sigma."""
    chosen, rejected = Counter(), Counter()
    for pair in load_preferences(split="all"):
        if pair.kind == "edit":
            good, bad = (set(bag_of_words(pair.prompt, answer)) for answer in (pair.chosen, pair.rejected))
            chosen.update(good - bad)
            rejected.update(bad - good)
    z = {}
    for word in chosen | rejected:
        n = chosen[word] + rejected[word]
        if n >= 12:
            z[word] = (chosen[word] - rejected[word]) / n**0.5
    assert max(map(abs, z.values())) <= 4, sorted(z.items(), key=lambda item: abs(item[1]))[-3:]


@pytest.mark.parametrize("mark", ["sorry", "agree", "hedge", "exclamation", "bullet", "bold", "end question"])
def test_no_habit_gives_the_answer_away(mark):
    """Apologies, agreement, hedges, lists, bold: as often right as wrong, within what chance allows (p >= 0.01)."""
    sides = []
    for pair in load_preferences(split="all"):
        good, bad = (bool(style(pair.prompt, answer)[mark]) for answer in (pair.chosen, pair.rejected))
        if good != bad and pair.kind == "edit":
            sides.append(good)
    n, k = len(sides), min(sum(sides), len(sides) - sum(sides))
    p = min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
    assert p >= 0.01, (mark, sum(sides), n)


def test_the_asked_form_and_the_arithmetic_are_checked_by_machine(rows):
    """`verify` holds for the chosen answer and fails for the rejected one; `check` is a true comparison."""
    for row in rows:
        if row["verify"]:
            assert verify(row["verify"], row["chosen"][0]["content"]), row["id"]
            assert not verify(row["verify"], row["rejected"][0]["content"]), row["id"]
        assert not row["check"] or check_arithmetic(row["check"]), row["id"]


def test_topics_of_training_and_held_out_rows_are_disjoint():
    """Held-out accuracy is then about judging, not about remembered subject matter."""
    train, test = ({pair.topic for pair in load_preferences(split=name)} for name in ("train", "test"))
    assert not train & test


def test_no_prompt_is_close_to_a_prompt_of_another_split():
    """Five-letter shingles of training and evaluation prompts share less than half (Jaccard)."""
    grams = {split: [(s["set"], p) for s in read_sets(split) for p in map(_text, s["prompts"])] for split in SPLITS}
    train = [(name, shingles(p)) for name, p in grams["train"]]
    for split in SPLITS[1:]:
        for name, prompt in grams[split]:
            own = shingles(prompt)
            near = [other for other, theirs in train if jaccard(own, theirs) >= 0.5]
            assert not near, (name, near)


def _text(prompt):
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


def test_nothing_is_written_twice():
    """Answers, and prompts, of different sets share less than 0.7 of their five-letter shingles, across all splits.

    A near-duplicate would let one row give the other away. By Jaccard only texts of similar length can come near.
    """
    sets = [s for split in SPLITS for s in read_sets(split)]
    for texts_of in (lambda s: s["answers"], lambda s: map(_text, s["prompts"])):
        known = [(s["set"], shingles(text)) for s in sets for text in texts_of(s) if len(text.split()) > 4]
        known.sort(key=lambda item: len(item[1]))
        for i, (name, grams) in enumerate(known):
            for other, theirs in known[i + 1 :]:
                if len(grams) < 0.7 * len(theirs):
                    break  # all later ones are longer still
                assert name == other or jaccard(grams, theirs) < 0.7, (name, other)


def test_chosen_and_rejected_differ_in_more_than_case_and_marks():
    """Identical after leaving out case and punctuation is refused, unless the case itself was asked for."""
    for split in SPLITS:
        for s in read_sets(split):
            if "case" in str(s.get("verify", "")):
                continue
            plain = [re.sub(r"[^a-z0-9]+", " ", answer.lower()).strip() for answer in s["answers"]]
            assert s["axis"] in ("formatting", "instruction") or all(a != b for a, b in combinations(plain, 2)), s[
                "set"
            ]


def test_nothing_personal():
    """No mail or web addresses, no phone numbers."""
    for split in SPLITS:
        for s in read_sets(split):
            for text in [*map(_text, s["prompts"]), *s["answers"]]:
                assert not re.search(r"\S@\S|https?:|www\.|\d{7,}|\d{3}-\d{4}", text), text


def test_the_second_reading_is_published_and_agrees_with_the_labels():
    """Blind readers judged both orders of every row (of rankings the neighbors); near-ties were called ties."""
    reading = json.loads((DATA / "second_reading.json").read_text())
    verdicts = reading["verdicts"]
    for split in ("train", "test", "ood", "contrast"):
        assert sum(verdicts[split].values()) == 2 * len(load_preferences(split=split))
        assert verdicts[split]["agree"] >= 0.98 * sum(verdicts[split].values())
    assert sum(verdicts["rank4"].values()) == 2 * 3 * len(read_sets("rank4"))
    assert verdicts["near_tie"]["tie"] >= 0.9 * sum(verdicts["near_tie"].values())
    assert reading["audit"]["verdicts"] == 2 * reading["audit"]["rows"]


@pytest.mark.real
def test_no_row_is_the_same_for_the_model_whole_or_cut():
    """Chosen and rejected differ as tokens, also when only the last 96 or 64 tokens are kept; nothing is long."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    for pair in (pair for split in SPLITS for pair in load_preferences(split=split)):
        chosen, rejected = encode_pairs(tokenizer, [pair], max_length=10_000)[0]
        assert len(chosen.ids) + len(rejected.ids) - rejected.start <= 320, pair.id
        assert all(chosen.ids[-n:] != rejected.ids[-n:] for n in (10_000, 96, 64)), pair.id
        assert chosen.ids[chosen.start :] != rejected.ids[rejected.start :]


def test_people_have_listed_first_names_only():
    """A capitalized word inside a sentence is in the reviewed list: no surnames, brands or real people slip in."""
    known = set((Path(__file__).parent / "data_proper_nouns.txt").read_text().split())
    for split in SPLITS:
        for s in read_sets(split):
            for text in [*map(_text, s["prompts"]), *s["answers"]]:
                new = set(re.findall(r"(?<=[a-z,;] )[A-Z][a-z]+", text)) - known
                assert not new, (s["set"], new)


def test_nothing_depends_on_when_it_is_read():
    """No facts that change with time: offices, records, newest versions, today's date."""
    dated = r"(?i)nowadays|today's date|as of (now|20)|newest|latest (version|model)|prime minister|world record|covid"
    for split in SPLITS:
        for s in read_sets(split):
            for text in [*map(_text, s["prompts"]), *s["answers"]]:
                assert not re.search(dated, text), (s["set"], text)


def test_label_noise_is_nested_and_of_the_size_asked_for():
    """The pairs flipped at 10 % are among those flipped at 20 %; flipping twice gives the truth back."""
    pairs = load_preferences()
    flipped = {p: {a.id for a, b in zip(pairs, flip_labels(pairs, p)) if a != b} for p in (0.1, 0.2, 0.4)}
    assert flipped[0.1] < flipped[0.2] < flipped[0.4]
    for share, ids in flipped.items():
        low, high = wilson_interval(len(ids) / len(pairs), len(pairs), z=3)
        assert low <= share <= high
    assert flip_labels(flip_labels(pairs, 0.2), 0.2) == pairs
    with pytest.raises(ValueError, match=r"share=1\.5"):
        flip_labels(pairs, 1.5)


def test_simulated_annotators_vote_as_their_formula_says():
    """Share of votes for the chosen answer = mean of sigmoid(0.8 strength + bias), within 4 standard errors."""
    pairs = load_preferences(split="all")
    votes = simulated_votes(pairs)
    assert [row["id"] for row in votes] == [pair.id for pair in pairs]
    for name in ANNOTATORS:
        p = torch.tensor([vote_probability(pair, name) for pair in pairs])
        share = sum(row[f"sim_{name}"] for row in votes) / len(votes)
        assert abs(share - p.mean()) < 4 * (p * (1 - p)).sum().sqrt() / len(pairs)


@pytest.mark.parametrize("voters", [1, 3, 5])
def test_the_chance_of_a_majority_is_the_sum_over_all_votes_that_make_one(voters):
    """All 2^voters lists of votes, one by one: the binomial formula adds those up that are alike."""
    for p in (0.0, 0.4, 0.5, 0.6, 1.0):
        lists = itertools.product((True, False), repeat=voters)
        listed = sum(math.prod(p if vote else 1 - p for vote in votes) for votes in lists if sum(votes) > voters / 2)
        assert majority(torch.tensor([p]), voters).item() == pytest.approx(listed, abs=1e-6)


def test_simulated_annotators_err_independently():
    """Their formulas share the pair's strength and nothing else: on pairs of one strength errors are uncorrelated.

    And both rows of a mirror set can be turned by label noise, about as often as independent draws would.
    """
    pairs = [pair for pair in load_preferences(split="all") if pair.strength == 3]
    votes = torch.tensor([[row[f"sim_{name}"] for name in ANNOTATORS] for row in simulated_votes(pairs)]).float()
    correlation = torch.corrcoef(votes.T) - torch.eye(len(ANNOTATORS))
    assert correlation.abs().max() < 4 / len(pairs) ** 0.5
    groups = defaultdict(list)
    for pair in load_preferences():
        if pair.kind == "mirror":
            groups[pair.group].append(flip_labels([pair], 0.2) != [pair])
    both = sum(all(turned) for turned in groups.values())
    assert 0.2 <= both / (0.04 * len(groups)) <= 2.2


def test_a_simulated_length_lover_prefers_longer_answers():
    """Its bias shows: on pairs whose wrong answer is longer it errs more often than a careful annotator."""
    pairs = [p for p in load_preferences(split="all") if len(p.rejected) > len(p.chosen) + 60]
    votes = simulated_votes(pairs)
    share = {name: sum(row[f"sim_{name}"] for row in votes) / len(votes) for name in ANNOTATORS}
    assert share["length lover"] < share["careful 1"] - 0.1


def test_the_datasheet_is_written_from_the_files():
    """Its tables are those of the data as they are; `make data` writes them anew."""
    assert (DATA / "README.md").read_text(encoding="utf-8") == render()


def test_the_files_stay_small():
    """All JSONL files together: at most 1.5 MB, so that installing the course stays quick."""
    assert sum((DATA / f"{split}.jsonl").stat().st_size for split in SPLITS) <= 1.5e6


def test_the_configurations_of_the_header_name_the_files():
    """The card's header gives `datasets.load_dataset` its configurations; with the library here, it loads them."""
    header = yaml.safe_load((DATA / "README.md").read_text(encoding="utf-8").split("---")[1])
    named = [file["path"] for config in header["configs"] for file in config["data_files"]]
    assert sorted(named) == sorted(f"{split}.jsonl" for split in SPLITS)
    datasets = pytest.importorskip("datasets")
    assert len(datasets.load_dataset(str(DATA), split="train")) == len(load_preferences())
    assert len(datasets.load_dataset(str(DATA), "contrast", split="test")) == len(load_preferences(split="contrast"))
