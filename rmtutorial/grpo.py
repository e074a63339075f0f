"""GRPO: the policy writes groups of answers, a reward compares them, and the better ones of a group become likelier.

Letters: P prompts of a step, G answers to each (a group), L tokens of an answer at most.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from rmtutorial.checkpoints import fingerprint
from rmtutorial.policy_gradient import clipped_tokens, group_advantages, grpo_loss, rewards_less_kl
from rmtutorial.processes import accelerator_of_run, sum_gradients, summed
from rmtutorial.recipe import adamw, autocast, check_common, check_numbers
from rmtutorial.reward_functions import load_reward, reward_settings, shown
from rmtutorial.rollouts import answers_everywhere, measures, parts_of, roll_out, tokens_read
from rmtutorial.training_run import TrainingRun, stop_unless_finite


@dataclass
class GRPOConfig:
    """Settings of `train_grpo`. Each has a value that works on a laptop."""

    steps: int = 16  # rollouts: sample, reward, learn
    prompts_per_step: int = 8  # another 8 each step, until all have had their turn
    group: int = 8  # answers to each prompt, which are compared with each other; 2 or more
    max_new_tokens: int = 24  # where an answer is cut
    temperature: float = 1.0  # of the sampling, and of the log-probabilities in the loss; above 0
    updates: int = 1  # optimizer steps on the answers of one rollout; from the second on the clip acts
    lr: float = 3e-4  # at its highest
    train_top: int | None = 4  # how many of the top layers learn, 1 or more; None ("all") for all
    scale: bool = True  # divide advantages by the spread of their group; False: Dr. GRPO
    beta: float = 0.0  # weight of the KL divergence from the reference, in rewards a nat; 0: no KL term
    kl_in: str = "loss"  # where the KL term stands: "loss" (k3 of each token) or "reward" (log-ratio of the answer)
    clip_ratio: float = 0.2  # how far pi / pi_old may leave 1 before a token pushes no further
    warmup: float = 0.1  # share of the steps with a rising learning rate; then it falls linearly to 0
    weight_decay: float = 0.0  # of AdamW
    clip: float = 1.0  # the gradient is scaled down to this norm; 0: it is left as it is
    seed: int = 0  # of the order of the prompts and of the sampling
    micro_batch_tokens: int = 512  # at most so many tokens a forward and backward; memory against speed
    precision: str = "auto"  # auto, fp32 or bf16, as in TrainConfig
    eval_group: int = 4  # answers to each held-out prompt, with the same random numbers every time
    eval_every: int = 0  # evaluate on held-out prompts every so many steps; 0: before the first and after the last
    checkpoint_every: int = 0  # save the run every so many steps; 0: only when it is stopped by Ctrl-C
    checkpoint_dir: str = "out/checkpoint"  # where a stopped run is kept; left so, a resumed one goes on in its folder

    def __post_init__(self):
        check_numbers(self, {
            "steps": 1, "prompts_per_step": 1, "group": 2, "max_new_tokens": 1, "temperature": 0, "updates": 1, "lr": 0,
            "beta": 0, "clip_ratio": 0, "warmup": 0, "weight_decay": 0, "clip": 0, "micro_batch_tokens": 1, "eval_group": 1,
            "eval_every": 0, "checkpoint_every": 0,
        })  # fmt: skip
        check_common(self)
        if self.temperature == 0:
            raise ValueError("temperature=0: all answers to a prompt would be the same; choose one above 0")
        if self.train_top == 0:
            raise ValueError("train_top=0: nothing would learn (there is no new head); choose 1 or more, or None")
        if self.kl_in not in ("loss", "reward"):
            raise ValueError(f"kl_in={self.kl_in!r}: choose 'loss' or 'reward'")


def train_grpo(policy, prompts, reward, config=None, held_out=None, resume_from=None):
    """Train a Policy in place by Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300).

    The reference of the KL divergence is the policy as it comes in. With several processes each samples and learns from
    its share of a step's prompts; the random numbers of a prompt then depend on which process has it.

    Args:
        policy: Policy.
        prompts: texts or lists of chat messages, at least as many as `config.prompts_per_step`.
        reward: a function (prompts, answers) -> one number for each, a RewardModel, or the folder of one.
        config: GRPOConfig.
        held_out: prompts on which the policy is judged by the same reward, before, during and after training.
        resume_from: a checkpoint folder; the run goes on as if it had never stopped.
    Returns: History. A row of `steps` has what `rollouts.measures` and `forward_backward` name; one of `evaluations`
        has the measures too, the rewards of every answer (`rewards`, P lists of G) and the answers themselves (`answers`).
    Raises: ValueError for bad settings or prompts, and as `rewards_of`; otherwise as `train_reward_model`.
    """
    config, reward = config or GRPOConfig(), load_reward(reward)
    for some in (prompts, held_out or []):
        _check_prompts(some)
    batches = prompt_order(len(prompts), config)  # indices of the prompts of every step
    run = TrainingRun(policy, config, resume_from)
    accelerator = accelerator_of_run()
    policy.to(accelerator.device)
    if not resume_from or policy.reference_weights is None:  # else stopped in this session: it goes on with its own
        policy.fix_reference()
    run.begin({**fingerprint(policy, config, "the prompts", prompts), **reward_settings(reward)}, accelerator)
    if isinstance(reward, nn.Module):
        reward.to(accelerator.device)
    optimizer = adamw(policy, config)
    history, schedule = run.load(optimizer, config.steps)

    def epoch(step):
        return step * config.prompts_per_step / len(prompts)

    def evaluate_at(step):
        rollout = roll_out(policy, held_out, reward, config, accelerator, config.eval_group, "held out")
        rewards, found = measures(accelerator, rollout, len(held_out))
        answers = answers_everywhere(accelerator, rollout.answers, len(held_out))
        row = {"step": step, "epoch": epoch(step), **found, "rewards": rewards.tolist(), "answers": answers}
        history.evaluations.append(row)
        history.held_out_rewards = rewards

    with run.steps_to_go(evaluate_at if held_out else None, config.eval_every or config.steps) as steps:
        for step in steps:
            batch = [prompts[i] for i in batches[step - 1]]
            rollout = roll_out(policy, batch, reward, config, accelerator, config.group, step)
            advantages = advantages_of(rollout, config)
            lr = schedule.get_last_lr()[0]
            for _ in range(config.updates):
                logprobs, learned = forward_backward(accelerator, policy, rollout, advantages, config)
                grad_norm = nn.utils.clip_grad_norm_(policy.parameters(), config.clip or math.inf)
                names = [shown(prompt) for prompt in rollout.samples.prompts]
                stop_unless_finite(logprobs, grad_norm, ("the prompts", names), step, "Lower lr.")
                optimizer.step()
                optimizer.zero_grad()
            schedule.step()

            _, found = measures(accelerator, rollout, len(batch))
            row = {"step": step, "epoch": epoch(step), **found, **learned, "lr": lr, "grad_norm": float(grad_norm)}
            run.end_step(row, tokens_read(accelerator, rollout), "reward_mean", "kl")
    return history


def prompt_order(n, config):
    """Indices of the prompts of every step: each pass over all n of them in a new order that only the seed decides.

    What is left at the end of a pass and does not fill a step waits for the next one: no prompt is twice in a step.
    Raises: ValueError for fewer prompts than a step needs.
    """
    size, order, generator = config.prompts_per_step, [], torch.Generator().manual_seed(config.seed)
    if n < size:
        raise ValueError(f"{n} prompts, and prompts_per_step={size}: give more prompts, or a smaller prompts_per_step")
    while len(order) < config.steps:
        shuffled = torch.randperm(n, generator=generator).tolist()
        order += [shuffled[i : i + size] for i in range(0, n - size + 1, size)]
    return order[: config.steps]


def _check_prompts(prompts):
    wrong = [prompts] if isinstance(prompts, str) else [p for p in prompts if not isinstance(p, str | list)]
    if wrong:
        raise ValueError(
            f"{str(wrong[0])[:60]!r} is a {type(wrong[0]).__name__}: prompts are a list of texts or of lists of chat "
            "messages; of preference pairs, [pair.prompt for pair in pairs]"
        )


def advantages_of(rollout, config):
    """(p, G), of the rewards, less the KL penalty where it stands in them."""
    rewards, samples = rollout.rewards, rollout.samples
    if config.beta and config.kl_in == "reward":
        rewards = rewards_less_kl(rewards, samples.logprobs, rollout.ref_logprobs, samples.mask, config.beta)
    return group_advantages(rewards, config.scale)


def forward_backward(accelerator, policy, rollout, advantages, config):
    """Add the gradient of the loss over all processes' answers, a few prompts at a time.

    Each part counts by its share of all answer tokens, so the sum is the gradient of the mean over tokens.

    Returns: log pi (p, G, L) of the answer tokens, without gradient; and a dict: loss; ratio_off, the mean of
        |pi / pi_old - 1| over tokens, 0 but for rounding as long as pi is what has sampled; clipped, the share of
        tokens that the clip keeps from pushing further.
    """
    samples, beta = rollout.samples, config.beta if config.kl_in == "loss" else 0.0
    all_tokens = summed(accelerator, samples.lengths.sum().float()).item()
    new, sums = torch.zeros_like(samples.logprobs), torch.zeros(3)
    for part, batch in parts_of(policy, samples, config.micro_batch_tokens):
        with autocast(policy.device, config.precision):
            logprobs = policy.token_logprobs(batch, config.temperature)  # (b, G, L'), as long as the longest of these
        length = logprobs.shape[-1]
        old, ref, mask = (
            x[part, :, :length].to(policy.device) for x in (samples.logprobs, rollout.ref_logprobs, samples.mask)
        )
        A = advantages[part].to(policy.device)
        loss = grpo_loss(logprobs, old, A, mask, ref, beta, config.clip_ratio) * (mask.sum() / all_tokens)
        loss.backward()
        new[part, :, :length] = logprobs = logprobs.detach().cpu()
        off = ((logprobs - old.cpu()).exp() - 1).abs().sum()  # behind the end both are 0
        clipped = clipped_tokens(logprobs, old.cpu(), A.cpu(), mask.cpu(), config.clip_ratio).sum()
        sums += torch.stack([loss.detach().cpu(), off / all_tokens, clipped / all_tokens])
    sum_gradients(accelerator, policy)
    return new, dict(zip(("loss", "ratio_off", "clipped"), summed(accelerator, sums).tolist()))
