"""Many texts at once have the ids that each has alone, whatever the tokenizer; and large sets take their time only once."""

import random
import time
from dataclasses import replace

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, PreTrainedTokenizerFast

from conftest import tiny_tokenizer
from rmtutorial import encoding
from rmtutorial.encoding import PLAIN_TEMPLATE, Encoded, common_prefix, encode, encode_answers, encode_pairs
from rmtutorial.grouping import micro_batches, tree_length
from rmtutorial.pieces import MARK, PieceTokenizer, cuts_at_spaces, cutting_marks

TEXT = "The cat sat on the mat. It's 12 o'clock; we'll see <a few> blue things\n more  or less."
MARKS = ["<unk>", "<|im_start|>", "<|im_end|>"]
# What texts are made of: spaces of all kinds, marks whole and broken, words that are tokens in some tokenizers.
ATOMS = [" ", "  ", "\n", "\n\n", "\t", " \n", "\r\n", "a", "It's", "o'clock", "12", " 3", "things", *MARKS, "<|im", "|>",
         "<mask>", "<right>", "x<|im_end|>", "é", "水", "ñ a", "\u00a0", "\u200b", "\x1c", "\x85", "\u3000", "ﬁ", "!", "...",
         "'ll", "' s", "<", "user\n", "😀", "o cl", " blue ", "blues", MARK]  # fmt: skip


def tokenizer_of(pre, normalizer=None, added=()):
    """A fast tokenizer that divides its text by `pre`."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=MARKS, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", unk_token="<unk>")
    fast.add_tokens(list(added))
    return fast


def byte_level(**settings):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **settings})


SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # in the manner of Qwen
TOKENIZERS = {
    "GPT-2": lambda: tokenizer_of(byte_level()),
    "a space before the text": lambda: tokenizer_of(byte_level(add_prefix_space=True)),
    "digits": lambda: tokenizer_of(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level()])),
    "another pattern": lambda: tokenizer_of(
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), byte_level(use_regex=False)])
    ),
    "only the first word has a mark": lambda: tokenizer_of(pre_tokenizers.Metaspace(prepend_scheme="first")),
    "merges across words": lambda: tokenizer_of(
        None, normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    ),
    "lower case": lambda: tokenizer_of(byte_level(), normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])),
    "tokens that take spaces": lambda: tokenizer_of(
        byte_level(), added=[AddedToken("<mask>", lstrip=True, special=True), AddedToken("<right>", rstrip=True)]
    ),
    "tokens of two words": lambda: tokenizer_of(byte_level(), added=[AddedToken("o cl"), AddedToken("blue", single_word=True)]),
    "tokens that overlap": lambda: tokenizer_of(byte_level(), added=[AddedToken("x<|im", special=True), AddedToken("end|>a")]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_of_many_texts_are_those_of_each_alone(name):
    """2,000 random texts, twice: the second time most pieces are known. A MARK parts a text, whatever stands beside it."""
    tokenizer, draw = TOKENIZERS[name](), random.Random(0)
    texts, pieces = (
        ["".join(draw.choices(ATOMS, k=draw.randint(0, 12))) for _ in range(2000)],
        PieceTokenizer(tokenizer),
    )
    for _ in range(2):
        for at in range(0, len(texts), 250):
            part = texts[at : at + 250]
            for text, ids in zip(part, pieces.ids(part)):
                alone = [tokenizer(between, add_special_tokens=False)["input_ids"] for between in text.split(MARK)]
                assert ids == [i for part_ids in alone for i in part_ids], repr(text)


def test_texts_are_cut_only_where_that_is_known_to_change_nothing():
    """Words of GPT-2's kind, marks of every fast tokenizer, none of tokens that take spaces along or overlap."""
    made = {name: make() for name, make in TOKENIZERS.items()}
    assert [name for name, tokenizer in made.items() if cuts_at_spaces(tokenizer)] == ["GPT-2", "tokens that overlap"]
    overlapped = made.pop("tokens that overlap")  # x<|im reaches across the beginning of two marks
    assert set(MARKS) & set(cutting_marks(overlapped)) == {"<unk>"}
    assert all(set(MARKS) <= set(cutting_marks(tokenizer)) for tokenizer in made.values())
    assert "<mask>" not in cutting_marks(made["tokens that take spaces"])


def one_by_one(tokenizer, pairs, max_length):
    """As it stands in the first lesson: two texts an answer, tokenized whole."""
    encoded = []
    for pair in pairs:
        prompt = [{"role": "user", "content": pair.prompt}] if isinstance(pair.prompt, str) else pair.prompt
        before = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        before, both = tokenizer(before, add_special_tokens=False)["input_ids"], []
        for answer in (pair.chosen, pair.rejected):
            text = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": answer}], tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            start, cut = common_prefix([ids, before]), max(0, len(ids) - max_length)
            both.append(Encoded(ids[cut:], max(0, start - cut)))
        encoded.append(both)
    return encoded


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("max_length", [9, 1000])
def test_pairs_encoded_together_are_those_encoded_one_by_one(pairs, chat, max_length, monkeypatch):
    """Also across the parts that are tokenized in one call, with messages, and where the prompt is cut away."""
    tokenizer = tiny_tokenizer(chat)
    tokenizer.chat_template = tokenizer.chat_template or PLAIN_TEMPLATE
    talk = [{"role": "system", "content": "See  it."}, {"role": "user", "content": "Where\n is the cat? "}]
    pairs = [
        *pairs,
        replace(pairs[0], prompt=talk),
        replace(pairs[1], chosen=" On the mat.", rejected="\n\nThe mat "),
    ] * 3
    monkeypatch.setattr(encoding, "AT_ONCE", 5)
    encoded = encode_pairs(tokenizer, pairs, max_length)
    assert encoded == one_by_one(tokenizer, pairs, max_length)
    assert encoded == [[encode(tokenizer, p.prompt, y, max_length) for y in (p.chosen, p.rejected)] for p in pairs]


def test_a_slow_tokenizer_encodes_too(tmp_path):
    """It has no parts of its own to cut at."""
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "why", "?", "we", "see"])
    )
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    assert encode_answers(tokenizer, [("why?", ["we see", "see"])], 100) == [
        [Encoded([5, 6, 7, 8], 2), Encoded([5, 6, 8], 2)]
    ]


def test_an_answer_without_a_token_names_its_prompt(pairs):
    """Wherever it stands among many."""
    tokenizer = tiny_tokenizer(chat=False)
    tokenizer.chat_template = PLAIN_TEMPLATE
    with pytest.raises(ValueError, match="empty response to 'Who sat there"):
        encode_pairs(tokenizer, [*pairs, replace(pairs[0], prompt="Who sat there?", rejected="")], 100)


def test_equal_ids_are_one_object():
    """32 bytes a token would be 3 GB for the pairs of HH-RLHF."""
    ids = encode(tiny_tokenizer(chat=True), "sky sky", "the sky, the sky", 1000).ids
    large = [i for i in ids if i > 256]  # Python keeps the small ones itself
    assert len(large) > len(set(large)) == len({id(i) for i in large})


def test_only_long_work_shows_a_bar(pairs, monkeypatch):
    """A line for every answer that is scored would bury the rest."""
    shown = []

    class Bar(encoding.tqdm):
        def __init__(self, *arguments, disable=False, **more):
            shown.append(not disable)
            super().__init__(*arguments, disable=True, **more)

    monkeypatch.setattr(encoding, "tqdm", Bar)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(encoding, "LONG", 10)
    tokenizer = tiny_tokenizer(chat=True)
    for some in (pairs, pairs * 2):
        encode_pairs(tokenizer, some, 100)
    assert shown == [False, True]


# Groups.


def first_fit(lengths, max_tokens):
    """The longest first, each into the first group that has room: the plain way, which looks at every group."""
    groups = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        group = next((g for g in groups if g[0] + lengths[i] <= max_tokens), None)
        if group is None:
            groups.append(group := [0, []])
        group[0] += lengths[i]
        group[1].append(i)
    return [indices for _, indices in groups]


@pytest.mark.parametrize("seed", range(30))
def test_groups_are_those_of_first_fit(seed):
    """Whatever the lengths, also where some are longer than a group, or all are equal, or there are none."""
    draw = random.Random(seed)
    lengths = [draw.randint(1, draw.choice((3, 40, 300))) for _ in range(draw.randint(0, 120))]
    examples = [[Encoded(list(range(n)), 0)] for n in lengths]
    assert [tree_length(example) for example in examples] == lengths
    for max_tokens in (1, 7, 100, 1000):
        assert micro_batches(examples, max_tokens) == first_fit(lengths, max_tokens)


def test_grouping_many_examples_takes_little_more_than_reading_their_lengths():
    """Ten times the examples took a hundred times as long: 20,000 needed seven seconds, and 200,000 a quarter of an hour."""
    draw = random.Random(0)
    examples = [[Encoded([0] * draw.randint(100, 700), 0)] for _ in range(20_000)]
    lengths = [len(answer.ids) for (answer,) in examples]
    started = time.process_time()
    groups = micro_batches(examples, 2048)
    assert time.process_time() - started < 3
    used = [sum(lengths[i] for i in group) for group in groups]
    assert max(used) <= 2048 and len(groups) < 1.02 * sum(lengths) / 2048 + 1


def test_common_prefix_of_any_sequences():
    """Against the definition, item by item."""
    draw = random.Random(0)
    for _ in range(300):
        sequences = [[draw.randint(0, 1) for _ in range(draw.randint(0, 6))] for _ in range(draw.randint(1, 4))]
        same = 0
        while all(len(s) > same and s[same] == sequences[0][same] for s in sequences):
            same += 1
        assert common_prefix(sequences) == same
