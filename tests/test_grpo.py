"""GRPO on tiny models: against a step written by hand, against itself stopped half-way, and against what breaks runs."""

import functools
import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import rmtutorial.rollouts as rollouts
from conftest import tiny_sft
from rmtutorial.backbones import decoder_layers
from rmtutorial.grpo import GRPOConfig, advantages_of, forward_backward, prompt_order, train_grpo
from rmtutorial.history import History
from rmtutorial.policy import Policy
from rmtutorial.policy_gradient import group_advantages
from rmtutorial.preferences import PreferencePair
from rmtutorial.processes import accelerator_of_run
from rmtutorial.recipe import freeze
from rmtutorial.reward_model import RewardModel
from rmtutorial.rollouts import parts_of, roll_out
from rmtutorial.sampling import sample

PROMPTS = ["Why is the sky blue?", "Where is the cat?", "Is red light blue?", "Who sat?", "See the mat?"]


def letters(prompts, answers):
    """A reward that an answer can raise without end: how many of its characters are an e."""
    return [float(answer.count("e")) for answer in answers]


def of_the_prompt(prompts, answers):
    """Another one, never the same for two answers of some length."""
    return [len(set(prompt) & set(answer)) / 7 + len(answer) / 100 for prompt, answer in zip(prompts, answers)]


@pytest.fixture
def config(tmp_path):
    """Four steps of two prompts with four answers of six tokens."""
    return GRPOConfig(steps=4, prompts_per_step=2, group=4, max_new_tokens=6, lr=1e-3, train_top=2, eval_group=2,
                      checkpoint_dir=str(tmp_path / "checkpoint"))  # fmt: skip


def llama():
    return Policy(*tiny_sft("llama"))


def weights(policy):
    return {name: p.detach().clone() for name, p in policy.named_parameters()}


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history.steps]


def rollout_of(policy, config, reward=letters, prompts=PROMPTS[:3]):
    """What a step starts from, of a policy that is its own reference."""
    freeze(policy, config.train_top)
    policy.fix_reference()
    return roll_out(policy, prompts, reward, config, accelerator_of_run(), config.group, 1)


# It learns, and it does what the formulas say.


def test_the_reward_rises_on_prompts_that_were_not_trained_on(sft):
    """Three of five prompts are trained on; top layers move, all below and the reference keep every bit."""
    policy = Policy(*sft)
    before = weights(policy)
    config = GRPOConfig(steps=14, prompts_per_step=3, group=8, max_new_tokens=8, lr=1e-2, train_top=2, eval_group=16)
    history = train_grpo(policy, PROMPTS[:3], letters, config, held_out=PROMPTS[3:])
    first, last = (row["reward_mean"] for row in (history.evaluations[0], history.evaluations[-1]))
    assert last > first + 0.4
    assert history.evaluations[0]["kl"] == pytest.approx(0, abs=1e-4) and history.evaluations[-1]["kl"] > 0.1
    moved = {name for name, p in policy.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(policy.reference_weights)
    assert not any("embed" in name or "wte" in name or ".0." in name or ".1." in name for name in moved)
    with policy.as_reference():
        assert same(weights(policy), before)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "scale": False}, {"beta": 0.3, "kl_in": "reward"}])
def test_one_step_is_the_step_of_a_loop_written_by_hand(sft, settings):
    """Every answer alone through the plain model; eq. 3 of GRPO spelled out token by token; torch's AdamW.

    The policy has left its reference before, so that the KL penalty is not 0.
    """
    model = sft[0].double()  # AdamW divides by |g|: in float32 the noise of a gradient that is zero becomes a step
    config = GRPOConfig(
        steps=1, prompts_per_step=3, group=4, max_new_tokens=6, lr=1e-3, train_top=2, warmup=0, **settings
    )
    policy = Policy(model, sft[1])
    written = []
    real = rollouts.sample

    def keep(*arguments, **more):
        written.append(replace(real(*arguments, **more), states=None))  # all layers anew, in float64
        return written[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollouts, "sample", keep)
        start = weights(policy)
        row = train_grpo(policy, PROMPTS[:3], of_the_prompt, config).steps[0]
    end = weights(policy)

    with torch.no_grad():
        for name, p in policy.named_parameters():
            p.copy_(start[name])
    (samples,) = written
    rewards = torch.tensor(of_the_prompt([p for p in samples.prompts for _ in range(4)],
                                         [text for group in samples.texts(policy.tokenizer) for text in group])).view(3, 4)  # fmt: skip
    A = rewards - rewards.mean(1, keepdim=True)
    A = A / (rewards.std(1, keepdim=True) + 1e-4) if config.scale else A
    total = sum(len(answer.ids) - answer.start for group in samples.encoded for answer in group)
    loss = 0.0
    for group, advantages in zip(samples.encoded, A):
        for answer, a in zip(group, advantages):
            logits = policy.lm(input_ids=torch.tensor([answer.ids])).logits[0] / config.temperature
            log_pi = logits.log_softmax(-1)
            for t in range(answer.start, len(answer.ids)):
                token = log_pi[t - 1, answer.ids[t]]
                loss = loss - a.double() * (token - token.detach()).exp() / total
    learning = [p for name, p in policy.named_parameters() if name in policy.reference_weights]
    policy.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(learning, 1.0)
    torch.optim.AdamW(learning, lr=1e-3, weight_decay=0.0).step()

    assert row["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert row["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    for (
        name,
        p,
    ) in policy.named_parameters():  # where the gradient is above the rounding of the float32 log-probabilities
        clear = torch.zeros_like(p, dtype=torch.bool) if p.grad is None else p.grad.abs() > 1e-6
        torch.testing.assert_close(p[clear], end[name][clear], atol=1e-5, rtol=0)
    assert max((start[name] - end[name]).abs().max().item() for name in end) > 5e-4


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("train_top", [1, 2, None])
def test_before_the_first_update_every_ratio_is_one(sft, config, temperature, train_top):
    """Sampler and training see one distribution: same temperature, whole vocabulary, states of the frozen layers reused."""
    policy = Policy(*sft)
    rollout = rollout_of(policy, replace(config, temperature=temperature, train_top=train_top))
    samples = rollout.samples
    new = torch.zeros_like(samples.logprobs)
    for part, batch in parts_of(policy, samples, 100):
        assert batch.below is not None
        logprobs = policy.token_logprobs(batch, temperature).detach()
        new[part, :, : logprobs.shape[-1]] = logprobs
    assert ((new - samples.logprobs).exp() - 1).abs().max() < 1e-4
    assert (rollout.ref_logprobs - samples.logprobs).abs().max() < 1e-4 and rollout.kl.abs().max() < 1e-3
    assert samples.logprobs[samples.mask].std() > 0.5


def test_the_sampled_states_spare_the_frozen_layers_and_change_nothing(sft, config):
    """With the sampler's states the lowest layer is not computed again; the gradients are those of all layers."""
    policy, found, runs = Policy(*sft), [], []
    rollout = rollout_of(policy, config)
    lowest = next(decoder_layers(policy.backbone)[0].children())
    lowest.register_forward_hook(lambda *_: runs.append(1))
    for states, times in ((rollout.samples.states, 0), (None, 1)):
        rollout.samples.states = states
        policy.zero_grad()
        forward_backward(accelerator_of_run(), policy, rollout, group_advantages(rollout.rewards), config)
        found.append([p.grad.clone() for p in policy.parameters() if p.requires_grad])
        assert len(runs) == times
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_micro_batches_add_up_to_the_gradient_of_the_batch(sft, config):
    """Parts are weighted by their answer tokens, also when answers are of different length; memory, not result."""
    policy, found = Policy(sft[0].double(), sft[1]), []
    rollout = rollout_of(policy, config, of_the_prompt)
    advantages = group_advantages(rollout.rewards)
    for tokens in (10**6, 1, 100):
        policy.zero_grad()
        _, learned = forward_backward(
            accelerator_of_run(), policy, rollout, advantages, replace(config, micro_batch_tokens=tokens)
        )
        found.append((learned["loss"], [p.grad.clone() for p in policy.parameters() if p.requires_grad]))
    for loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-6)
        for a, b in zip(gradients, found[0][1]):
            torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-4)


def test_equal_rewards_move_nothing_and_are_counted_as_dead(sft, config):
    """No answer is better than another one: advantages, gradient and step are exactly 0."""
    policy = Policy(*sft)
    before = weights(policy)
    rows = train_grpo(policy, PROMPTS, lambda prompts, answers: [1e6 / 3] * len(answers), config).steps
    assert same(weights(policy), before)
    assert all(row["dead"] == 1 and row["grad_norm"] == 0 and row["spread"] == 0 for row in rows)


def test_a_second_update_leaves_ratio_one_and_the_clip_acts(sft, config):
    """One update: every ratio is 1 and nothing is clipped, at any learning rate. Four large ones: not so."""
    rows = {
        updates: train_grpo(Policy(*sft), PROMPTS, letters, replace(config, updates=updates, lr=1e-2, steps=2)).steps[
            -1
        ]
        for updates in (1, 4)
    }
    assert rows[1]["ratio_off"] < 1e-4 and rows[1]["clipped"] == 0
    assert rows[4]["ratio_off"] > 0.02 and rows[4]["clipped"] > 0


@pytest.mark.parametrize("kl_in", ["loss", "reward"])
def test_a_kl_term_keeps_the_policy_near_its_reference(kl_in):
    """The same run with and without: a smaller KL at the end, wherever the term stands."""
    config = GRPOConfig(steps=10, prompts_per_step=4, group=8, max_new_tokens=6, lr=1e-2, train_top=2, kl_in=kl_in)
    free, held = (
        train_grpo(llama(), PROMPTS, letters, replace(config, beta=beta), held_out=PROMPTS).evaluations[-1]["kl"]
        for beta in (0.0, 2.0)
    )
    assert held < 0.5 * free


def test_the_kl_in_the_reward_enters_the_advantages_and_not_the_rewards_that_are_shown(config):
    """r - beta (log pi - log ref) of whole answers, then the group's advantages; the history has r itself."""
    policy = llama()
    rollout = rollout_of(policy, config)
    rollout.ref_logprobs = rollout.ref_logprobs - 0.1 * rollout.samples.mask  # as if pi had left it by 0.1 a token
    found = advantages_of(rollout, replace(config, beta=0.5, kl_in="reward"))
    expected = rollout.rewards - 0.5 * 0.1 * rollout.samples.lengths
    torch.testing.assert_close(found, group_advantages(expected), atol=1e-3, rtol=0)
    assert torch.equal(advantages_of(rollout, replace(config, beta=0.5)), group_advantages(rollout.rewards))
    torch.testing.assert_close(rollout.kl, 0.1 * rollout.samples.lengths.float(), atol=1e-3, rtol=0)


# What is rewarded.


def test_a_reward_model_its_folder_and_a_function_around_it_train_alike(config, tmp_path):
    """Three ways to say it, the same weights in the end."""
    rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None)
    torch.nn.init.normal_(rm.reward_head.weight, generator=torch.Generator().manual_seed(1))
    rm.save_pretrained(tmp_path / "rm")
    ways = [rm, str(tmp_path / "rm"), lambda prompts, answers: rm.score_batch(list(zip(prompts, answers)))]
    ends = []
    for reward in ways:
        policy = llama()
        history = train_grpo(policy, PROMPTS, reward, config, held_out=PROMPTS)
        ends.append((weights(policy), history.held_out_rewards))
    for end, rewards in ends[1:]:
        torch.testing.assert_close(rewards, ends[0][1], atol=1e-4, rtol=0)
        for name, p in end.items():
            torch.testing.assert_close(p, ends[0][0][name], atol=1e-4, rtol=0)


def failing(how):
    """`letters`, but in the third step it fails for one prompt."""
    calls = []

    def reward(prompts, answers):
        calls.append(len(answers))
        if calls.count(8) < 3 or PROMPTS[0] not in prompts:  # 8 are a step's; a single one is asked for its name
            return letters(prompts, answers)
        if how == "stops":
            raise KeyboardInterrupt
        if how == "raises":
            raise KeyError("judge")
        found = letters(prompts, answers)
        return (
            found[1:] if how == "one too few" else [math.nan if p == PROMPTS[0] else r for p, r in zip(prompts, found)]
        )

    return reward


@pytest.mark.parametrize("how", ["nan", "raises", "one too few"])
def test_a_reward_that_fails_changes_no_weight_and_names_the_prompt(config, how):
    """In the third step: the weights are those after the second, as in a run that is killed there."""
    policy, killed = llama(), llama()
    with pytest.raises(KeyboardInterrupt):
        train_grpo(killed, PROMPTS[:2], failing("stops"), config)
    with pytest.raises(ValueError, match="for the prompt") as error:
        train_grpo(policy, PROMPTS[:2], failing(how), config)
    assert how == "one too few" or PROMPTS[0] in str(error.value)
    assert same(weights(policy), weights(killed)) and not same(weights(policy), weights(llama()))


# What is random and what is not.


def test_only_the_seed_of_the_config_decides(config):
    """torch's global generator neither changes the result nor is changed."""
    ends = []
    for global_seed in (1, 2):
        policy = llama()
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        train_grpo(policy, PROMPTS, letters, config, held_out=PROMPTS)
        assert torch.equal(torch.get_rng_state(), state)
        ends.append(weights(policy))
    other = llama()
    train_grpo(other, PROMPTS, letters, replace(config, seed=1))
    assert same(*ends) and not same(ends[0], weights(other))


def test_every_step_has_prompts_and_random_numbers_of_its_own():
    """No prompt twice in a step; each has had its turn before one comes again; steps do not repeat each other's."""
    config = GRPOConfig(steps=6, prompts_per_step=2)
    order = prompt_order(5, config)
    assert [len(set(batch)) for batch in order] == [2] * 6
    assert all(len({*order[i], *order[i + 1]}) == 4 for i in (0, 2, 4))
    assert order != prompt_order(5, replace(config, seed=1)) and order[:2] != order[2:4]


def test_held_out_answers_are_drawn_with_the_same_random_numbers_every_time(config):
    """A policy that does not move writes the same before and after: a difference by prompt is due to the training."""
    history = train_grpo(llama(), PROMPTS, letters, replace(config, lr=0, eval_every=3), held_out=PROMPTS[:3])
    first, middle, last = history.evaluations
    assert [row["step"] for row in history.evaluations] == [0, 3, 4]
    assert first["answers"] == middle["answers"] == last["answers"] and first["rewards"] == last["rewards"]
    assert history.held_out_rewards.shape == (3, 2)
    assert torch.equal(history.held_out_rewards, torch.tensor(last["rewards"]))
    assert last["rewards"] == [letters("", group) for group in last["answers"]]


# Stop and go on.


@pytest.mark.parametrize("updates", [1, 2])
def test_killed_and_resumed_gives_the_weights_of_an_uninterrupted_run(sft, config, updates):
    """Bit for bit, with all measurements but the seconds: what a step draws depends on seed and step only."""
    config = replace(config, checkpoint_every=2, updates=updates)
    through, killed, resumed = (Policy(*again(sft)) for _ in range(3))
    whole = train_grpo(
        through, PROMPTS, letters, replace(config, checkpoint_dir="never", checkpoint_every=0), PROMPTS[:2]
    )
    calls = []

    @functools.wraps(letters)  # a run knows its reward function by name
    def dies(prompts, answers):
        calls.append(1)
        if len(calls) == 4:  # an evaluation, then steps 1, 2 and 3
            raise KeyboardInterrupt
        return letters(prompts, answers)

    with pytest.raises(KeyboardInterrupt):
        train_grpo(killed, PROMPTS, dies, config, PROMPTS[:2])
    history = train_grpo(resumed, PROMPTS, letters, config, PROMPTS[:2], resume_from=config.checkpoint_dir)
    assert same(weights(through), weights(resumed)) and not same(weights(through), weights(killed))
    assert without_seconds(history) == without_seconds(whole) and history.evaluations == whole.evaluations


def again(sft):
    return tiny_sft("llama" if "Llama" in type(sft[0]).__name__ else "gpt2")


def test_ctrl_c_finishes_the_step_saves_and_the_same_policy_goes_on(config):
    """SIGINT while step 2 is being rewarded; the reference of the rest is where the run began, not step 2."""
    through, stopped = llama(), llama()
    calls = []

    def letters_with_a_signal(prompts, answers):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return letters(prompts, answers)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 2 of 4") as stop:
        train_grpo(stopped, PROMPTS, letters_with_a_signal, config)
    assert repr(config.checkpoint_dir) in str(stop.value)
    assert {path.suffix for path in Path(config.checkpoint_dir).iterdir()} == {".safetensors", ".json"}
    history = train_grpo(stopped, PROMPTS, letters_with_a_signal, config, resume_from=config.checkpoint_dir)
    whole = train_grpo(through, PROMPTS, letters_with_a_signal, replace(config, checkpoint_dir="never"))
    assert same(weights(through), weights(stopped)) and without_seconds(history) == without_seconds(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": {"group": 3}}, "group was 4, is 3"),
        ({"config": {"temperature": 0.5}}, "temperature was 1.0, is 0.5"),
        ({"config": {"updates": 2}}, "updates was 1, is 2"),
        ({"prompts": PROMPTS[::-1]}, "the prompts differ"),
        ({"reward": of_the_prompt}, "the reward differ"),
    ],
)
def test_resuming_another_run_is_refused_with_what_differs(config, change, said):
    """The result would be that of no run at all."""
    config = replace(config, checkpoint_every=2)
    train_grpo(llama(), PROMPTS, letters, config)
    with pytest.raises(ValueError, match=said):
        train_grpo(
            llama(), change.get("prompts", PROMPTS), change.get("reward", letters),
            replace(config, **change.get("config", {})), resume_from=config.checkpoint_dir,
        )  # fmt: skip


def test_another_runs_checkpoint_is_not_written_over(config):
    """As in every training here: the folder belongs to one run."""
    config = replace(config, checkpoint_every=2)
    train_grpo(llama(), PROMPTS, letters, config)
    with pytest.raises(FileExistsError, match=r"another run \(step 4; other: seed\)"):
        train_grpo(llama(), PROMPTS, letters, replace(config, seed=1))


# When numbers break.


def test_a_loss_that_is_not_finite_stops_the_run_before_the_optimizer_moves(config):
    """The prompt is named; the weights, and the checkpoint, are those of the last good step."""
    policy, config = llama(), replace(config, prompts_per_step=1, checkpoint_every=1)
    learns = []

    def poison(module, args, output):
        if torch.is_grad_enabled():
            learns.append(1)
            return output * math.nan if len(learns) == 3 else output
        return None

    policy.lm.get_output_embeddings().register_forward_hook(poison)
    with pytest.raises(FloatingPointError, match="the loss of step 3 is not finite, with the prompts") as error:
        train_grpo(policy, PROMPTS, letters, config)
    assert repr(PROMPTS[prompt_order(5, config)[2][0]]) in str(error.value)
    saved = load_file(f"{config.checkpoint_dir}/weights.safetensors")
    assert saved and all(torch.equal(saved[name], p) for name, p in policy.named_parameters() if p.requires_grad)
    assert len(History.load(f"{config.checkpoint_dir}/history.json").steps) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("group", 1), ("max_new_tokens", 0), ("temperature", 0), ("temperature", -1.0), ("lr", math.nan),
     ("updates", 0), ("beta", -0.1), ("clip_ratio", -0.2), ("warmup", 1.5), ("train_top", 0), ("train_top", "2"),
     ("kl_in", "both"), ("precision", "fp16"), ("steps", 1.5), ("eval_group", 0), ("micro_batch_tokens", 0)],
)  # fmt: skip
def test_a_bad_setting_is_refused_with_name_and_value(name, value):
    """At once, not after the model has been loaded."""
    with pytest.raises(ValueError, match=f"^{name}={value!r}: "):
        GRPOConfig(**{name: value})


@pytest.mark.parametrize(
    ("prompts", "said"),
    [("Why is the sky blue?", "is a str: prompts are a list"), ([], "0 prompts"), (PROMPTS[:1], "1 prompts"),
     ([PreferencePair("Why?", "So.", "No.")] * 3, r"is a PreferencePair: .*\[pair.prompt for pair in pairs\]")],
)  # fmt: skip
def test_prompts_that_make_no_step_are_refused(config, prompts, said):
    """One text is no list of prompts: each of its letters would be one."""
    with pytest.raises(ValueError, match=said):
        train_grpo(llama(), prompts, letters, config)


# What is recorded.


def test_the_first_row_measures_the_policy_before_the_step(config):
    """Rewards, spread, length, share of finished answers and entropy, each from the sampled texts themselves."""
    config, seen = replace(config, prompts_per_step=3), []

    def watched(prompts, answers):
        seen.append((prompts, answers))
        return letters(prompts, answers)

    history = train_grpo(llama(), PROMPTS, watched, config)
    row, (_, answers) = history.steps[0], seen[0]
    rewards = torch.tensor(letters("", answers)).view(3, 4)
    assert row["reward_mean"] == pytest.approx(rewards.mean().item())
    assert row["reward_std"] == pytest.approx(rewards.std().item())
    assert row["spread"] == pytest.approx(rewards.std(dim=1).mean().item())
    assert row["kl"] == pytest.approx(0, abs=1e-4) and 0 < row["length"] <= 6 and 0 <= row["finished"] <= 1
    assert 3 < row["entropy"] < math.log(320) + 1  # nats a token: it draws from about 300 tokens
    assert row["epoch"] == pytest.approx(3 / 5) and history.steps[-1]["epoch"] == pytest.approx(12 / 5)


def test_history_is_the_same_after_json_and_makes_a_table(config, tmp_path):
    """One row a step; the held-out reward and KL where they were measured."""
    history = train_grpo(llama(), PROMPTS, letters, config, held_out=PROMPTS)
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history
    frame = history.to_frame()
    assert [*frame] == [
        "epoch", "reward_mean", "reward_std", "spread", "dead", "kl", "entropy", "length", "finished", "loss",
        "ratio_off", "clipped", "lr", "grad_norm", "tokens", "seconds", "held_out_reward_mean", "held_out_kl",
    ]  # fmt: skip
    assert frame["held_out_kl"].notna().tolist() == [True, False, False, False, True]


def test_tokens_count_the_prompt_once_for_its_group(config):
    """The nodes of each group's tree: all different beginnings of its answers."""
    policy, distinct = llama(), 0
    rollout = rollout_of(policy, config)
    for group in rollout.samples.encoded:
        distinct += len({tuple(answer.ids[:end]) for answer in group for end in range(1, len(answer.ids) + 1)})
    assert rollouts.tokens_read(accelerator_of_run(), rollout) == distinct


def test_chat_messages_are_prompts_too(config):
    """A list of messages: the template opens the answer, and the reward function gets what was given."""
    talks = [[{"role": "user", "content": text}] for text in PROMPTS]
    seen = []
    train_grpo(llama(), talks, lambda p, a: (seen.extend(p), letters(p, a))[1], replace(config, steps=1))
    assert all(prompt in talks for prompt in seen)
    ours, theirs = (sample(*tiny_sft("llama"), [x], group=2, max_new_tokens=4).ids for x in (talks[0], PROMPTS[0]))
    assert torch.equal(ours, theirs)


def test_bf16_products_train_too_and_leave_the_weights_in_float32(config):
    """autocast: sampler and training both compute in bf16; the ratio is 1 but for its rounding."""
    policy = llama()
    rows = train_grpo(policy, PROMPTS, letters, replace(config, precision="bf16")).steps
    assert all(p.dtype == torch.float32 for p in policy.parameters())
    assert all(row["ratio_off"] < 0.05 and math.isfinite(row["loss"]) for row in rows)
