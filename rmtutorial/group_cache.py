"""Keys and values of answers that are being written: those of a prompt once for its whole group, the new ones in place.

Letters: P prompts, G answers to each, N = P * G, M of them unfinished, T tokens of the longest prompt, L new tokens,
K key/value heads, R query heads that share one, D their size.
"""

import torch

from rmtutorial.encoding import Encoded, tree_batch


class GroupCache:
    """What attention needs of P packed prompts and of the tokens that their N answers have so far."""

    def __init__(self, lengths, group, new_tokens, device):
        """lengths: tokens of each of the P prompts; group: G; new_tokens: L, room for each answer."""
        self.lengths, self.group, self.room = lengths, group, new_tokens
        self.rows = torch.arange(len(lengths) * group, device=device)  # (M,) answers that are still being written
        self.written = 0  # new tokens that an unfinished answer has here
        self.heads = None  # K
        self.kept = {}  # attention module -> (k, v of the prompts (P K, T, D); k, v of the answers (P K G, L, D))
        places = torch.arange(max(lengths), device=device)
        beyond = places >= torch.tensor(lengths, device=device)[:, None]  # (P, T)
        self.bias = torch.zeros(beyond.shape, device=device).masked_fill(beyond, -torch.inf)[
            :, None, None
        ]  # (P, 1, 1, T)

    def keep_prompts(self, module, key, value):
        """Keep keys and values (1, K, tokens, D) of the packed prompts, and make room for those of the answers."""
        _, K, _, D = key.shape
        self.heads = K
        P, T = len(self.lengths), max(self.lengths)
        kept = [key.new_zeros(P, K, T, D), value.new_zeros(P, K, T, D)]
        for tensor, new in zip(kept, (key, value)):
            for p, part in enumerate(new[0].split(self.lengths, dim=1)):
                tensor[p, :, : part.shape[1]] = part
        room = [key.new_zeros(P * K * self.group, self.room, D) for _ in range(2)]
        self.kept[module] = [tensor.view(P * K, T, D) for tensor in kept] + room

    def attend(self, module, query, key, value, scaling):
        """One new token of each unfinished answer looks at its prompt and at all that the answer has so far.

        Args: query (1, K R, M, D); key, value (1, K, M, D), which are kept.
        Returns: (1, M, K R, D).
        """
        prompt_k, prompt_v, own_k, own_v = self.kept[module]
        P, G, K, D = len(self.lengths), self.group, key.shape[1], key.shape[3]
        R, T, t = query.shape[1] // K, prompt_k.shape[1], self.written
        for own, new in ((own_k, key), (own_v, value)):  # in place: what is there already is not copied
            own[:, t] = self._by_prompt(new[0]).view(P * K * G, D)
        q = self._by_prompt(query[0] * scaling)  # (P, K, G, R, D)
        # The G R queries of a group meet the keys of their prompt in one product; each answer meets its own alone.
        to_prompt = (q.view(P * K, G * R, D) @ prompt_k.transpose(1, 2)).view(P, K, G * R, T) + self.bias.to(q.dtype)
        to_own = q.view(P * K * G, R, D) @ own_k[:, : t + 1].transpose(1, 2)  # (P K G, R, t + 1)
        scores = torch.cat([to_prompt, to_own.view(P, K, G * R, t + 1)], dim=-1)
        at_prompt, at_own = scores.softmax(-1, dtype=torch.float32).to(value.dtype).split([T, t + 1], dim=-1)
        of_prompt = at_prompt.reshape(P * K, G * R, T) @ prompt_v  # (P K, G R, D)
        of_own = at_own.reshape(P * K * G, R, t + 1) @ own_v[:, : t + 1]  # (P K G, R, D)
        out = of_prompt.view(P, K, G, R, D) + of_own.view(P, K, G, R, D)
        out = out.transpose(1, 2).reshape(P * G, K * R, D)  # (N, K R, D)
        return (out if len(self.rows) == len(out) else out[self.rows])[None]

    def _by_prompt(self, heads):
        """(K R, M, D) of the unfinished answers -> (P, K, G, R, D), with zeros for those that are finished."""
        P, G, (KR, M, D) = len(self.lengths), self.group, heads.shape
        if M < P * G:
            heads = heads.new_zeros(KR, P * G, D).index_copy(1, self.rows, heads)
        return heads.reshape(self.heads, -1, P, G, D).permute(2, 0, 3, 1, 4).contiguous()


def read_prompts(lm, prompts, cache, states_below=None):
    """Read P prompts (token ids), packed one behind the other, into the cache.

    Returns: the last layer's states (P, H) of their last tokens, and the states (tokens, H) that enter layer
        `states_below`, or None.
    """
    batch = tree_batch([[Encoded(ids, 0)] for ids in prompts], pad_id=-1).to(lm.device)
    states, entering = _read(lm, batch.ids, batch.positions, cache, states_below, trees=batch.masks)
    return states[torch.tensor(cache.lengths).cumsum(0) - 1], entering


def read_tokens(lm, tokens, cache, states_below=None):
    """Read the next token (M,) of each unfinished answer: states (M, H), and those that enter layer `states_below`."""
    starts = torch.tensor(cache.lengths, device=tokens.device)[cache.rows // cache.group]  # (M,)
    found = _read(lm, tokens[None], (starts + cache.written)[None], cache, states_below)
    cache.written += 1
    return found


def _read(lm, ids, positions, cache, states_below, trees=None):
    output = lm.base_model(
        input_ids=ids,
        position_ids=positions,
        attention_mask=ids.new_ones(1, 1, 1, 1, dtype=torch.bool),  # of no use here, but transformers would make one
        trees=trees,
        places=positions,
        writing=cache,
        use_cache=False,
        output_hidden_states=states_below is not None,
    )
    return output.last_hidden_state[0], None if states_below is None else output.hidden_states[states_below][0]
