"""Which models `sampling` can write with, and the way by transformers' own `generate` for the others."""

from contextlib import ExitStack, contextmanager
from functools import partial
from unittest import mock

import torch
from torch import nn

from rmtutorial.attention import TREE
from rmtutorial.group_cache import GroupCache, read_prompts, read_tokens
from rmtutorial.refusals import rope_limit


@contextmanager
def ready_to_write(lm):
    """Within this block `lm` has the attention of packed rows, no dropout, and on a CPU faster products."""
    attention, training = lm.base_model.config._attn_implementation, lm.training
    lm.eval()
    try:
        lm.base_model.set_attn_implementation(TREE)
        with ExitStack() as patches:
            for module in lm.modules() if lm.device.type == "cpu" else ():
                if type(module) is nn.Linear:
                    patches.enter_context(mock.patch.object(module, "forward", partial(weight_first, module)))
            yield
    finally:
        lm.base_model.set_attn_implementation(attention)
        lm.train(training)


def weight_first(linear, x):
    """x W' + b as (W x')' + b: with a few dozen rows of x CPU libraries compute this form up to 1.5 times as fast."""
    product = (linear.weight @ x.flatten(0, -2).T).T.view(*x.shape[:-1], -1)
    return product if linear.bias is None else product + linear.bias


def why_not(lm, longest):
    """Why answers of up to `longest` tokens cannot be written together; None if they can.

    Two prompts and a token more are read both ways: the logits must be the model's own.
    """
    window, limit = getattr(lm.config, "sliding_window", None), rope_limit(lm.config)
    if (window or longest) < longest:
        return f"its attention looks {window} tokens back only"
    if (limit or longest) < longest:
        return f"beyond {limit} tokens its positions change with the length"
    prompts, then = [[1, 2, 3], [3, 1, 2, 1, 2]], [2, 1]
    try:
        cache = GroupCache([3, 5], 1, 1, lm.device)
        read_prompts(lm, prompts, cache)
        states, _ = read_tokens(lm, torch.tensor(then, device=lm.device), cache)
        logits = lm.get_output_embeddings()(states).float()  # (2, V)
        own = [lm(torch.tensor([[*ids, one]], device=lm.device)).logits[0, -1] for ids, one in zip(prompts, then)]
    except (AttributeError, TypeError, IndexError, KeyError, RuntimeError, ValueError) as error:
        return f"its layers cannot write several answers at once ({str(error).partition(chr(10))[0][:80]})"
    own = torch.stack(own).float()
    if not (logits - own).norm() <= 0.02 * own.norm():  # rounding, in bf16 too, is below
        return "its logits come out differently when several answers are written at once"
    return None


def write_by_generate(lm, prompts, luck, ends, temperature, states_below=None):
    """As `sampling.write_together`, by `generate` and one more pass for the log-probabilities; keeps no states."""
    p, g, L = luck.shape
    tokens, logprobs, lengths = torch.zeros(p, g, L).long(), torch.zeros(p, g, L), torch.zeros(p, g).long()
    choice = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature
        else {"do_sample": False}
    )
    for i, ids in enumerate(prompts):  # one at a time: no padding, which some of these models do not stand
        start = torch.tensor([ids], device=lm.device)
        with torch.random.fork_rng():
            torch.manual_seed(int(luck[i, 0, 0] * 2**24))
            rows = lm.generate(
                start, attention_mask=torch.ones_like(start), max_new_tokens=L, num_return_sequences=g if temperature else 1,
                eos_token_id=ends.tolist() or None, pad_token_id=int(ends[0]) if len(ends) else 0, **choice,
            )  # fmt: skip
        for k, row in enumerate(rows.expand(g, -1)):
            new = row[len(ids) :]
            ended = torch.isin(new, ends.to(new.device)).nonzero()
            new = new[: ended[0] + 1] if len(ended) else new
            logits = lm(row[None, : len(ids) + len(new)]).logits[0, len(ids) - 1 : -1].float() / (temperature or 1.0)
            found = logits.log_softmax(-1).gather(1, new[:, None])[:, 0]
            lengths[i, k] = len(new)
            tokens[i, k, : len(new)], logprobs[i, k, : len(new)] = new.cpu(), found.cpu()
    return tokens, logprobs, lengths, []
