"""Sampling: a language model writes a group of answers to each prompt, one token of all answers a step.

Letters: P prompts, G answers to each, N = P G rows, M of them unfinished, L new tokens at most, V vocabulary, H hidden
size.
"""

from dataclasses import dataclass

import torch

from rmtutorial.chat import chat_ids
from rmtutorial.encoding import Encoded, common_prefix
from rmtutorial.generate import ready_to_write, why_not, write_by_generate
from rmtutorial.group_cache import GroupCache, read_prompts, read_tokens
from rmtutorial.refusals import check_ids

ROWS = 64  # answers written at once; more are hardly faster, and 64 with 48 tokens keep 140 MB of keys and values


@dataclass
class Samples:
    """G answers to each of P prompts, on the CPU."""

    prompts: list  # P prompts as given: text, or chat messages
    prompt_ids: list  # P lists of token ids, the marks that open the answer included
    ids: torch.Tensor  # (P, G, L) int64: what was written, the end mark included; the pad id behind it
    lengths: torch.Tensor  # (P, G) int64: tokens written, the end mark included
    logprobs: torch.Tensor  # (P, G, L) float32: nats, of the distribution that was drawn from; 0 behind the end
    finished: torch.Tensor  # (P, G) bool: ended by the end mark, not cut at L tokens
    states: list | None = None  # P of (T, H): what enters the first layer that learns, packed as tree_batch packs

    @property
    def mask(self):
        """(P, G, L) bool: tokens that were written. The end mark is one of them: a policy must learn when to stop."""
        return torch.arange(self.ids.shape[2]) < self.lengths[..., None]

    @property
    def encoded(self):
        """P examples, each a list of G Encoded answers."""
        return [
            [Encoded(prompt + row[:n].tolist(), len(prompt)) for row, n in zip(rows, lengths.tolist())]
            for prompt, rows, lengths in zip(self.prompt_ids, self.ids, self.lengths)
        ]

    def texts(self, tokenizer):
        """P lists of G texts, without the end mark."""
        return [
            [tokenizer.decode(row[:n], skip_special_tokens=True).strip() for row, n in zip(rows, lengths)]
            for rows, lengths in zip(self.ids, self.lengths.tolist())
        ]


@torch.no_grad()
def sample(lm, tokenizer, prompts, group=8, max_new_tokens=48, temperature=1.0, seed=0, states_below=None):
    """Let a causal language model write `group` answers to each prompt.

    Each prompt is read once for its whole group, and a finished answer costs nothing more. A model whose layers do not
    fit in here is sampled by its own `generate`, aloud.

    Args:
        lm, tokenizer: of transformers, as `load_sft` returns them.
        prompts: P texts, or lists of chat messages; the chat template opens the answer.
        temperature: divides the logits; at 0 the most probable token is taken, and log-probabilities are those of 1.
        seed: of the random numbers, one a token.
        states_below: keep the states that enter this layer (the lowest is 0): training from it upwards needs no other.
    Returns: Samples.
    Raises: ValueError, with the value, for no prompts, a number that makes no sense, or more tokens than the model reads.
    """
    ids = _checked_ids(lm, tokenizer, prompts, group, max_new_tokens, temperature)
    P, G, L = len(ids), group, max_new_tokens
    luck = torch.rand(P, G, L, generator=torch.Generator().manual_seed(seed))
    tokens, logprobs, lengths = torch.zeros(P, G, L, dtype=torch.long), torch.zeros(P, G, L), torch.zeros(P, G).long()
    ends, states = end_marks(lm, tokenizer), []
    with ready_to_write(lm):
        reason = why_not(lm, max(map(len, ids)) + L)
        if reason:
            print(f"{type(lm).__name__}: {reason}. Its own `generate` samples, which is slower.")
        write = write_by_generate if reason else write_together
        for some in torch.arange(P).split(max(1, ROWS // G)):  # prompts
            blocks = []
            for these in torch.arange(G).split(ROWS):  # answers to each: a large group takes several rounds
                at = (some[:, None], these)  # a block of the tensors (P, G, ...)
                written = write(lm, [ids[p] for p in some], luck[at], ends, temperature, states_below)
                tokens[at], logprobs[at], lengths[at], kept = written
                blocks.append(kept)
            states += [(of[0][0], torch.cat([new for _, new in of])) for of in zip(*blocks)]
    finished = torch.isin(tokens.gather(2, lengths[..., None] - 1)[..., 0], ends)  # (P, G)
    samples = Samples(list(prompts), ids, tokens, lengths, logprobs, finished)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else max(ends.tolist(), default=0)
    samples.ids = tokens.where(samples.mask, pad)
    if states:
        samples.states = [packed_states(*kept, answers) for kept, answers in zip(states, samples.encoded)]
    return samples


def write_together(lm, prompts, luck, ends, temperature, states_below=None):
    """Write g answers to each of p prompts (token ids), all p g of them a token at a time.

    Args: luck, (p, g, L) random numbers in [0, 1), one a token; ends, the ids that end an answer.
    Returns: tokens (p, g, L), log-probabilities (p, g, L), lengths (p, g), and, with `states_below`, of each prompt the
        states of its tokens (T, H) and of its answers' tokens (g, L, H).
    """
    (p, g, L), head = luck.shape, lm.get_output_embeddings()
    luck, below = luck.flatten(0, 1).to(lm.device), []
    tokens, logprobs, lengths = torch.zeros(p * g, L).long(), torch.zeros(p * g, L), torch.zeros(p * g).long()
    cache = GroupCache([len(ids) for ids in prompts], g, L, lm.device)
    last, entering = read_prompts(lm, prompts, cache, states_below)  # (p, H): each prompt is read once
    if entering is not None:
        of_prompts, of_answers = entering.split(cache.lengths), entering.new_zeros(p * g, L, entering.shape[-1])
        below = list(zip(of_prompts, of_answers.view(p, g, L, -1)))
    logits = head(last).repeat_interleave(g, dim=0)  # (p g, V)
    for t in range(L):
        rows = cache.rows  # (M,), the answers that are not finished
        drawn, drawn_logprobs = draw(logits, luck[rows, t], temperature)  # (M,), (M,)
        at = rows.cpu()
        tokens[at, t], logprobs[at, t], lengths[at] = drawn.cpu(), drawn_logprobs.cpu(), t + 1
        go_on = ~torch.isin(drawn, ends.to(drawn.device))
        cache.rows = rows[go_on]
        if t == L - 1 or not go_on.any():
            break
        last, entering = read_tokens(lm, drawn[go_on], cache, states_below)  # (M, H)
        if entering is not None:
            of_answers[cache.rows, t] = entering  # the states of the tokens that were drawn
        logits = head(last)  # (M, V)
    return tokens.view(p, g, L), logprobs.view(p, g, L), lengths.view(p, g), below


def draw(logits, luck, temperature=1.0):
    """Draw one token from each row by the inverse of its distribution function: the first v with P(token <= v) > luck.

    Args: logits (M, V); luck (M,) in [0, 1); temperature, 0 for the most probable token.
    Returns: tokens (M,), int64, and their log-probabilities (M,), float32, in nats.
    """
    logits = logits.contiguous().float()
    probs = (logits / temperature if temperature not in (0, 1) else logits).softmax(dim=-1)  # (M, V)
    if temperature:
        below = probs.cumsum(dim=-1)  # (M, V): P(token <= v)
        tokens = torch.searchsorted(below, luck[:, None], right=True)  # (M, 1)
        tokens = tokens.clamp(max=logits.shape[1] - 1)  # rounding: the last P may be a little below 1
    else:
        tokens = logits.argmax(dim=-1, keepdim=True)
    return tokens[:, 0], probs.gather(1, tokens)[:, 0].log()


def end_marks(lm, tokenizer):
    """The ids that end an answer: the tokenizer's end mark, and those of the model's generation settings."""
    more = lm.generation_config.eos_token_id if lm.generation_config is not None else None
    more = more if isinstance(more, list) else [more]
    return torch.tensor(sorted({x for x in [*more, tokenizer.eos_token_id] if x is not None}), dtype=torch.long)


def packed_states(of_prompt, of_answers, answers):
    """States of a prompt (T, H) and of its answers' new tokens (G, L, H), in the layout of tree_batch([answers])."""
    start, shared = len(of_prompt), common_prefix([answer.ids for answer in answers])
    rest = [states[shared - start : len(answer.ids) - start] for states, answer in zip(of_answers, answers)]
    return torch.cat([of_prompt, of_answers[0][: shared - start], *rest])


def _checked_ids(lm, tokenizer, prompts, group, max_new_tokens, temperature):
    for name, value in (("group", group), ("max_new_tokens", max_new_tokens)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r}: must be a whole number from 1 up")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature={temperature!r}: must be 0 (the most probable token) or above")
    if isinstance(prompts, str) or not prompts:
        raise ValueError(f"prompts={prompts!r}: a list of at least one prompt is needed")
    talks = [[{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt for prompt in prompts]
    ids = [chat_ids(tokenizer, talk, add_generation_prompt=True) for talk in talks]
    check_ids([[Encoded(row, 0)] for row in ids], [f"prompt {i}" for i in range(1, len(ids) + 1)],
              lm.get_input_embeddings(), tokenizer)  # fmt: skip
    room = lm.config.max_position_embeddings - max_new_tokens
    for prompt, row in zip(prompts, ids):
        if len(row) > room:
            raise ValueError(
                f"prompt {str(prompt)[:60]!r} has {len(row)} tokens: with max_new_tokens={max_new_tokens} the model reads "
                f"at most {room}. Shorten it, or ask for fewer new tokens"
            )
    return ids
