"""The reward model: the backbone of a language model, with one linear head that gives one number.

Letters: B examples, K answers of one prompt, T tokens, H hidden size.
"""

import copy

import torch
from torch import nn
from transformers import AutoModel

from rmtutorial.backbones import decoder_layers, keep_first_layers
from rmtutorial.encoding import PLAIN_TEMPLATE
from rmtutorial.loading import MEAN_WEIGHTS, load_classifier
from rmtutorial.refusals import check_language_model, check_tokenizer, classification_shell
from rmtutorial.saved_folder import for_reward_model, save_folder, tell_padding
from rmtutorial.scorer import PairScorer


class RewardModel(PairScorer):
    """R(prompt, response): hidden states of the backbone, pooled, times one weight vector."""

    def __init__(self, backbone, reward_head, tokenizer, pooling="last", max_length=1024):
        super().__init__(backbone, tokenizer, pooling, max_length)
        self.reward_head = reward_head  # Linear(H, 1) without bias: an offset cancels in every difference
        self.eval()  # and it stays so: dropout would add noise to the small difference that is the signal

    @classmethod
    def from_sft(cls, model, tokenizer, layers=16, pooling="last", template="chat", max_length=1024):
        """Swap the LM head of a causal language model for a reward head.

        The weights are copied, bf16 and fp16 to float32, in which small steps count: training leaves `model` as it is. The head
        starts at zero, so every answer scores 0, the first loss is ln 2 exactly, and no random preference has to be
        unlearned.

        Args:
            model, tokenizer: as `load_sft` returns them.
            layers: keep the first `layers` blocks, None for all; the default model judges best from its middle.
            pooling: "last", the state of the last token, or "mean", the average over the response tokens.
            template: "chat", the tokenizer's own, or "plain", prompt + EOS + response (also if it has none).
            max_length: in tokens; what is longer loses its left end.
        Raises: ValueError, NotImplementedError for a model, tokenizer or setting that cannot be used, or saved.
        """
        if template not in ("chat", "plain"):
            raise ValueError(f"template={template!r}: choose 'chat' or 'plain'")
        check_language_model(model)
        tokenizer = copy.deepcopy(tokenizer)
        if template == "plain":
            tokenizer.chat_template = None
        check_tokenizer(tokenizer, model.get_input_embeddings())
        if tokenizer.chat_template is None:
            tokenizer.chat_template = PLAIN_TEMPLATE
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        config = copy.deepcopy(model.config)
        if layers is not None and layers != config.num_hidden_layers:
            keep_first_layers(config, layers)
        config.pad_token_id = tokenizer.pad_token_id
        classification_shell(config)
        dtype = torch.promote_types(model.dtype, torch.float32)  # float64 stays
        backbone = AutoModel.from_config(config, dtype=dtype)
        decoder_layers(backbone)
        weights = model.base_model.state_dict()
        backbone.load_state_dict({name: weights[name] for name in backbone.state_dict()})
        head = nn.Linear(config.hidden_size, 1, bias=False, dtype=dtype)
        nn.init.zeros_(head.weight)
        return cls(backbone, head, tokenizer, pooling, max_length).to(model.device)

    def forward(self, batch):
        """Rewards (B, K) of a TreeBatch, in the precision of the head: bf16 would make ties of close answers."""
        pooled = self.pooled(batch)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.reward_head(pooled.to(self.reward_head.weight.dtype)).squeeze(-1)  # (B, K)

    def pooled(self, batch):
        """What the head reads: one state for each answer, (B, K, H)."""
        if batch.pooled is not None:
            return batch.pooled
        hidden = self.hidden(batch)  # (N, H)
        with torch.autocast(hidden.device.type, enabled=False):
            return batch.pool.to(hidden.dtype) @ hidden  # (B, K, H)

    def pooled_encoded(self, examples, max_tokens=None, cache=None):
        """Pooled states (N, K, H), float32 on the CPU, of N encoded examples of K answers each, in their order."""
        return self._in_micro_batches(self.pooled, examples, max_tokens, cache)

    def new_parameters(self):
        """The head's, which start from zero and have far to go."""
        return list(self.reward_head.parameters())

    def score(self, prompt, response):
        """The reward of one answer, a float."""
        return self.score_batch([(prompt, response)]).item()

    def score_batch(self, prompts_and_responses):
        """Rewards (N,) of N (prompt, response) tuples."""
        prompts_and_responses = list(prompts_and_responses)
        for prompt, response in prompts_and_responses:
            if not response.strip():
                raise ValueError(f"empty response to {prompt!r}: there is nothing to score")
        examples = self.encode_rows([(p, [r]) for p, r in prompts_and_responses])
        return self.score_encoded(examples)[:, 0]

    def save_pretrained(self, folder):
        """Save weights (safetensors), config and tokenizer with its chat template, aside first, then renamed.

        A model that was saved there before is replaced; other files in the folder stay.

        With pooling "last" the folder is an ordinary `AutoModelForSequenceClassification` with one label, for
        transformers 4.x and 5.x alike; what they will read otherwise is printed. With "mean" only rmtutorial reads it:
        the weights get another name, so that no tool pools them wrongly.
        """
        config = copy.deepcopy(self.backbone.config)
        config.num_labels = 1
        config.rmtutorial = {"pooling": self.pooling, "max_length": self.max_length}
        config.problem_type = "regression"  # else pipelines of transformers put one label through a sigmoid
        config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}  # and so do CrossEncoders
        shell = classification_shell(config)
        setattr(shell, shell.base_model_prefix, self.backbone)
        shell.score = self.reward_head
        tokenizer = for_reward_model(self.tokenizer, self.max_length)
        if self.pooling == "mean":
            save_folder(
                folder, shell, tokenizer, "1TB", lambda at: (at / "model.safetensors").rename(at / MEAN_WEIGHTS)
            )
            print("pooling='mean': only rmtutorial reads this folder (RewardModel.from_pretrained)")
            return
        save_folder(folder, shell, tokenizer)
        tell_padding(folder, self.backbone)

    @classmethod
    def from_pretrained(cls, folder, dtype=torch.float32):
        """Load a folder saved by `save_pretrained`, or by another tool: a decoder with one label and a `score` head.

        It scores as in transformers with the same `dtype`; a text longer than the tokenizer's or the model's maximum
        loses its left end, whatever the tokenizer says.

        Raises: as `load_classifier`; NotImplementedError for an architecture whose answers cannot be packed
            (`classifier.load_scorer` reads those too).
        """
        shell, tokenizer, settings = load_classifier(folder, dtype)
        if "score" not in dict(shell.named_children()):
            raise NotImplementedError(
                f"{folder}: {type(shell).__name__} has no `score` head; rmtutorial packs decoders"
            )
        for p in shell.parameters():
            p.data = p.data.clone()  # they are mapped to the file, which Windows would not let us save over
        if tokenizer.chat_template is None:
            tokenizer.chat_template = PLAIN_TEMPLATE
        head = shell.score.to(torch.promote_types(dtype, torch.float32))  # in bf16 close answers would tie
        return cls(shell.base_model, head, tokenizer, **settings)
