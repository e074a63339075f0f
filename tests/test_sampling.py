"""The sampler against independent routes: transformers' `generate`, one forward pass over the finished text."""

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from conftest import tiny_sft
from rmtutorial import sampling
from rmtutorial.features import states_below
from rmtutorial.policy import Policy
from rmtutorial.recipe import freeze
from rmtutorial.sampling import draw, sample

PROMPTS = ["Why is the sky blue?", "Where?", "Because the cat sat on the mat, why is it red?"]


def qwen3():
    _, tokenizer = tiny_sft("llama")
    torch.manual_seed(1)
    config = Qwen3Config(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, head_dim=8, initializer_range=0.2,
                         max_position_embeddings=256)  # fmt: skip
    return Qwen3ForCausalLM(config).eval(), tokenizer


def mistral(window):
    _, tokenizer = tiny_sft("llama")
    torch.manual_seed(2)
    config = MistralConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                           num_attention_heads=4, num_key_value_heads=2, sliding_window=window, initializer_range=0.2,
                           max_position_embeddings=256)  # fmt: skip
    return MistralForCausalLM(config).eval(), tokenizer


def plain(name):
    """A tiny model whose tokenizer has the plain template, as a Policy gives it one."""
    policy = Policy(*tiny_sft(name))
    return policy.lm, policy.tokenizer


@pytest.fixture(params=["llama", "gpt2", "qwen3"])
def writer(request):
    return qwen3() if request.param == "qwen3" else plain(request.param)


@pytest.fixture
def frequent_ends(monkeypatch):
    """Every seventh token ends an answer, so that answers of a random model have all lengths."""
    monkeypatch.setattr(sampling, "end_marks", lambda lm, tokenizer: torch.arange(0, lm.config.vocab_size, 7))


def teacher_forced(lm, encoded, temperature=1.0):
    """log pi of the answer's tokens, by one ordinary pass over prompt and answer."""
    with torch.no_grad():
        logits = lm(torch.tensor([encoded.ids])).logits[0] / temperature  # (T, V)
    logprobs = logits[encoded.start - 1 : -1].log_softmax(-1)
    return logprobs.gather(1, torch.tensor(encoded.ids[encoded.start :])[:, None])[:, 0]


def test_greedy_answers_are_those_of_generate(writer):
    """temperature 0: argmax at every step; `generate` reads each prompt alone, without padding."""
    lm, tokenizer = writer
    samples = sample(lm, tokenizer, PROMPTS, group=2, max_new_tokens=12, temperature=0)
    for prompt, both in zip(samples.prompt_ids, samples.encoded):
        ids = torch.tensor([prompt])
        mask = torch.ones_like(
            ids
        )  # without it, `generate` takes end marks of earlier turns for padding, if pad == EOS
        expected = lm.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False, pad_token_id=0)[0].tolist()
        assert both[0].ids == both[1].ids == expected[: len(both[0].ids)]
        assert both[0].start == len(prompt)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_logprobs_are_those_of_one_pass_over_the_finished_text(writer, temperature, frequent_ends):
    """log pi_T(y_t | x, y_<t) with logits divided by T, in the draw and in the log-probability alike."""
    lm, tokenizer = writer
    samples = sample(lm, tokenizer, PROMPTS, group=5, max_new_tokens=10, temperature=temperature)
    assert samples.lengths.unique().numel() > 3, "answers should end at different steps"
    for answers, logprobs in zip(samples.encoded, samples.logprobs):
        for answer, found in zip(answers, logprobs):
            n = len(answer.ids) - answer.start
            torch.testing.assert_close(found[:n], teacher_forced(lm, answer, temperature), atol=1e-4, rtol=0)
            assert not found[n:].any()


def test_the_end_mark_is_kept_and_nothing_behind_it(writer, frequent_ends):
    """A finished answer's last token is an end mark and no earlier one is; a cut answer has L tokens and none."""
    samples = sample(*writer, PROMPTS, group=8, max_new_tokens=9)
    ends = sampling.end_marks(*writer)
    for row, n, finished in zip(samples.ids.flatten(0, 1), samples.lengths.flatten(), samples.finished.flatten()):
        assert torch.isin(row[n - 1], ends) == finished
        assert not torch.isin(row[: n - 1], ends).any()
        assert finished or n == 9
        assert (row[n:] == writer[1].pad_token_id).all()
    assert samples.finished.any() and not samples.finished.all()
    assert torch.equal(samples.mask.sum(-1), samples.lengths)


def test_finished_answers_do_not_disturb_the_others(writer, monkeypatch):
    """With the same random numbers an answer is the same up to its end, whether others have ended or not."""
    monkeypatch.setattr(sampling, "end_marks", lambda lm, tokenizer: torch.tensor([-1]))
    endless = sample(*writer, PROMPTS, group=4, max_new_tokens=9)
    monkeypatch.setattr(sampling, "end_marks", lambda lm, tokenizer: torch.arange(0, lm.config.vocab_size, 7))
    ending = sample(*writer, PROMPTS, group=4, max_new_tokens=9)
    assert torch.equal(ending.ids[ending.mask], endless.ids[ending.mask])


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_rounds_do_not_change_the_answers(writer, rows, monkeypatch):
    """Answers depend on the seed, not on how many are written at once; the order of prompts and answers is kept."""
    at_once = sample(*writer, PROMPTS, group=4, max_new_tokens=6, states_below=1)
    monkeypatch.setattr(sampling, "ROWS", rows)
    in_rounds = sample(*writer, PROMPTS, group=4, max_new_tokens=6, states_below=1)
    assert torch.equal(at_once.ids, in_rounds.ids)
    torch.testing.assert_close(at_once.logprobs, in_rounds.logprobs, atol=1e-4, rtol=0)
    for one, other in zip(at_once.states, in_rounds.states):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_same_seed_writes_the_same(writer):
    """The seed decides; torch's own random numbers go on as if nothing had been drawn."""
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (sample(*writer, ["Why?"], 4, 8, seed=seed).ids for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_token_is_drawn_as_often_as_it_is_probable():
    """Inverse distribution function: with luck on a fine grid the share of each token is its probability."""
    torch.manual_seed(0)
    logits, n = torch.randn(1, 11) * 2, 20_000
    luck = (torch.arange(n) + 0.5) / n
    for temperature in (1.0, 0.7):
        tokens, logprobs = draw(logits.expand(n, -1), luck, temperature)
        expected = (logits[0] / temperature).softmax(-1)
        torch.testing.assert_close(tokens.bincount(minlength=11) / n, expected, atol=2e-4, rtol=0)
        torch.testing.assert_close(logprobs, expected.log()[tokens])


def test_an_impossible_token_is_never_drawn():
    """P(v) = 0 at the lowest and the highest id: neither luck 0 nor the largest float below 1 draws it."""
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]]).expand(2, -1)
    tokens, logprobs = draw(logits, torch.tensor([0.0, 1 - 2**-24]))
    assert tokens.tolist() == [1, 2] and logprobs.isfinite().all()


def test_states_are_those_that_enter_the_first_layer_that_learns(frequent_ends):
    """The sampler's states equal those of a pass over the packed answers, so training need not compute them again."""
    policy = Policy(*tiny_sft("llama"))
    freeze(policy, 2)  # of four layers
    samples = sample(policy.lm, policy.tokenizer, PROMPTS, group=5, max_new_tokens=8, states_below=2)
    for answers, found in zip(samples.encoded, samples.states):
        batch = policy.batch([answers])
        expected = states_below(policy, batch)
        assert found.shape == expected.shape
        predicts = batch.predict[0].unique()  # last tokens predict nothing: zeros here
        torch.testing.assert_close(found[predicts], expected[predicts], atol=1e-4, rtol=1e-4)
        batch.below = found[None]
        torch.testing.assert_close(
            policy.logprobs(batch), policy.logprobs(policy.batch([answers])), atol=1e-4, rtol=1e-4
        )


def test_a_model_with_a_window_is_sampled_by_generate_aloud(capsys, frequent_ends):
    """A sliding window shorter than the text: the fallback says so, and its log-probabilities are as right."""
    lm, tokenizer = mistral(window=8)
    samples = sample(lm, tokenizer, PROMPTS, group=3, max_new_tokens=7)
    assert "looks 8 tokens back" in capsys.readouterr().out
    for answers, logprobs in zip(samples.encoded, samples.logprobs):
        for answer, found in zip(answers, logprobs):
            torch.testing.assert_close(
                found[: len(answer.ids) - answer.start], teacher_forced(lm, answer), atol=1e-4, rtol=0
            )
    sample(*mistral(window=250), PROMPTS[:1], group=2, max_new_tokens=3)
    assert capsys.readouterr().out == ""


def test_another_model_is_noticed_by_its_logits(capsys, monkeypatch):
    """Logits that are scaled behind the head (as some models do) come out differently: `generate` is asked instead."""
    lm, tokenizer = tiny_sft("llama")
    forward = type(lm).forward

    def scaled(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        output.logits = output.logits / 3
        return output

    monkeypatch.setattr(type(lm), "forward", scaled)
    samples = sample(lm, tokenizer, PROMPTS[:1], group=2, max_new_tokens=4)
    assert "come out differently" in capsys.readouterr().out
    answer = samples.encoded[0][0]
    torch.testing.assert_close(
        samples.logprobs[0, 0, : len(answer.ids) - answer.start], teacher_forced(lm, answer), atol=1e-4, rtol=0
    )


def test_bfloat16_weights_write_too():
    """Keys, values and weights in bfloat16; the softmax is computed in float32."""
    lm, tokenizer = tiny_sft("llama")
    samples = sample(lm.to(torch.bfloat16), tokenizer, PROMPTS, group=3, max_new_tokens=5)
    assert samples.logprobs.isfinite().all() and (samples.logprobs <= 0).all()


def test_the_model_is_left_as_it_was(writer):
    """Attention, training mode and the linear layers' own forward come back, also after an error."""
    lm, tokenizer = writer
    lm.train()
    lm.base_model.set_attn_implementation("eager")
    sample(lm, tokenizer, ["Why?"], 2, 3)
    assert lm.training and lm.base_model.config._attn_implementation == "eager"
    assert not any("forward" in vars(module) for module in lm.modules())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"group": 0}, "group=0"),
        ({"max_new_tokens": 2.5}, "max_new_tokens=2.5"),
        ({"temperature": -1}, "temperature=-1"),
        ({"prompts": []}, r"prompts=\[\]"),
        ({"prompts": "Why?"}, "a list"),
        ({"max_new_tokens": 250}, "Why is the sky blue"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(change, said):
    lm, tokenizer = tiny_sft("llama")
    with pytest.raises(ValueError, match=said):
        sample(lm, tokenizer, **{"prompts": PROMPTS, **change})


def test_chat_messages_are_prompts_too():
    """A conversation of several turns is rendered by the template, as a text is as its only turn."""
    lm, tokenizer = tiny_sft("llama")
    talk = [{"role": "user", "content": "Why?"}]
    assert sample(lm, tokenizer, ["Why?"], 2, 4).ids.equal(sample(lm, tokenizer, [talk], 2, 4).ids)


def test_without_any_end_mark_every_answer_is_cut():
    """Neither tokenizer nor model names an end mark or a pad token: L tokens each, none of them finished."""
    lm, tokenizer = tiny_sft("llama")
    lm.generation_config.eos_token_id = tokenizer.eos_token = tokenizer.pad_token = None
    samples = sample(lm, tokenizer, PROMPTS, group=2, max_new_tokens=5)
    assert (samples.lengths == 5).all() and not samples.finished.any()
