"""Encoding and the tree batch, against text written out by hand and against plain forwards."""

from itertools import combinations

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from conftest import tiny_sft
from rmtutorial.attention import tree_attention
from rmtutorial.encoding import (
    PLAIN_TEMPLATE,
    Encoded,
    common_prefix,
    drop_identical,
    encode,
    encode_pairs,
    micro_batches,
    tree_batch,
)
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.policy import Policy
from rmtutorial.reward_model import RewardModel

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "Because."},
    {"role": "user", "content": "Where is the cat?"},
]
CHAT_TALK = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
    "<|im_start|>assistant\nBecause.<|im_end|>\n<|im_start|>user\nWhere is the cat?<|im_end|>\n"
    "<|im_start|>assistant\n"
)
PLAIN_TALK = "Be brief.<|endoftext|>Why?<|endoftext|>Because.<|endoftext|>Where is the cat?<|endoftext|>"


@pytest.fixture
def tokenizer(sft):
    """The tiny Llama's with its chat template, the tiny GPT-2's with the plain one."""
    tokenizer = sft[1]
    tokenizer.chat_template = tokenizer.chat_template or PLAIN_TEMPLATE
    return tokenizer


def by_hand(tokenizer, chat, plain):
    return plain if tokenizer.chat_template == PLAIN_TEMPLATE else chat


@pytest.mark.parametrize(
    "prompt, chat, plain",
    [
        ("Why?", "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n", "Why?<|endoftext|>"),
        (TALK, CHAT_TALK, PLAIN_TALK),
    ],
    ids=["text", "messages"],
)
def test_start_divides_prompt_and_answer(tokenizer, prompt, chat, plain):
    """ids[:start] is the prompt with all marks up to the answer, ids[start:] the answer with its end mark."""
    encoded = encode(tokenizer, prompt, "On the mat.", max_length=1000)
    assert tokenizer.decode(encoded.ids[: encoded.start]) == by_hand(tokenizer, chat, plain)
    answer = by_hand(tokenizer, "On the mat.<|im_end|>\n", "On the mat.")
    assert tokenizer.decode(encoded.ids[encoded.start :]) == answer


def test_the_tokenizer_adds_no_marks_of_its_own(tokenizer):
    """Llama 2 and Gemma tokenizers write a BOS before every text; the template has written all marks already."""
    without = encode(tokenizer, "Why?", "On the mat.", max_length=1000)
    bos = tokenizer.bos_token
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    assert tokenizer("Why?")["input_ids"][0] == tokenizer.bos_token_id
    assert encode(tokenizer, "Why?", "On the mat.", max_length=1000) == without


def test_encoding_leaves_the_messages_as_they_are(tokenizer):
    """The answer is appended to a copy: a prompt is encoded once for each of its answers."""
    talk = [dict(message) for message in TALK]
    encode(tokenizer, talk, "On the mat.", max_length=1000)
    assert talk == TALK


def test_cutting_takes_the_prompt_first_and_the_end_of_the_answer_last(tokenizer):
    """For every maximum length: what is left is the end of the text, and all of the answer if it fits."""
    whole = encode(tokenizer, "Why is the sky blue?", "Air scatters blue light.", max_length=1000)
    prompt, answer = whole.ids[: whole.start], whole.ids[whole.start :]
    for max_length in range(1, len(prompt) + len(answer) + 2):
        cut = encode(tokenizer, "Why is the sky blue?", "Air scatters blue light.", max_length)
        assert len(cut.ids) == min(max_length, len(prompt) + len(answer))
        assert cut.ids[cut.start :] == answer[-max_length:]
        assert cut.ids[: cut.start] == prompt[len(prompt) - cut.start :]


def test_common_prefix_counts_equal_items_at_the_beginning():
    """Equal items behind the first difference do not count; a sequence that ends, ends the prefix."""
    assert common_prefix([[1, 2, 3, 4], [1, 2, 9, 4]]) == 2
    assert common_prefix([[1, 2], [1, 2, 3]]) == 2
    assert common_prefix([[5, 6], [5, 6]]) == 2
    assert common_prefix([[1, 2, 3], [1, 2, 3], [1, 5, 3]]) == 1
    assert common_prefix([[1], [2]]) == common_prefix([[], [2]]) == 0


def test_drop_identical_counts_aloud(tokenizer, pairs, capsys):
    """Both answers cut to the same tokens: the difference is 0 for every model, and that is said, not hidden."""
    encoded = encode_pairs(tokenizer, pairs[:3], max_length=1000)
    encoded[1][1] = encoded[1][0]
    kept_pairs, kept = drop_identical(pairs[:3], encoded)
    assert kept_pairs == [pairs[0], pairs[2]]
    assert kept == [encoded[0], encoded[2]]
    assert capsys.readouterr().out.startswith("1 of 3 pairs dropped")


def test_drop_identical_is_silent_when_all_pairs_differ(tokenizer, pairs, capsys):
    """A line that is always printed is a line that nobody reads."""
    encoded = encode_pairs(tokenizer, pairs, max_length=1000)
    assert drop_identical(pairs, encoded) == (pairs, encoded)
    assert capsys.readouterr().out == ""


def test_tree_batch_written_out_by_hand():
    """Prompt 5 6 with answers 7 8 and 9, then prompt 5 with answers 7 and 8: packed, without any padding."""
    batch = tree_batch(
        [[Encoded([5, 6, 7, 8], 2), Encoded([5, 6, 9], 2)], [Encoded([5, 7], 1), Encoded([5, 8], 1)]], pad_id=0
    )
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9, 5, 7, 8]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1, 1]]
    assert batch.tokens == 8
    assert [mask.shape for mask in batch.masks] == [(1, 1, 5, 5), (1, 1, 3, 3)]
    assert batch.masks[0][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],  # 9 follows the prompt and does not see 7 8
    ]
    assert batch.masks[1][0, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert batch.pool.argmax(-1).tolist() == [[3, 4], [6, 7]]


@pytest.mark.parametrize(
    "pooling, pool",
    [("last", [[0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]), ("mean", [[0, 0, 1 / 2, 1 / 2, 0], [0, 0, 0, 0, 1]])],
)
def test_pooling_weights_written_out_by_hand(pooling, pool):
    """Prompt 5 6, answers 7 8 and 9: the last token of each, or the average over its answer tokens."""
    batch = tree_batch([[Encoded([5, 6, 7, 8], 2), Encoded([5, 6, 9], 2)]], pad_id=0, pooling=pooling)
    assert batch.pool.tolist() == [pool]


def test_last_pooling_skips_pads_at_the_end_and_not_before_them():
    """transformers scores the right-most token that is not the pad id; with pad == EOS (0) that skips EOS."""
    batch = tree_batch([[Encoded([5, 0, 7, 0], 2), Encoded([5, 0, 8, 0, 9], 2)]], pad_id=0)
    assert batch.ids.tolist() == [[5, 0, 7, 0, 8, 0, 9]]
    assert batch.pool.argmax(-1).tolist() == [[2, 6]]


def full_reward_model(sft, pooling):
    model = RewardModel.from_sft(*sft, layers=None, pooling=pooling)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.reward_head.weight, std=33**-0.5)  # 1/sqrt(H + 1): rewards and gradients near 1
    return model


def plain_reward(model, answer):
    """One answer alone, causal mask and positions left to transformers."""
    ids = torch.tensor([answer.ids])  # (1, T)
    hidden = model.backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]  # (T, H)
    pooled = hidden[-1] if model.pooling == "last" else hidden[answer.start :].mean(dim=0)
    return pooled @ model.reward_head.weight[0]


def ranking_loss(rewards):
    """Bradley-Terry over all pairs of K answers, (N, K) rewards, the better answer first."""
    chosen, rejected = zip(*combinations(range(rewards.shape[1]), 2))
    return bradley_terry_loss(rewards[:, chosen].flatten(), rewards[:, rejected].flatten())


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def two_answers(model, pairs):
    return encode_pairs(model.tokenizer, pairs, max_length=1000)


def four_answers(model, pairs):
    answers = ("It is.", "Because.", "We see blue light more.", "Is it? The cat sat on the mat.")
    return [[encode(model.tokenizer, pair.prompt, answer, 1000) for answer in answers] for pair in pairs[1:4]]


def nothing_shared(model, pairs):
    examples = encode_pairs(model.tokenizer, pairs, max_length=6)
    examples = [both for both in examples if both[0].ids[0] != both[1].ids[0]]
    assert len(examples) >= 3
    return examples


def one_begins_the_other(model, pairs):
    chosen, _ = two_answers(model, pairs[:1])[0]
    beginning = Encoded(chosen.ids[:-3], chosen.start)
    assert beginning.start < len(beginning.ids)
    return [[chosen, beginning], [beginning, chosen]]


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("examples_of", [two_answers, four_answers, nothing_shared, one_begins_the_other])
def test_tree_batch_equals_plain_forwards(sft, pairs, examples_of, pooling):
    """The shared prompt is read once, and rewards and all gradients stay those of one forward an answer."""
    model = full_reward_model(sft, pooling)
    examples = examples_of(model, pairs)
    tree = model(model.batch(examples))
    plain = torch.stack([torch.stack([plain_reward(model, answer) for answer in answers]) for answers in examples])
    torch.testing.assert_close(tree, plain, atol=1e-5, rtol=0)
    tree_gradients = gradients(model, ranking_loss(tree))
    plain_gradients = gradients(model, ranking_loss(plain))
    assert tree_gradients.keys() == plain_gradients.keys()
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(tree_gradients[name], gradient, atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_tree_batch_reads_the_prompt_once(tokenizer, pairs):
    """The point of the tree: prompt + answer 1 + answer 2 tokens, not two prompts."""
    chosen, rejected = both = encode_pairs(tokenizer, pairs[:1], max_length=1000)[0]
    batch = tree_batch([both], tokenizer.pad_token_id)
    shared = common_prefix([chosen.ids, rejected.ids])
    assert shared >= chosen.start == rejected.start > 0
    assert batch.tokens == batch.ids.shape[1] == len(chosen.ids) + len(rejected.ids) - shared


@pytest.mark.parametrize("max_tokens", [1, 60, 200, 100_000])
def test_micro_batches_cover_every_index_once_within_the_budget(tokenizer, pairs, max_tokens):
    """What counts is the tokens that the batch really has; one too long example stands alone."""
    examples = encode_pairs(tokenizer, pairs, max_length=1000)
    groups = micro_batches(examples, max_tokens)
    assert sorted(index for group in groups for index in group) == list(range(len(pairs)))
    for group in groups:
        batch = tree_batch([examples[i] for i in group], tokenizer.pad_token_id)
        assert batch.tokens <= max_tokens or len(group) == 1


def test_micro_batches_fill_the_budget():
    """Three examples of 5 tokens and one of 10: the longest first, each into the first group that has room."""
    short, long = (
        [Encoded([1, 2, 3, 4], 3), Encoded([1, 2, 3, 5], 3)],
        [Encoded([*range(9)], 8), Encoded([*range(8), 99], 8)],
    )
    assert micro_batches([short, long, short, short], max_tokens=15) == [[1, 0], [2, 3]]
    assert micro_batches([short, long, short, short], max_tokens=10) == [[1], [0, 2], [3]]
    assert micro_batches([short, long, short, short], max_tokens=5) == [[1], [0], [2], [3]]


@pytest.mark.parametrize("std", [0.2, 32**-0.5, 0.02])
def test_a_model_whose_layers_mix_packed_answers_is_refused(std):
    """Linear attention reads straight through the row, however weakly: the rejected answer would see the chosen one."""
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    config = Qwen3NextConfig(
        vocab_size=320, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, layer_types=["linear_attention", "full_attention"], num_experts=0,
        linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
        mlp_only_layers=[0, 1], initializer_range=std,
    )  # fmt: skip
    torch.manual_seed(0)
    model, tokenizer = Qwen3NextForCausalLM(config).eval(), tiny_sft("llama")[1]
    for make in (lambda: RewardModel.from_sft(model, tokenizer, layers=None), lambda: Policy(model, tokenizer)):
        with pytest.raises(NotImplementedError, match="its layers mix the answers of a batch"):
            make()


def test_grouped_heads_are_the_same_as_repeated_ones():
    """Query head i reads key head i // group: what CUDA gets, and what the CPU gets."""
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
    trees = [
        torch.ones(4, 4, dtype=torch.bool).tril()[None, None],
        torch.ones(2, 2, dtype=torch.bool).tril()[None, None],
    ]
    grouped, _ = tree_attention(None, query, key, value, None, trees=trees)
    repeated = [x.repeat_interleave(2, dim=1) for x in (key, value)]
    torch.testing.assert_close(tree_attention(None, query, *repeated, None, trees=trees)[0], grouped)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_models_with_attention_in_every_layer_are_taken_in_every_precision(sft, dtype):
    """Rounding is no leak."""
    Policy(sft[0].to(dtype), sft[1])


def test_weights_that_are_not_finite_are_called_so(sft):
    """And not a fault of the layers."""
    with torch.no_grad():
        next(p for p in sft[0].parameters() if p.ndim == 2)[:] = torch.nan
    with pytest.raises(ValueError, match="states are not finite"):
        RewardModel.from_sft(*sft, layers=None)
