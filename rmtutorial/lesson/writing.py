"""What a model would write, whatever it was trained for: the cross-entropy of given answers through an LM head."""

import math

import torch
import torch.nn.functional as F

from rmtutorial.encoding import answer_tokens
from rmtutorial.grouping import micro_batches


@torch.no_grad()
def nats_per_token(scorer, lm_head, encoded, max_tokens=256):
    """Mean -log p of the answer tokens, (n,) nats, of n encoded examples: all answers of an example together.

    Args:
        scorer: a RewardModel or a Policy: its backbone gives the states, its reward head is not asked.
        lm_head: (M, H) -> (M, V), the language model's, which reward model training leaves alone.
        encoded: n examples, each a list of Encoded answers to one prompt.
    """
    found = torch.zeros(len(encoded))
    for part in micro_batches(encoded, max_tokens):
        examples = [encoded[i] for i in part]
        batch = scorer.batch(examples)
        source, target, owner = answer_tokens(examples).to(scorer.device)
        logits = lm_head(scorer.hidden(batch)[source]).float()  # (M, V)
        each = F.cross_entropy(logits, batch.ids[0, target], reduction="none").cpu()  # (M,)
        row = owner.cpu() // len(examples[0])
        sums = torch.zeros(len(part)).index_add(0, row, each)
        found[part] = sums / torch.bincount(row, minlength=len(part))
    return found


def guessing(vocabulary):
    """Nats a token for who takes all tokens of the vocabulary for equally likely."""
    return math.log(vocabulary)
