"""Each trick on and off, in turn in one process: what it is worth. Prints seconds without / with, medians of 3.

    python tests/bench/tricks.py          about 6 minutes on 2 cores

The work is forward and backward of 16 pairs (as in speed.py) in batches of 8; "default" is 16 layers with the top 8
trained, "all layers" is 30. The optimizer and the cache are measured by themselves.
"""

import time
from statistics import median
from unittest import mock

import torch
from accelerate import Accelerator
from speed import BATCH, load_pairs, reward_model
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rmtutorial import attention, encoding
from rmtutorial.features import FeatureCache
from rmtutorial.lesson import session
from rmtutorial.recipe import TrainConfig, parameter_groups
from rmtutorial.training import forward_backward

REPEATS = 3
SDPA = torch.nn.functional.scaled_dot_product_attention


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(name, off, on):
    """Off and on in turn, after one run of each that does not count."""
    runs = [(seconds(off), seconds(on)) for _ in range(REPEATS + 1)][1:]
    ratio = median(a / b for a, b in runs)
    print(f"| {name} | {median(a for a, _ in runs):.2f} | {median(b for _, b in runs):.2f} | {ratio:.2f} |", flush=True)


def an_epoch(rm, examples, cache=None, **settings):
    config, accelerator = TrainConfig(**settings), Accelerator()
    for i in range(0, len(examples), BATCH):
        forward_backward(accelerator, rm, rm, examples[i : i + BATCH], config, cache)


def padded(batch, lengths):
    """The same examples as a padded rectangle: the tokens that padding adds go through every product."""
    widest, parts = max(lengths), batch.ids[0].split(lengths)
    ids = torch.cat([torch.nn.functional.pad(part, (0, widest - len(part)), value=2) for part in parts])
    positions = torch.cat([torch.nn.functional.pad(p, (0, widest - len(p))) for p in batch.positions[0].split(lengths)])
    masks = [torch.nn.functional.pad(m, (0, widest - n, 0, widest - n)) for m, n in zip(batch.masks, lengths)]
    for mask, n in zip(masks, lengths):
        mask[..., range(n, widest), range(n, widest)] = True
    pool = torch.zeros(*batch.pool.shape[:2], len(ids))
    for row, (part, n) in enumerate(zip(batch.pool.split(lengths, dim=2), lengths)):
        pool[row, :, row * widest : row * widest + n] = part[row]
    return encoding.TreeBatch(ids[None], positions[None], masks, pool)


def rectangles(examples, max_tokens):
    """Micro-batches for padding: pairs of similar length together, at most `max_tokens` with the padding."""
    lengths, groups = [encoding.tree_length(answers) for answers in examples], []
    for i in sorted(range(len(examples)), key=lengths.__getitem__):
        if groups and (len(groups[-1]) + 1) * lengths[i] <= max_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def repeated_keys(query, key, value, attn_mask, scale, enable_gqa):
    """Key heads copied for their query heads, as transformers does it, instead of read in place."""
    copied = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    return SDPA(query, *copied, attn_mask=attn_mask, scale=scale)


def one_attention(module, query, key, value, attention_mask, trees=None, **kwargs):
    """The whole batch in one attention with a block mask, instead of one for each example."""
    return sdpa_attention_forward(module, query, key, value, torch.block_diag(*[m[0, 0] for m in trees])[None, None] > 0, **kwargs)  # fmt: skip


if __name__ == "__main__":
    session.start()
    pairs, source = load_pairs(16)
    print(f"16 pairs of {source}\n\n| trick | off (s) | on (s) | off / on |\n|---|---|---|---|")
    rm = reward_model(16, 8)
    examples = rm.encode_pairs(pairs)
    epoch = lambda **settings: an_epoch(rm, examples, **settings)  # noqa: E731
    patched = lambda where, what, **settings: mock.patch(where, what)(lambda: epoch(**settings))  # noqa: E731

    compare("the prompt read once for both answers", patched("rmtutorial.encoding.common_prefix", lambda _: 0), epoch)
    own_batch = type(rm).batch
    as_rectangle = lambda self, e: padded(own_batch(self, e), [encoding.tree_length(a) for a in e])  # noqa: E731
    in_rectangles = mock.patch("rmtutorial.reward_model.RewardModel.batch", as_rectangle)(epoch)
    compare("packed instead of padded", mock.patch("rmtutorial.processes.micro_batches", rectangles)(in_rectangles), epoch)  # fmt: skip
    whole = mock.patch.dict("transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS._global_mapping", {attention.TREE: one_attention})  # fmt: skip
    compare("attention for each example by itself", whole(epoch), epoch)
    compare("key heads read in place (GQA)", patched("rmtutorial.attention.F.scaled_dot_product_attention", repeated_keys), epoch)  # fmt: skip
    compare("micro-batches of 512 tokens, not 128", lambda: epoch(micro_batch_tokens=128), epoch)
    compare("micro-batches of 512 tokens, not 2,048", lambda: epoch(micro_batch_tokens=2048), epoch)
    cache = FeatureCache().belongs_to(rm)
    compare("frozen layers from the cache (later epochs)", epoch, lambda: an_epoch(rm, examples, cache))
    groups = parameter_groups(rm, TrainConfig())
    compare("fused AdamW", torch.optim.AdamW(groups, fused=False).step, torch.optim.AdamW(groups, fused=True).step)
