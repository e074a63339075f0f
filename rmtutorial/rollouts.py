"""What a policy writes, what it is rewarded with, and what is measured of it: one rollout, in one process or in several.

Letters: P prompts of all processes, p of this one, G answers to each, L tokens at most.
"""

import zlib
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object

from rmtutorial.features import frozen_layers
from rmtutorial.grouping import micro_batches, tree_length
from rmtutorial.processes import summed
from rmtutorial.recipe import autocast
from rmtutorial.reward_functions import rewards_of
from rmtutorial.sampling import Samples, sample


@dataclass
class Rollout:
    """The answers that one process has sampled, all tensors on the CPU."""

    samples: Samples  # p prompts, (p, G, L)
    answers: list  # p lists of G texts
    rewards: torch.Tensor  # (p, G), in the reward's own unit
    ref_logprobs: torch.Tensor  # (p, G, L) nats, under the reference; 0 behind the end

    @property
    def kl(self):
        """(p, G) nats: log pi - log ref of each answer (k1), summed over its tokens; its mean estimates KL(pi || ref)."""
        return (self.samples.logprobs - self.ref_logprobs).sum(-1)


def roll_out(policy, prompts, reward, config, accelerator, group, when):
    """Let the policy answer this process's share of the prompts, `group` times each, and reward what it wrote.

    Process r of n takes the prompts r, r + n, ...

    Args: config, a GRPOConfig; when, what the random numbers depend on beside seed and process: a step, or a name.
    Raises: ValueError if there are fewer prompts than processes, or as `rewards_of`.
    """
    r, n = accelerator.process_index, accelerator.num_processes
    if len(prompts) < n:
        raise ValueError(f"{len(prompts)} prompts for {n} processes: each needs one; start fewer processes")
    seed = zlib.crc32(repr((config.seed, when, r)).encode())
    with autocast(policy.device, config.precision):
        samples = sample(
            policy.lm, policy.tokenizer, prompts[r::n], group, config.max_new_tokens, config.temperature, seed,
            states_below=frozen_layers(policy.backbone),
        )  # fmt: skip
    answers = samples.texts(policy.tokenizer)
    rewards = rewards_of(reward, samples.prompts, answers)
    return Rollout(samples, answers, rewards, _reference(policy, samples, config))


def parts_of(policy, samples, max_tokens):
    """Yield (indices of prompts, their TreeBatch) of at most so many tokens, with the states below what learns."""
    encoded = samples.encoded
    for part in micro_batches(encoded, max_tokens):
        batch = policy.batch([encoded[i] for i in part])
        if samples.states is not None:
            batch.below = torch.cat([samples.states[i] for i in part])[None].to(policy.device)  # (1, N, H)
        yield part, batch


def _reference(policy, samples, config):
    found = torch.zeros_like(samples.logprobs)
    for part, batch in parts_of(policy, samples, policy.max_tokens):
        with autocast(policy.device, config.precision):
            logprobs = policy.reference_token_logprobs(batch, config.temperature)  # (b, G, L')
        found[part, :, : logprobs.shape[-1]] = logprobs.cpu()
    return found


def everywhere(accelerator, values, P):
    """(p, ...) of this process -> (P, ...) of all, in the order of the prompts."""
    whole = values.new_zeros(P, *values.shape[1:])
    whole[accelerator.process_index :: accelerator.num_processes] = values
    return summed(accelerator, whole)


def tokens_read(accelerator, rollout):
    """How many distinct tokens were read and written, in all processes."""
    return int(summed(accelerator, torch.tensor(float(sum(map(tree_length, rollout.samples.encoded))))))


def measures(accelerator, rollout, P):
    """What a row says of the answers to P prompts, and their rewards (P, G). All means are over answers but `entropy`.

    reward_mean, reward_std: over all answers. spread: std of the rewards to one prompt, mean over prompts. dead: share
    of prompts whose rewards are all the same. kl: nats an answer, to the reference. entropy: nats a token, estimated by
    -log pi of what was drawn. length: tokens, the end mark included. finished: share that ended by themselves.
    """
    samples = rollout.samples
    columns = [rollout.rewards, rollout.kl, samples.logprobs.sum(-1), samples.lengths.float(), samples.finished.float()]
    rewards, kl, logprobs, lengths, finished = everywhere(accelerator, torch.stack(columns, dim=-1), P).unbind(-1)
    return rewards, {
        "reward_mean": rewards.mean().item(),
        "reward_std": rewards.std().item(),
        "spread": rewards.std(dim=1).mean().item() if rewards.shape[1] > 1 else 0.0,
        "dead": (rewards == rewards[:, :1]).all(dim=1).float().mean().item(),
        "kl": kl.mean().item(),
        "entropy": -(logprobs.sum() / lengths.sum()).item(),
        "length": lengths.mean().item(),
        "finished": finished.mean().item(),
    }


def answers_everywhere(accelerator, answers, P):
    """p lists of texts of this process -> P lists of all, in the order of the prompts."""
    r, n = accelerator.process_index, accelerator.num_processes
    found = dict(gather_object(list(zip(range(r, P, n), answers))))
    return [found[i] for i in range(P)]
