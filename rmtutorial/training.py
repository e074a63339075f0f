"""Bradley-Terry training of a reward model: one visible loop."""

import math
import os
import time

import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from rmtutorial.checkpoints import fingerprint, load_checkpoint, save_checkpoint, stop_on_ctrl_c
from rmtutorial.encoding import drop_identical, encode_pairs, micro_batches
from rmtutorial.evaluation import evaluate, pairwise_accuracy
from rmtutorial.history import History
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.recipe import TrainConfig, batch_order, freeze, lr_factor, parameter_groups


def train_reward_model(rm, pairs, config=None, held_out=None, resume_from=None):
    """Train `rm` in place so that chosen answers score above rejected ones.

    Args:
        rm: RewardModel.
        pairs: PreferencePairs to learn from; those whose answers are the same after cutting are dropped, aloud.
        config: TrainConfig.
        held_out: PreferencePairs to evaluate on before, during and after training.
        resume_from: a checkpoint folder; the run goes on as if it had never stopped.
    Returns: History.
    Raises: ValueError for bad settings or no pairs; FloatingPointError, naming the pairs, when a loss or gradient
        is not finite (the weights are then those of the last good step); KeyboardInterrupt after Ctrl-C, when the
        run has been saved to `config.checkpoint_dir`.
    """
    config = config or TrainConfig()
    freeze(rm, config.train_top)
    rm.zero_grad()  # of an earlier backward, which would enter the first step
    pairs, encoded = drop_identical(pairs, encode_pairs(rm.tokenizer, pairs, rm.max_length))
    if not pairs:
        raise ValueError("no pairs to train on, or none whose answers differ after cutting (max_length)")
    batches = batch_order(len(pairs), config)  # indices of the pairs of every step
    accelerator = Accelerator()
    optimizer = torch.optim.AdamW(parameter_groups(rm, config), fused=True)
    run = fingerprint(rm, pairs, config)
    history = load_checkpoint(resume_from, rm, optimizer, run) if resume_from else History()
    schedule = _schedule(optimizer, config, len(batches), done=len(history.steps))
    model, optimizer = accelerator.prepare(rm, optimizer)
    if held_out and not history.evaluations:
        history.evaluations.append(_held_out(rm, held_out, step=0, epoch=0.0))

    clock = _Clock(history)
    quiet = "TQDM_DISABLE" in os.environ  # tqdm's own switch, which its notebook bar overlooks
    bar = tqdm(total=len(batches), initial=len(history.steps), desc="training", disable=quiet)
    with stop_on_ctrl_c() as stopped, bar:
        for step in range(len(history.steps) + 1, len(batches) + 1):
            batch = batches[step - 1]
            lr = schedule.get_last_lr()[0]
            rewards = forward_backward(accelerator, model, rm, [encoded[i] for i in batch], config, clock)  # (n, 2)
            grad_norm = accelerator.clip_grad_norm_(model.parameters(), config.clip or math.inf)
            _stop_unless_finite(rewards, grad_norm, [pairs[i] for i in batch], step)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

            epoch = step / len(batches) * config.epochs
            row = {"step": step, "epoch": epoch, **_measures(rewards, config), "lr": lr, "grad_norm": float(grad_norm)}
            history.steps.append({**row, "tokens": clock.tokens, "seconds": clock.seconds()})
            bar.set_postfix(loss=f"{row['loss']:.3f}", accuracy=f"{row['accuracy']:.2f}")
            bar.update()
            if held_out and _due(step, config.eval_every or math.ceil(len(batches) / config.epochs), len(batches)):
                history.evaluations.append(_held_out(rm, held_out, step, epoch))
            if stopped() or (config.checkpoint_every and step % config.checkpoint_every == 0):
                save_checkpoint(config.checkpoint_dir, rm, optimizer.optimizer, run, history)
            if stopped():
                where = f"go on with resume_from={config.checkpoint_dir!r}"
                raise KeyboardInterrupt(f"stopped after step {step} of {len(batches)}; {where}")
    return history


def forward_backward(accelerator, model, rm, examples, config, clock):
    """Add the gradient of the batch's mean loss, a few pairs at a time; the rewards (n, 2), without gradient.

    Pairs of similar length go together; each part counts by its share of the pairs, so the sum is the gradient
    of the mean over the whole batch, and only the parts' activations need memory.
    """
    all_rewards = torch.zeros(len(examples), 2)
    for part in micro_batches(examples, config.micro_batch_tokens):
        batch = rm.batch([examples[i] for i in part])
        rewards = model(batch)  # (part, 2)
        r_chosen, r_rejected = rewards.unbind(1)
        loss = bradley_terry_loss(r_chosen, r_rejected, centering=config.centering)
        accelerator.backward(loss * len(part) / len(examples))
        all_rewards[part] = rewards.detach().float().cpu()
        clock.tokens += batch.tokens
    return all_rewards


class _Clock:
    """Seconds and distinct tokens of the run, those before a stop included."""

    def __init__(self, history):
        last = history.steps[-1] if history.steps else {"seconds": 0.0, "tokens": 0}
        self.started = time.perf_counter() - last["seconds"]
        self.tokens = last["tokens"]

    def seconds(self):
        return time.perf_counter() - self.started


def _schedule(optimizer, config, steps, done):
    factor = lambda step: lr_factor(step, steps, config.warmup)  # noqa: E731
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # LambdaLR wants it when it starts in the middle
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch=done - 1)


def _due(step, every, steps):
    return step % every == 0 or step == steps


def _measures(rewards, config):
    r_chosen, r_rejected = rewards.unbind(1)
    return {
        "loss": bradley_terry_loss(r_chosen, r_rejected, centering=config.centering).item(),
        "accuracy": pairwise_accuracy(r_chosen, r_rejected),
        "margin": (r_chosen - r_rejected).mean().item(),
        "reward_mean": rewards.mean().item(),
        "reward_std": rewards.std().item(),
    }


def _held_out(rm, held_out, step, epoch):
    report = evaluate(rm, held_out, by_axis=False)
    return {"step": step, "epoch": epoch, "loss": report.loss, "accuracy": report.accuracy, "margin": report.margin}


def _stop_unless_finite(rewards, grad_norm, pairs, step):
    """Before the optimizer moves anything: name the pairs whose reward, or whose batch's gradient, is not finite."""
    finite = torch.isfinite(rewards).all(dim=1)
    if finite.all() and torch.isfinite(grad_norm):
        return
    guilty = [pair for pair, ok in zip(pairs, finite) if not ok] or pairs
    names = ", ".join(pair.id or repr(pair.prompt)[:40] for pair in guilty)
    what = "gradient" if finite.all() else "loss"
    raise FloatingPointError(f"the {what} of step {step} is not finite, with the pairs {names}. Lower lr or head_lr.")
