"""Bradley-Terry training of a reward model: one visible loop, in one process or in several."""

import contextlib
import math

import torch

from rmtutorial.backbones import decoder_layers
from rmtutorial.checkpoints import fingerprint
from rmtutorial.encoding import drop_identical
from rmtutorial.evaluation import measures, summary
from rmtutorial.features import FeatureCache, cache_of_run
from rmtutorial.intervals import units
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.probe import fit_head, head_is_zero, set_head
from rmtutorial.processes import accelerator_of_run, parts_of_process, prepare, summed, whole
from rmtutorial.recipe import TrainConfig, autocast, batch_order, freeze
from rmtutorial.training_run import TrainingRun, stop_unless_finite


def train_reward_model(rm, pairs, config=None, held_out=None, resume_from=None, cache=None):
    """Train `rm` in place so that chosen answers score above rejected ones.

    Two phases (Kumar et al. 2022): a head of zeros is fitted to its optimum on the features as they are, one forward
    pass over the pairs; then the top layers learn together with it. The history is that of the second phase.

    Args:
        rm: RewardModel.
        pairs: PreferencePairs to learn from; those whose answers are the same after cutting are dropped, aloud.
        config: TrainConfig.
        held_out: PreferencePairs to evaluate on before, during and after training.
        resume_from: a checkpoint folder; the run goes on as if it had never stopped.
        cache: FeatureCache of the frozen layers, to share between runs; by default the run has one of its own.
    Returns: History.
    Raises: ValueError for bad settings or no pairs; OSError if `config.checkpoint_dir` cannot be written or has
        the checkpoint of another run;
        FloatingPointError, naming the pairs, when a loss or gradient is not finite (the weights are then those of the
        last good step); KeyboardInterrupt after Ctrl-C, when the run has been saved to `config.checkpoint_dir`.
    """
    config = config or TrainConfig()
    run = TrainingRun(rm, config, resume_from)
    pairs, encoded = drop_identical(pairs, rm.encode_pairs(pairs))
    if not pairs:
        raise ValueError("no pairs to train on, or none whose answers differ after cutting (max_length)")
    batches = batch_order(len(pairs), config, units(pairs))  # indices of the pairs of every step; a set stays together
    leads = config.margin * torch.tensor([float(pair.strength) for pair in pairs])  # (n,) logits
    accelerator = accelerator_of_run()
    run.begin(fingerprint(rm, config, "the pairs", ((p.prompt, p.chosen, p.rejected) for p in pairs)), accelerator)
    head_first = config.head_ridge and config.train_top != 0 and not resume_from and head_is_zero(rm)
    cache = cache_of_run(rm, config, cache, again=bool(head_first))
    if head_first:  # what fixed features give, before the layers below learn
        with autocast(rm.device, config.precision):
            set_head(rm, fit_head(rm.pooled_encoded(encoded, cache=cache), config.head_ridge)[0])
    if config.compile:
        for layer in decoder_layers(rm.backbone):
            layer.mlp.compile(dynamic=True)
    model, optimizer = prepare(accelerator, rm, config)
    history, schedule = run.load(optimizer, len(batches))
    held_out = rm.encode_pairs(held_out) if held_out else []

    def evaluate_at(step):
        with autocast(rm.device, config.precision):
            rewards = rm.score_encoded(held_out, cache=cache)  # (N, 2)
        epoch = step / len(batches) * config.epochs
        history.evaluations.append({"step": step, "epoch": epoch, **summary(rewards)})
        history.held_out_rewards = rewards

    every = config.eval_every or math.ceil(len(batches) / config.epochs)
    with run.steps_to_go(evaluate_at if held_out else None, every) as steps:
        for step in steps:
            batch = batches[step - 1]
            lr = schedule.get_last_lr()[0]
            examples, lead = [encoded[i] for i in batch], leads[batch]
            rewards, tokens = forward_backward(accelerator, model, rm, examples, config, cache, lead)
            grad_norm = whole(accelerator.clip_grad_norm_(model.parameters(), config.clip or math.inf))
            _stop_unless_finite(rewards, grad_norm, [pairs[i] for i in batch], step)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

            epoch = step / len(batches) * config.epochs
            found = measures(rewards, config.centering, lead)
            row = {"step": step, "epoch": epoch, **found, "lr": lr, "grad_norm": float(grad_norm)}
            run.end_step(row, tokens, "loss", "accuracy")
    return history


def train_dpo(policy, pairs, config=None, held_out=None, resume_from=None, cache=None):
    """Train a Policy in place by Direct Preference Optimization (Rafailov et al. 2023, eq. 7).

    The loop is that of `train_reward_model`, and so is the loss: what differs is that the rewards are the policy's
    implicit ones, so the gradient goes to the language model itself. The reference is the policy as it comes in.

    Args: policy, a Policy; the others as for `train_reward_model`. Rewards and margins in the history are implicit
        ones: divided by policy.beta they are log-ratios in nats.
    Returns: History.
    Raises: as `train_reward_model`; ValueError for train_top=0 (there is no new head that could learn alone) and for fsdp.
    """
    config = config or TrainConfig()
    if config.train_top == 0 or config.fsdp:
        raise ValueError(f"train_top={config.train_top}, fsdp={config.fsdp}: DPO trains 1 layer or more, without FSDP")
    freeze(policy, config.train_top)
    if not resume_from or policy.reference_weights is None:  # else stopped in this session: it goes on with its own
        policy.fix_reference()
    if cache is None and config.cache:
        cache = FeatureCache()  # worth it in one epoch too: the reference reads every pair as well
    return train_reward_model(policy, pairs, config, held_out, resume_from, cache)


def forward_backward(accelerator, model, rm, examples, config, cache=None, lead=None):
    """Add the gradient of the batch's mean loss, a few pairs at a time.

    Each part counts by its share of the pairs, so the sum is the gradient of the mean over the whole batch, and only
    the parts' activations need memory. With several processes each reads some of the pairs, and the gradients, which
    DDP and FSDP average over the processes, are first multiplied by their number.

    Args: lead, (n,) logits by which each chosen answer is asked to win (the margin term), or None.
    Returns: rewards (n, 2) of all pairs without gradient, and how many distinct tokens were read.
    """
    processes = accelerator.num_processes
    parts = parts_of_process(examples, config.micro_batch_tokens, accelerator.process_index, processes)
    all_rewards, tokens = torch.zeros(len(examples), 2), torch.zeros(1)
    for number, (part, weight) in enumerate(parts, 1):
        last = number == len(parts) or config.fsdp
        with contextlib.nullcontext() if last else accelerator.no_sync(model):  # DDP: exchange gradients once a step
            with autocast(rm.device, config.precision):
                part_examples = [examples[i] for i in part]
                batch = cache.batch(rm, part_examples) if cache is not None else rm.batch(part_examples)
                rewards = model(batch).float()  # (part, 2)
            r_chosen, r_rejected = rewards.unbind(1)
            margin = None if lead is None else lead[part].to(rewards.device)
            loss = bradley_terry_loss(r_chosen, r_rejected, margin, config.centering)
            (loss * weight * processes).backward()  # not accelerator.backward, which its settings would divide
        if weight:
            all_rewards[part] = rewards.detach().cpu()
            tokens += batch.tokens
    return summed(accelerator, all_rewards), int(summed(accelerator, tokens))


def _stop_unless_finite(rewards, grad_norm, pairs, step):
    names = [pair.id or repr(pair.prompt)[:40] for pair in pairs]
    stop_unless_finite(rewards, grad_norm, ("the pairs", names), step, "Lower lr or head_lr.")
