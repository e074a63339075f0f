"""The policy: a language model that keeps its LM head, and its implicit reward, which DPO trains.

Letters: B examples, K answers of one prompt, M answer tokens of a packed batch, H hidden size, V vocabulary.
"""

from contextlib import contextmanager

import torch
import torch.nn.functional as F

from rmtutorial.encoding import PLAIN_TEMPLATE, answer_tokens
from rmtutorial.features import checksum, example_key
from rmtutorial.refusals import check_language_model, check_tokenizer
from rmtutorial.sampling import sample
from rmtutorial.saved_folder import save_folder
from rmtutorial.scorer import PairScorer


class Policy(PairScorer):
    """beta (log pi(y|x) - log pi_ref(y|x)) as the reward of an answer (Rafailov et al. 2023, eq. 5, without Z(x)).

    The reference is the language model as it was when `fix_reference` was called. Only the weights that learn are
    kept twice, and the reference's log-probabilities of an example are computed once, when it is first met.
    """

    max_tokens = 256  # of one forward pass without gradient: their logits are up to 50 MB

    def __init__(self, lm, tokenizer, beta=0.1, max_length=1024):
        """
        Args:
            lm, tokenizer: as `load_sft` returns them; `lm` itself learns, not a copy.
            beta: how hard preferences pull against the reference, above 0.
            max_length: in tokens; what is longer loses its left end.
        """
        if not beta > 0:
            raise ValueError(f"beta={beta}: must be above 0")
        check_language_model(lm)
        super().__init__(lm.base_model, tokenizer, max_length=max_length)
        self.lm = lm
        self.beta = beta
        self.reference_weights = None  # {name: tensor} of the weights that learn, as they were
        self.reference_logprobs = {}  # key of an example -> (K,)
        if tokenizer.chat_template is None:
            tokenizer.chat_template = PLAIN_TEMPLATE
        self.eval()  # no dropout: the reference has none either
        _check_head(lm)
        check_tokenizer(tokenizer, lm.get_input_embeddings())
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def fix_reference(self):
        """From now on the reference is the model as it is; call this when it is settled which weights learn."""
        self.reference_weights = {n: p.detach().clone() for n, p in self.named_parameters() if p.requires_grad}
        self.reference_logprobs = {}

    @contextmanager
    def as_reference(self):
        """Within this block, and without gradient, the model is the reference.

        Autocast keeps its bf16 copy of each weight, by parameter and not by value, until its context ends: it must
        forget them on the way in and out, or the policy would be scored with the reference's weights.
        """
        if self.reference_weights is None:
            raise ValueError("no reference yet: choose what learns (freeze), then call fix_reference()")
        parameters = dict(self.named_parameters())
        learned = {name: parameters[name].data for name in self.reference_weights}
        try:
            for name, kept in self.reference_weights.items():
                parameters[name].data = kept.to(learned[name].device)
            torch.clear_autocast_cache()
            with torch.no_grad():
                yield
        finally:
            for name, data in learned.items():
                parameters[name].data = data
            torch.clear_autocast_cache()

    @torch.no_grad()
    def reset(self):
        """Put the weights that learn back to those of the reference."""
        parameters = dict(self.named_parameters())
        for name, kept in self.reference_weights.items():
            parameters[name].copy_(kept)

    def settings(self):
        return {**super().settings(), "beta": self.beta, "the reference": checksum(self.reference_weights.values())}

    def batch(self, examples):
        batch = super().batch(examples)
        batch.predict = answer_tokens(examples).to(self.device)
        batch.keys = [example_key(answers, self.device) for answers in examples]
        return batch

    def forward(self, batch):
        """Implicit rewards (B, K) of a TreeBatch."""
        reference = self.reference(batch)
        return self.beta * (self.logprobs(batch) - reference)

    def reference(self, batch):
        """log pi_ref of the answers, (B, K) in nats, without gradient."""
        if any(key not in self.reference_logprobs for key in batch.keys):
            with self.as_reference():
                self.reference_logprobs.update(zip(batch.keys, self.logprobs(batch)))
        return torch.stack([self.reference_logprobs[key] for key in batch.keys]).to(self.device)

    def logprobs(self, batch):
        """log pi of the answers, (B, K) in nats: the sum over their tokens, the end mark included."""
        return self.token_logprobs(batch).sum(-1)

    def token_logprobs(self, batch, temperature=1.0):
        """log pi of every answer token, (B, K, L) in nats, 0 behind the end of an answer; the longest has L tokens.

        Args: temperature, by which the logits are divided: that of the sampling, where the answers were sampled.
        """
        _, target, owner = batch.predict
        logits = self.answer_logits(batch)  # (M, V)
        if temperature != 1:
            logits = logits / temperature
        each = -F.cross_entropy(logits, batch.ids[0, target], reduction="none")  # (M,), one answer after the other
        B, K = batch.pool.shape[:2]
        lengths = torch.bincount(owner, minlength=B * K)  # (B K,)
        written = torch.arange(int(lengths.max()), device=owner.device) < lengths[:, None]  # (B K, L)
        return each.new_zeros(written.shape).masked_scatter(written, each).view(B, K, -1)

    def reference_token_logprobs(self, batch, temperature=1.0):
        """The same under the reference, without gradient."""
        with self.as_reference():
            return self.token_logprobs(batch, temperature)

    def answer_logits(self, batch):
        """Logits (M, V), float32, that predict the answer tokens; those that predict the prompt are not computed."""
        source = batch.predict[0]
        return self.lm.get_output_embeddings()(self.hidden(batch)[source]).float()

    def kl(self, batch):
        """KL(pi || pi_ref) along given answers, (B, K) in nats: at every answer token the exact sum over V, added up.

        Averaged over answers that were sampled from pi, this estimates the KL divergence of whole answers.
        """
        log_pi = self.answer_logits(batch).log_softmax(-1)  # (M, V)
        with self.as_reference():
            log_ref = self.answer_logits(batch).log_softmax(-1)
        return self._summed((log_pi.exp() * (log_pi - log_ref)).sum(-1), batch.predict[2], batch)

    def _summed(self, values, owner, batch):
        B, K = batch.pool.shape[:2]
        return torch.zeros(B * K, device=values.device).index_add(0, owner, values).view(B, K)

    def logprobs_encoded(self, examples):
        """log pi (N, K) of N encoded examples, float32 on the CPU."""
        return self._in_micro_batches(self.logprobs, examples)

    def reference_encoded(self, examples, cache=None):
        """log pi_ref (N, K) of N encoded examples, float32 on the CPU."""
        return self._in_micro_batches(self.reference, examples, cache=cache)

    def kl_encoded(self, examples):
        """KL(pi || pi_ref) along the answers of N encoded examples, (N, K), float32 on the CPU."""
        return self._in_micro_batches(self.kl, examples)

    def sample(self, prompts, max_new_tokens=48, temperature=1.0, seed=0):
        """Let the model write one answer to each prompt, a list of Encoded; arguments as of `sampling.sample`."""
        samples = sample(self.lm, self.tokenizer, prompts, 1, max_new_tokens, temperature, seed)
        return [answer for (answer,) in samples.encoded]

    def text(self, encoded):
        """The words of an encoded answer, without the end mark."""
        return self.tokenizer.decode(encoded.ids[encoded.start :], skip_special_tokens=True).strip()

    def save_pretrained(self, folder):
        """Save as an ordinary causal language model (safetensors) with its tokenizer, aside first, then renamed."""
        save_folder(folder, self.lm, self.tokenizer)


@torch.no_grad()
def _check_head(lm):
    """Some models scale or cap their logits after the head; their log-probabilities would come out wrong."""
    output = lm(input_ids=torch.tensor([[1, 2, 3]], device=lm.device), output_hidden_states=True)
    if not torch.allclose(output.logits, lm.get_output_embeddings()(output.hidden_states[-1]), rtol=1e-3, atol=1e-3):
        raise NotImplementedError(f"{type(lm).__name__}: its logits are not its LM head times the last state")
