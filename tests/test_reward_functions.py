"""Rewards: a function, a reward model or a folder give the same numbers, and what cannot be used is named."""

import math

import numpy
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from conftest import tiny_sft
from rmtutorial.policy import Policy
from rmtutorial.reward_functions import load_reward, reward_settings, rewards_of
from rmtutorial.reward_model import RewardModel

PROMPTS = ["Why is the sky blue?", "Where is the cat?"]
ANSWERS = [["Because air scatters blue light.", "It is."], ["On the mat.", "On the mat."]]


def length(prompts, answers):
    return [len(answer) for answer in answers]


def reward_model(seed=1):
    rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None)
    torch.nn.init.normal_(rm.reward_head.weight, generator=torch.Generator().manual_seed(seed))
    return rm


def test_a_function_gets_one_prompt_for_each_answer():
    """Two flat lists of P G texts; the rewards come back as (P, G), float32."""
    seen = []

    def watched(*arguments):
        seen.append(arguments)
        return length(*arguments)

    rewards = rewards_of(watched, PROMPTS, ANSWERS)
    assert seen == [([PROMPTS[0]] * 2 + [PROMPTS[1]] * 2, [*ANSWERS[0], *ANSWERS[1]])]
    assert torch.equal(rewards, torch.tensor([[32.0, 6.0], [11.0, 11.0]])) and rewards.dtype == torch.float32


@pytest.mark.parametrize(
    "form",
    [tuple, torch.tensor, numpy.array, lambda x: torch.tensor(x, dtype=torch.float64).requires_grad_(),
     lambda x: [torch.tensor(value) for value in x]],
)  # fmt: skip
def test_lists_arrays_and_tensors_are_all_rewards(form):
    """With a gradient or without: what comes back is a constant."""
    rewards = rewards_of(lambda p, a: form([float(x) for x in length(p, a)]), PROMPTS, ANSWERS)
    assert rewards.tolist() == [[32.0, 6.0], [11.0, 11.0]] and not rewards.requires_grad


def test_a_reward_model_and_its_folder_score_as_score_batch_does(tmp_path):
    """The prompt read once for its group, or each answer alone: the same rewards; equal answers get equal ones."""
    rm = reward_model()
    rm.save_pretrained(tmp_path / "rm")
    expected = rm.score_batch([(p, a) for p, group in zip(PROMPTS, ANSWERS) for a in group]).view(2, 2)
    for given in (rm, tmp_path / "rm", str(tmp_path / "rm")):
        torch.testing.assert_close(rewards_of(load_reward(given), PROMPTS, ANSWERS), expected, atol=1e-5, rtol=0)
    assert expected[0, 0] != expected[0, 1] and rewards_of(rm, PROMPTS, ANSWERS)[1].diff() == 0


def test_an_empty_answer_has_a_reward_too():
    """A policy may stop at once: with the template's end mark there is something to score."""
    assert rewards_of(reward_model(), PROMPTS[:1], [["", "It is."]]).isfinite().all()


def test_a_checkpoint_knows_a_reward_model_by_its_weights_and_a_function_by_its_name():
    """Another model, or another function, is another run."""
    assert reward_settings(reward_model()) == reward_settings(reward_model()) != reward_settings(reward_model(2))
    assert reward_settings(length) == {"the reward": "length"}


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_reward(tmp_path / "nothing")


@pytest.mark.parametrize("given", [None, 3.0, [length], torch.nn.Linear(2, 1)])
def test_what_is_no_reward_is_refused(given):
    """A module of another kind would be called with lists of text."""
    with pytest.raises(ValueError, match=f"reward is a {type(given).__name__}: pass a function"):
        load_reward(given)


def test_a_classifier_of_transformers_is_refused_and_its_folder_is_not(tmp_path):
    """It has no tokenizer beside it; from its folder both are read."""
    model = AutoModelForSequenceClassification.from_config(
        BertConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=1,
            vocab_size=320,
        )
    )
    with pytest.raises(ValueError, match="BertForSequenceClassification"):
        load_reward(model)
    tokenizer = tiny_sft("llama")[1]
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert rewards_of(load_reward(tmp_path), PROMPTS, ANSWERS).shape == (2, 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_names_prompt_and_answer(bad):
    """One of four; a NaN would become the advantage of its whole group."""
    with pytest.raises(ValueError, match=f"the reward is {bad} for the prompt 'Where is the cat.' and the answer 'On"):
        rewards_of(lambda p, a: [1.0, 2.0, bad, 4.0], PROMPTS, ANSWERS)


def test_a_reward_model_that_gives_nan_names_the_prompt_too():
    rm = reward_model()
    rm.reward_head.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="nan for the prompt 'Why is the sky blue"):
        rewards_of(rm, PROMPTS, ANSWERS)


@pytest.mark.parametrize("bad", [None, "good", [1.0, 2.0]])
def test_a_reward_that_is_no_number_names_prompt_and_answer(bad):
    with pytest.raises(
        ValueError, match=r"for the prompt 'Why is the sky blue\?' and the answer 'It is.': it must be a n"
    ):
        rewards_of(lambda p, a: [1.0, bad, 3.0, 4.0], PROMPTS, ANSWERS)


@pytest.mark.parametrize(
    ("returned", "said"),
    [([1.0] * 3, "returned 3 for 4"), ([], "returned 0 for 4"), (1.0, "returned float for 4"), (None, "NoneType"),
     (torch.zeros(4, 1), "returned 4 x 1 for 4"), (torch.zeros(2, 2), "returned 2 x 2 for 4")],
)  # fmt: skip
def test_another_number_of_rewards_is_refused(returned, said):
    """Spread over the answers in another order they would still train something."""
    with pytest.raises(ValueError, match=said):
        rewards_of(lambda p, a: returned, PROMPTS, ANSWERS)


def test_a_function_that_raises_is_asked_again_to_find_the_answer():
    """The error says for which prompt and answer, and keeps the function's own behind it."""

    def raises(prompts, answers):
        return [10 / (len(answer) - 6) for answer in answers]

    with pytest.raises(ValueError, match=r"ZeroDivisionError.*the answer 'It is.'") as error:
        rewards_of(raises, PROMPTS, ANSWERS)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_a_function_that_raises_only_for_many_says_so():
    def raises(prompts, answers):
        if len(answers) > 1:
            raise MemoryError("too many")
        return [0.0]

    with pytest.raises(ValueError, match=r"MemoryError.*4 answers together, and for none of them alone"):
        rewards_of(raises, PROMPTS, ANSWERS)


def test_ctrl_c_in_a_reward_function_is_ctrl_c():
    """It is not taken for a failure of the function."""

    def stopped(prompts, answers):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewards_of(stopped, PROMPTS, ANSWERS)


def test_a_long_prompt_and_chat_messages_are_named_by_their_beginning():
    talk = [{"role": "user", "content": "Why is the sky blue? " * 10}]
    with pytest.raises(ValueError, match=r"the prompt 'Why is the sky blue\? Why.{30,50}…' and the answer 'a'"):
        rewards_of(lambda p, a: [math.nan], [talk], [["a"]])


def test_a_policy_is_a_reward_too():
    """DPO's implicit reward (0 at its reference)."""
    policy = Policy(*tiny_sft("llama"))
    policy.requires_grad_(True)
    policy.fix_reference()
    assert torch.equal(rewards_of(load_reward(policy), PROMPTS, ANSWERS), torch.zeros(2, 2))
