"""The policy and its implicit reward, against plain forwards of the language model and against DPO's formula."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import moved, plain_dpo_loss, plain_logprob, tiny_sft
from rmtutorial.encoding import Encoded, encode
from rmtutorial.evaluation import evaluate
from rmtutorial.losses import bradley_terry_loss, sequence_logprobs
from rmtutorial.policy import Policy
from rmtutorial.recipe import TrainConfig, freeze
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_dpo

CONFIG = TrainConfig(epochs=1, batch_size=2, lr=1e-3, train_top=2)


@pytest.fixture
def policy(sft):
    return Policy(*sft, beta=0.2)


def test_packed_logprobs_equal_those_of_plain_forwards(policy, pairs):
    """Prompt, chosen and rejected in one row with a tree mask: the same log pi(y|x) as each answer alone."""
    encoded = policy.encode_pairs(pairs)
    plain = torch.tensor([[plain_logprob(policy.lm, answer).item() for answer in both] for both in encoded])
    torch.testing.assert_close(policy.logprobs_encoded(encoded), plain, atol=2e-4, rtol=0)
    assert plain.std() > 1


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_token_logprobs_are_those_of_a_plain_forward_at_the_temperature(policy, pairs, temperature):
    """log softmax(logits / T) of every answer token, the end mark included; 0 behind; their sum is log pi(y|x)."""
    encoded = policy.encode_pairs(pairs)
    found = policy.token_logprobs(policy.batch(encoded), temperature)  # (B, K, L)
    longest = max(len(answer.ids) - answer.start for both in encoded for answer in both)
    assert found.shape == (len(pairs), 2, longest)
    for both, rows in zip(encoded, found):
        for answer, row in zip(both, rows):
            logits = policy.lm(input_ids=torch.tensor([answer.ids])).logits[0]
            log_pi = (logits / temperature).log_softmax(-1)[range(len(answer.ids) - 1), answer.ids[1:]]
            expected = log_pi[max(1, answer.start) - 1 :]
            torch.testing.assert_close(row[: len(expected)], expected, atol=2e-4, rtol=0)
            assert not row[len(expected) :].any()
    if temperature == 1:
        torch.testing.assert_close(found.sum(-1), policy.logprobs(policy.batch(encoded)))


def test_token_logprobs_of_the_reference_have_no_gradient_and_stay_what_they_were(policy, pairs):
    """Before the policy moves and after: the same numbers, with the policy's own between them different."""
    batch = policy.batch(policy.encode_pairs(pairs))
    before = policy.token_logprobs(batch).detach()
    moved(policy)
    after = policy.reference_token_logprobs(batch)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert not after.requires_grad and (policy.token_logprobs(batch) - before).abs().max() > 0.1


@pytest.mark.parametrize("side", ["left", "right"])
def test_logprobs_of_padded_batches_are_the_same(policy, pairs, side):
    """Padding on either side, with its mask and positions, changes no answer's log-probability."""
    policy.tokenizer.padding_side = side
    encoded = [answer for both in policy.encode_pairs(pairs) for answer in both]
    batch = policy.tokenizer.pad({"input_ids": [answer.ids for answer in encoded]}, return_tensors="pt")
    ids, real = batch["input_ids"], batch["attention_mask"]
    places = (real.cumsum(1) - 1).clamp(min=0)  # (B, T), of a token in its own text
    mask = (places >= torch.tensor([[answer.start] for answer in encoded])) & real.bool()
    logits = policy.lm(input_ids=ids, attention_mask=real, position_ids=places).logits
    padded = sequence_logprobs(logits, ids, mask)
    packed = policy.logprobs_encoded([[answer] for answer in encoded])[:, 0]
    torch.testing.assert_close(packed, padded, atol=2e-4, rtol=0)


def test_bradley_terry_on_implicit_rewards_is_dpo(policy, pairs):
    """One identity: bradley_terry_loss(beta log-ratios) = eq. 7, in value and in gradient, to 1e-6."""
    reference = copy.deepcopy(policy.lm)
    encoded = policy.encode_pairs(pairs)
    before = policy.logprobs_encoded(encoded)
    moved(policy)
    torch.testing.assert_close(policy.reference_encoded(encoded), before, atol=1e-5, rtol=0)
    ours = bradley_terry_loss(*policy(policy.batch(encoded)).unbind(1))
    plain = plain_dpo_loss(policy.lm, reference, encoded, 0.2)
    torch.testing.assert_close(ours, plain, atol=2e-6, rtol=1e-5)
    assert abs(ours.item() - 0.6931) > 0.01
    learning = [p for p in policy.parameters() if p.requires_grad]
    for a, b in zip(torch.autograd.grad(ours, learning), torch.autograd.grad(plain, learning)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_implicit_rewards_are_zero_before_training(policy, pairs):
    """The policy is its own reference: log-ratios of 0, a loss of ln 2, every pair a tie."""
    freeze(policy, 2)
    policy.fix_reference()
    report = evaluate(policy, pairs)
    assert report.accuracy == 0.5 and report.loss == pytest.approx(0.693147, abs=1e-5)


def test_dpo_moves_only_the_top_layers_and_learns(policy, pairs):
    """Embeddings, LM head and the lower layers keep every bit; the training loss falls."""
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    history = train_dpo(policy, pairs, TrainConfig(epochs=10, batch_size=6, lr=3e-3, train_top=2), held_out=pairs)
    changed = {name for name, p in policy.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(policy.reference_weights)
    assert not any("embed" in name or "wte" in name or ".0." in name or ".1." in name for name in changed)
    assert history.evaluations[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert history.evaluations[-1]["loss"] < 0.5


def test_the_reference_is_untouched_bit_for_bit(policy, pairs):
    """After training, inside `as_reference`, every weight and every log-probability is that of the untrained model."""
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    encoded = policy.encode_pairs(pairs)
    logprobs = policy.logprobs_encoded(encoded)
    train_dpo(policy, pairs, CONFIG)
    trained = {name: p.detach().clone() for name, p in policy.named_parameters()}
    assert not all(torch.equal(p, before[name]) for name, p in trained.items())
    with policy.as_reference():
        assert all(torch.equal(p, before[name]) for name, p in policy.named_parameters())
        torch.testing.assert_close(policy.logprobs_encoded(encoded), logprobs, atol=0, rtol=0)
    assert all(torch.equal(p, trained[name]) for name, p in policy.named_parameters())
    assert not torch.equal(policy.logprobs_encoded(encoded), logprobs)
    policy.reset()
    assert all(torch.equal(p, before[name]) for name, p in policy.named_parameters())


def test_a_stopped_dpo_run_goes_on_to_the_same_weights(pairs, tmp_path):
    """Half a run, saved, and the rest in a fresh policy: the weights of the run that never stopped."""
    ends = []
    for stop in (False, True):
        policy = Policy(*tiny_sft("llama"))
        config = TrainConfig(
            epochs=2, batch_size=2, train_top=2, checkpoint_every=3, checkpoint_dir=str(tmp_path / "c")
        )
        if stop:
            train_dpo(policy, pairs, config, resume_from=tmp_path / "kept")
        else:
            train_dpo(policy, pairs, config)
            history_at_3(pairs, config, tmp_path / "kept")
        ends.append([p.detach() for p in policy.parameters() if p.requires_grad])
    for a, b in zip(*ends):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def history_at_3(pairs, config, kept):
    """The checkpoint that a run of the same settings leaves after step 3."""
    import rmtutorial.training_run as training_run

    saved = []
    original = training_run.save_checkpoint

    def save_once(folder, *arguments):
        if not saved:
            saved.append(original(kept, *arguments))

    training_run.save_checkpoint = save_once
    try:
        train_dpo(Policy(*tiny_sft("llama")), pairs, config)
    finally:
        training_run.save_checkpoint = original


def test_a_trained_policy_cannot_resume_as_its_own_reference(pairs, tmp_path):
    """Resuming with other starting weights would move the reference; it is refused, and says what differs."""
    config = TrainConfig(epochs=1, batch_size=2, train_top=2, checkpoint_every=2, checkpoint_dir=str(tmp_path / "c"))
    policy = Policy(*tiny_sft("llama"))
    train_dpo(policy, pairs, config)
    with pytest.raises(ValueError, match="the reference differ"):
        train_dpo(Policy(policy.lm, policy.tokenizer), pairs, config, resume_from=tmp_path / "c")


def test_a_run_that_was_stopped_goes_on_with_the_same_policy(pairs, tmp_path):
    """As the message of Ctrl-C says: its reference is what the run started from, not what it had become."""
    config = TrainConfig(epochs=1, batch_size=2, train_top=2, checkpoint_every=2, checkpoint_dir=str(tmp_path / "c"))
    policy = Policy(*tiny_sft("llama"))
    train_dpo(policy, pairs, config)  # three steps; the checkpoint is of the second
    whole = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    train_dpo(policy, pairs, config, resume_from=tmp_path / "c")
    assert all(torch.equal(tensor, whole[name]) for name, tensor in policy.state_dict().items())


@pytest.mark.parametrize(
    ("change", "error"),
    [({"checkpoint": "typo"}, FileNotFoundError), ({"lr": 1e-5}, ValueError), ({"train_top": 1}, ValueError)],
)
def test_a_resume_that_is_refused_costs_nothing(pairs, tmp_path, change, error):
    """The trained weights are still there, and so is the reference."""
    config = TrainConfig(epochs=1, batch_size=2, train_top=2, checkpoint_every=2, checkpoint_dir=str(tmp_path / "c"))
    policy = Policy(*tiny_sft("llama"))
    train_dpo(policy, pairs, config)
    before, rewards = copy.deepcopy(policy.state_dict()), policy.score_pairs(pairs)[0]
    folder = tmp_path / change.pop("checkpoint", "c")
    with pytest.raises(error):
        train_dpo(policy, pairs, replace(config, **change), resume_from=folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())
    assert torch.equal(policy.score_pairs(pairs)[0], rewards) and rewards.abs().max() > 0


def test_under_autocast_the_reference_does_not_stand_in_for_the_policy(policy, pairs):
    """Autocast keeps bf16 copies by parameter: after a pass of the reference it must not use its copies again."""
    moved(policy)
    batch = policy.batch(policy.encode_pairs(pairs))
    expected = policy(batch)
    policy.reference_logprobs = {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rewards = policy(policy.batch(policy.encode_pairs(pairs)))
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(rewards, expected, atol=0.1 * expected.abs().max().item(), rtol=0)


def test_what_bf16_made_of_the_reference_is_not_subtracted_from_float32(policy, pairs):
    """A policy that equals its reference has rewards of exactly 0, after training in bf16 as well."""
    freeze(policy, 2)
    policy.fix_reference()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        policy.reference_encoded(policy.encode_pairs(pairs))
    assert (torch.stack(policy.score_pairs(pairs)) == 0).all()


@pytest.mark.parametrize("config", [TrainConfig(train_top=0), TrainConfig(fsdp=True)])
def test_dpo_without_anything_to_train_or_with_fsdp_is_refused(pairs, config):
    """A policy has no new head that could learn alone."""
    with pytest.raises(ValueError, match="DPO trains 1 layer or more"):
        train_dpo(Policy(*tiny_sft("llama")), pairs, config)


def test_without_a_reference_there_is_no_reward(policy, pairs):
    """The message says which call is missing."""
    with pytest.raises(ValueError, match="fix_reference"):
        policy.score_pairs(pairs)


def test_beta_must_be_positive(sft):
    with pytest.raises(ValueError, match=r"beta=0: must be above 0"):
        Policy(*sft, beta=0)


def test_kl_is_zero_at_the_reference_and_equals_the_sum_over_the_vocabulary(policy, pairs):
    """KL = sum_t sum_v pi(v|.) (log pi(v|.) - log pi_ref(v|.)), written out with two plain forwards."""
    reference = copy.deepcopy(policy.lm)
    answer = policy.encode_pairs(pairs)[0][0]
    freeze(policy, 2)
    policy.fix_reference()
    assert policy.kl_encoded([[answer]]).item() == 0
    moved(policy)
    with torch.no_grad():
        ids = torch.tensor([answer.ids])
        log_pi, log_ref = (lm(input_ids=ids).logits[0].log_softmax(-1) for lm in (policy.lm, reference))  # (T, V)
    each = (log_pi.exp() * (log_pi - log_ref)).sum(-1)  # (T,)
    expected = each[answer.start - 1 : -1].sum()
    torch.testing.assert_close(policy.kl_encoded([[answer]])[0, 0], expected, atol=1e-4, rtol=1e-4)
    assert expected > 0.01


def test_sampled_answers_are_those_of_each_prompt_alone(policy, pairs):
    """Greedy answers of a left-padded batch equal the answers of each prompt by itself; the prompt is not changed."""
    prompts = [pair.prompt for pair in pairs[2:5]]
    together = policy.sample(prompts, max_new_tokens=5, temperature=0)
    for prompt, answer in zip(prompts, together):
        (alone,) = policy.sample([prompt], max_new_tokens=5, temperature=0)
        assert alone == answer and len(answer.ids) - answer.start <= 5
        expected = encode(policy.tokenizer, prompt, "x", 256)
        assert answer.ids[: answer.start] == expected.ids[: expected.start]


def test_sampling_follows_its_seed_and_leaves_the_global_one_alone(policy):
    """The same seed, the same answers; torch's own random numbers go on as if nothing had been drawn."""
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (policy.sample(["Why?"], 8, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert first == again and first != other


def test_a_cut_prompt_still_leaves_the_answer_its_own_tokens(sft):
    """If the cut leaves no prompt, the first token has nothing that predicts it, and is left out."""
    policy = Policy(*sft)
    whole, cut = Encoded([5, 6, 7, 8], 2), Encoded([7, 8], 0)
    assert policy.batch([[whole]]).predict[1].tolist() == [2, 3]
    assert policy.batch([[cut]]).predict[1].tolist() == [1]


def test_a_saved_policy_is_an_ordinary_language_model(policy, pairs, tmp_path):
    """AutoModelForCausalLM loads the folder; its logits are those of the trained policy. A reward model writes none."""
    train_dpo(policy, pairs, CONFIG)
    policy.save_pretrained(tmp_path / "policy")
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    ids = torch.tensor([AutoTokenizer.from_pretrained(tmp_path / "policy")("Why is the sky blue?")["input_ids"]])
    torch.testing.assert_close(lm(input_ids=ids).logits, policy.lm(input_ids=ids).logits, atol=1e-5, rtol=1e-4)


def test_logits_that_are_capped_after_the_head_are_refused():
    """Gemma 2 caps its logits; reading them from the head alone would give wrong probabilities."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(vocab_size=50, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                          num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.01, attn_logit_softcapping=None)  # fmt: skip
    with pytest.raises(NotImplementedError, match="LM head times"):
        Policy(Gemma2ForCausalLM(config).eval(), tiny_sft("llama")[1])


def test_the_reward_model_cannot_write(sft):
    """It has no LM head: no `generate`, no matrix that gives logits."""
    rm = RewardModel.from_sft(*sft, layers=None)
    assert rm.backbone.get_output_embeddings() is None and not hasattr(rm, "generate")


def test_our_dpo_loss_is_trls(policy, pairs, tmp_path):
    """TRL's DPOTrainer on the same token ids: the same loss (optional: needs trl and datasets)."""
    pytest.importorskip("trl")
    reference = copy.deepcopy(policy.lm)
    moved(policy)
    encoded = policy.encode_pairs(pairs)
    assert bradley_terry_loss(*policy(policy.batch(encoded)).unbind(1)).item() == pytest.approx(
        trl_dpo_loss(policy, reference, encoded, str(tmp_path)), abs=2e-6
    )


def trl_dpo_loss(policy, reference, encoded, folder):
    """TRL collates the same token ids (padded, two forwards a pair) and judges them."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = [
        {"prompt_ids": both[0].ids[: both[0].start]}
        | {f"{name}_ids": answer.ids[answer.start :] for name, answer in zip(("chosen", "rejected"), both)}
        for both in encoded
    ]
    settings = DPOConfig(folder, beta=policy.beta, max_length=None, use_cpu=True, bf16=False, report_to="none",
                         gradient_checkpointing=False)  # fmt: skip
    text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    trainer = DPOTrainer(
        policy.lm, ref_model=reference, args=settings, train_dataset=text, processing_class=policy.tokenizer
    )
    trainer.model.eval()
    return trainer.compute_loss(trainer.model, trainer.data_collator(rows)).item()
