"""What a reward model and a policy have in common: packed answers go through a backbone, each gets one number.

Letters: B examples, K answers of one prompt, N tokens of a packed batch, H hidden size.
"""

import torch
from torch import nn

from rmtutorial.attention import TREE
from rmtutorial.chat import settle_template, tell_control_tokens
from rmtutorial.encoding import Encoded, encode_answers, rows_of, tree_batch
from rmtutorial.features import start_above
from rmtutorial.grouping import micro_batches
from rmtutorial.refusals import check_ids, check_packable, packing_explained


class PairScorer(nn.Module):
    """Base of RewardModel and Policy, whose `forward` gives rewards (B, K) of a TreeBatch."""

    max_tokens = 2048  # of one forward pass without gradient

    def __init__(self, backbone, tokenizer, pooling="last", max_length=1024):
        super().__init__()
        if pooling not in ("last", "mean"):
            raise ValueError(f"pooling={pooling!r}: choose 'last' or 'mean'")
        if max_length < 1:
            raise ValueError(f"max_length={max_length}: must be at least 1 token")
        check_packable(backbone, max_length)
        backbone.set_attn_implementation(TREE)
        self.backbone = backbone  # (B, T) ids -> (B, T, H) hidden states
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = min(max_length, backbone.config.max_position_embeddings)
        self.backbone.eval()  # no dropout
        settle_template(tokenizer)
        with packing_explained(backbone):
            self._check_packing()

    @torch.no_grad()
    def _check_packing(self):
        """NotImplementedError if packed answers disturb each other, as they do where a layer is no attention.

        One answer is changed: no state of another may move, in any precision. And states are those of answers alone,
        behind the end of a sliding window too (a wide one is left out: the check would take longer than it is worth).
        """
        size, window = self.backbone.config.vocab_size, getattr(self.backbone.config, "sliding_window", None) or 0
        reach = window if window < self.max_length and window <= 1024 else 0
        prompt = [3 * i % size for i in range(1, reach + 9)]
        one, two, other = ([k * i % size for i in range(1, 9)] for k in (5, 7, 11))
        states, pooled = [], []
        for first in (one, other):
            pairs = [[Encoded(prompt + first, 8), Encoded(prompt + two, 8)], [Encoded(one, 0), Encoded(two, 0)]]
            batch = tree_batch(pairs, pad_id=-1).to(self.device)
            hidden = self.hidden(batch).float()
            states.append(hidden[len(prompt + first) :])  # (24, H): all that comes after the answer that differs
            pooled.append(batch.pool @ hidden)
        if not states[0].isfinite().all():
            raise ValueError(
                "states are not finite: NaN among the weights, or float16 overflows; take bfloat16 or float32"
            )
        answers = (answer for pair in pairs for answer in pair)
        alone = [self.backbone(torch.tensor([y.ids], device=self.device)).last_hidden_state[0, -1] for y in answers]
        alone = torch.stack(alone).float().view(2, 2, -1)
        moved = (states[0] - states[1]).norm(dim=-1) > 1e-3 * states[0].norm(dim=-1)
        if moved.any() or (pooled[1] - alone).norm() > 0.05 * alone.norm():  # rounding, in bf16 too, is far below
            raise NotImplementedError(
                f"{type(self.backbone).__name__}: its layers mix the answers of a batch, so scores would be wrong; "
                "use a decoder with ordinary attention in every layer, such as Llama, Qwen3 or GPT-2"
            )

    @property
    def device(self):
        return next(self.backbone.parameters()).device

    @property
    def pad_id(self):
        """The token that last pooling skips at the end: the config's, as in transformers. -1: there is none."""
        pad = self.backbone.config.pad_token_id
        return -1 if pad is None else pad

    def new_parameters(self):
        """Those that start from nothing and learn with a rate of their own: a new head's."""
        return []

    def settings(self):
        """What a checkpoint must agree with, beside weights and pairs."""
        return {"template": self.tokenizer.chat_template, "pooling": self.pooling, "max_length": self.max_length}

    def batch(self, examples):
        """A TreeBatch of encoded examples, pooled as this model does, on its device."""
        return tree_batch(examples, self.pad_id, self.pooling).to(self.device)

    def encode(self, prompt, responses):
        """The Encoded answers (K,) to one prompt, as this model reads them."""
        return self.encode_rows([(prompt, responses)])[0]

    def encode_pairs(self, pairs):
        """The two Encoded answers [chosen, rejected] of every PreferencePair, as this model reads them."""
        encoded = self.encode_rows(*rows_of(pairs))
        tell_control_tokens(self.tokenizer, pairs)
        return encoded

    def encode_rows(self, rows, names=None):
        """Of every (prompt, responses) the Encoded answers; a ValueError begins with the row's name, if it has one."""
        encoded = encode_answers(self.tokenizer, rows, self.max_length, names)
        return check_ids(encoded, names, self.backbone.get_input_embeddings(), self.tokenizer)

    def hidden(self, batch):
        """The backbone's states (N, H) of all tokens of a TreeBatch."""
        with start_above(self.backbone, batch.below):
            return self.backbone(
                input_ids=batch.ids,
                position_ids=batch.positions,
                attention_mask=batch.masks[0],  # of no use to tree_attention, but transformers would make one
                trees=batch.masks,
                places=batch.positions,
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
        if cache is not None:
            cache.belongs_to(self)
        results = [None] * len(examples)
        for group in micro_batches(examples, max_tokens or self.max_tokens):
            group_examples = [examples[i] for i in group]
            batch = cache.batch(self, group_examples) if cache is not None else self.batch(group_examples)
            for i, result in zip(group, function(batch).float().cpu()):
                results[i] = result
        return torch.stack(results)
