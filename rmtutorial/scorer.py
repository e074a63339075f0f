"""What a reward model and a policy have in common: packed answers go through a backbone, each gets one number.

Letters: B examples, K answers of one prompt, N tokens of a packed batch, H hidden size.
"""

import torch
from torch import nn

from rmtutorial.attention import TREE
from rmtutorial.encoding import encode_pairs, micro_batches, tree_batch
from rmtutorial.features import start_above


class PairScorer(nn.Module):
    """Base of RewardModel and Policy, whose `forward` gives rewards (B, K) of a TreeBatch."""

    max_tokens = 2048  # of one forward pass without gradient

    def __init__(self, backbone, tokenizer, pooling="last", max_length=1024):
        super().__init__()
        if pooling not in ("last", "mean"):
            raise ValueError(f"pooling={pooling!r}: choose 'last' or 'mean'")
        if max_length < 1:
            raise ValueError(f"max_length={max_length}: must be at least 1 token")
        backbone.set_attn_implementation(TREE)
        self.backbone = backbone  # (B, T) ids -> (B, T, H) hidden states
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = min(max_length, backbone.config.max_position_embeddings)

    @property
    def device(self):
        return next(self.backbone.parameters()).device

    def new_parameters(self):
        """Those that start from nothing and learn with a rate of their own: a new head's."""
        return []

    def settings(self):
        """What a checkpoint must agree with, beside weights and pairs."""
        return {"template": self.tokenizer.chat_template, "pooling": self.pooling, "max_length": self.max_length}

    def batch(self, examples):
        """A TreeBatch of encoded examples, pooled as this model does, on its device."""
        return tree_batch(examples, self.tokenizer.pad_token_id, self.pooling).to(self.device)

    def encode_pairs(self, pairs):
        """The two Encoded answers [chosen, rejected] of every PreferencePair, as this model reads them."""
        return encode_pairs(self.tokenizer, pairs, self.max_length)

    def hidden(self, batch):
        """The backbone's states (N, H) of all tokens of a TreeBatch."""
        with start_above(self.backbone, batch.below):
            return self.backbone(
                input_ids=batch.ids,
                position_ids=batch.positions,
                attention_mask=batch.masks[0],  # of no use to tree_attention, but transformers would make one
                trees=batch.masks,
                use_cache=False,
            ).last_hidden_state[0]

    def score_encoded(self, examples, max_tokens=None, cache=None):
        """Rewards (N, K), float32 on the CPU, of N encoded examples of K answers each, in their order."""
        return self._in_micro_batches(self, examples, max_tokens, cache)

    def score_pairs(self, pairs):
        """(r_chosen, r_rejected), each (B,), of B PreferencePairs; the shared prompt is read once."""
        rewards = self.score_encoded(self.encode_pairs(pairs))
        return rewards[:, 0], rewards[:, 1]

    @torch.no_grad()
    def _in_micro_batches(self, function, examples, max_tokens=None, cache=None):
        if not examples:
            raise ValueError("nothing to score: the list is empty")
        results = [None] * len(examples)
        for group in micro_batches(examples, max_tokens or self.max_tokens):
            group_examples = [examples[i] for i in group]
            batch = cache.batch(self, group_examples) if cache is not None else self.batch(group_examples)
            for i, result in zip(group, function(batch).float().cpu()):
                results[i] = result
        return torch.stack(results)
