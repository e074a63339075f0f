"""STAND-IN for the sampler that is being written on main: the same interface, by `generate` and a second pass. Slow."""

from dataclasses import dataclass

import torch

from rmtutorial.chat import chat_ids
from rmtutorial.encoding import Encoded, common_prefix


@dataclass
class Samples:
    """G answers to each of P prompts, on the CPU."""

    prompts: list
    prompt_ids: list
    ids: torch.Tensor
    lengths: torch.Tensor
    logprobs: torch.Tensor
    finished: torch.Tensor
    states: list | None = None

    @property
    def mask(self):
        return torch.arange(self.ids.shape[2]) < self.lengths[..., None]

    @property
    def encoded(self):
        return [
            [Encoded(prompt + row[:n].tolist(), len(prompt)) for row, n in zip(rows, lengths.tolist())]
            for prompt, rows, lengths in zip(self.prompt_ids, self.ids, self.lengths)
        ]

    def texts(self, tokenizer):
        return [
            [tokenizer.decode(row[:n], skip_special_tokens=True).strip() for row, n in zip(rows, lengths)]
            for rows, lengths in zip(self.ids, self.lengths.tolist())
        ]


@torch.no_grad()
def sample(lm, tokenizer, prompts, group=8, max_new_tokens=48, temperature=1.0, seed=0, states_below=None):
    talks = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    prompt_ids = [chat_ids(tokenizer, talk, add_generation_prompt=True) for talk in talks]
    choice = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    P, G, L, end = len(prompts), group, max_new_tokens, tokenizer.eos_token_id
    ids, lengths = torch.full((P, G, L), tokenizer.pad_token_id), torch.zeros(P, G, dtype=torch.long)
    logprobs, states = torch.zeros(P, G, L), []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for p, prompt in enumerate(prompt_ids):
            start = torch.tensor([prompt], device=lm.device)
            written = lm.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=L,
                                  num_return_sequences=G if temperature else 1, pad_token_id=end, **choice)  # fmt: skip
            for g, row in enumerate(written[:, len(prompt) :].tolist() * (1 if temperature else G)):
                row = row[: row.index(end) + 1] if end in row else row
                ids[p, g, : len(row)], lengths[p, g] = torch.tensor(row), len(row)
            states.append(_read(lm, prompt, ids[p], lengths[p], logprobs[p], temperature or 1.0, states_below))
    last = ids.gather(2, lengths[..., None] - 1)[..., 0]
    return Samples(
        list(prompts), prompt_ids, ids, lengths, logprobs, last == end, states if states_below is not None else None
    )


def _read(lm, prompt, ids, lengths, logprobs, temperature, below):
    rows = [prompt + row[:n].tolist() for row, n in zip(ids, lengths.tolist())]
    shared, tree = common_prefix(rows), []
    for g, row in enumerate(rows):
        out = lm(torch.tensor([row], device=lm.device), output_hidden_states=True)
        here = (out.logits[0].float() / temperature).log_softmax(-1).cpu()
        for t in range(len(prompt), len(row)):
            logprobs[g, t - len(prompt)] = here[t - 1, row[t]]
        if below is not None:
            hidden = out.hidden_states[below][0].cpu()
            hidden[-1] = 0
            tree += ([hidden[:shared]] if g == 0 else []) + [hidden[shared:]]
    return torch.cat(tree) if below is not None else None
