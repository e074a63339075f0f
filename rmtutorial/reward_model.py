"""The reward model: the backbone of a language model, with one linear head that gives one number.

Letters: B examples, K answers of one prompt, T tokens, H hidden size.
"""

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from rmtutorial.backbones import explained, is_path, keep_first_layers, quiet_transformers
from rmtutorial.encoding import PLAIN_TEMPLATE, encode_answers
from rmtutorial.files import STALE, folder_aside, put_back
from rmtutorial.places import user_path
from rmtutorial.scorer import PairScorer

MEAN_WEIGHTS = "reward_model.safetensors"  # a name that no other tool looks for


class RewardModel(PairScorer):
    """R(prompt, response): hidden states of the backbone, pooled, times one weight vector."""

    def __init__(self, backbone, reward_head, tokenizer, pooling="last", max_length=1024):
        super().__init__(backbone, tokenizer, pooling, max_length)
        self.reward_head = reward_head  # Linear(H, 1) without bias: an offset cancels in every difference
        self.eval()  # and it stays so: dropout would add noise to the small difference that is the signal

    @classmethod
    def from_sft(cls, model, tokenizer, layers=16, pooling="last", template="chat", max_length=1024):
        """Swap the LM head of a causal language model for a reward head.

        The weights are copied: training the reward model leaves `model` as it is. The head starts at zero, so
        every answer scores 0, the first loss is ln 2 exactly, and no random preference has to be unlearned.

        Args:
            model, tokenizer: as `load_sft` returns them.
            layers: keep the first `layers` blocks, None for all; the default model judges best from its middle.
            pooling: "last", the state of the last token, or "mean", the average over the response tokens.
            template: "chat", the tokenizer's own, or "plain", prompt + EOS + response (also if it has none).
            max_length: in tokens; what is longer loses its left end.
        """
        if template not in ("chat", "plain"):
            raise ValueError(f"template={template!r}: choose 'chat' or 'plain'")
        config = copy.deepcopy(model.config)
        if layers is not None and layers != config.num_hidden_layers:
            keep_first_layers(config, layers)
        backbone = AutoModel.from_config(config, dtype=model.dtype)
        weights = model.base_model.state_dict()
        backbone.load_state_dict({name: weights[name] for name in backbone.state_dict()})
        head = nn.Linear(config.hidden_size, 1, bias=False, dtype=model.dtype)
        nn.init.zeros_(head.weight)
        tokenizer = copy.deepcopy(tokenizer)
        if template == "plain" or tokenizer.chat_template is None:
            tokenizer.chat_template = PLAIN_TEMPLATE
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
        examples = encode_answers(self.tokenizer, [(p, [r]) for p, r in prompts_and_responses], self.max_length)
        return self.score_encoded(examples)[:, 0]

    def save_pretrained(self, folder):
        """Save weights (safetensors), config and tokenizer with its chat template, aside first, then renamed.

        A model that was saved there before is replaced; other files in the folder stay.

        With pooling "last" the folder is an ordinary `AutoModelForSequenceClassification` with one label. With
        "mean" only rmtutorial reads it: the weights get another name, so that no tool pools them wrongly.
        """
        config = copy.deepcopy(self.backbone.config)
        config.num_labels = 1
        config.pad_token_id = self.tokenizer.pad_token_id
        config.rmtutorial = {"pooling": self.pooling, "max_length": self.max_length}
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.truncation_side, tokenizer.model_max_length = "left", self.max_length  # as we cut, so shall others
        with torch.device("meta"):
            shell = AutoModelForSequenceClassification.from_config(config)
        if "score" not in dict(shell.named_children()):
            raise ValueError(f"{type(shell).__name__} has no `score` head; use a decoder such as Llama, Qwen or GPT-2")
        setattr(shell, shell.base_model_prefix, self.backbone)
        shell.score = self.reward_head
        with quiet_transformers(), folder_aside(folder, STALE) as aside:
            shell.save_pretrained(aside, max_shard_size="1TB" if self.pooling == "mean" else "5GB")
            tokenizer.save_pretrained(aside)
            if self.pooling == "mean":
                (aside / "model.safetensors").rename(aside / MEAN_WEIGHTS)
                print("pooling='mean': only rmtutorial reads this folder (RewardModel.from_pretrained)")

    @classmethod
    def from_pretrained(cls, folder, dtype=torch.float32):
        """Load a folder saved by `save_pretrained`, or by another tool: a decoder with one label and a `score` head.

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
        return cls(shell.base_model, shell.score, tokenizer, **settings)


def load_classifier(name, dtype=torch.float32):
    """Read a reward model as transformers does.

    Args: name, a folder or a Hub id of an `AutoModelForSequenceClassification` with one label.
    Returns: (model, tokenizer, settings): what `save_pretrained` wrote of pooling and maximum length, if it did.
    Raises: FileNotFoundError, ModelNotAvailable; ValueError for another number of labels, or a head without weights.
    """
    folder = user_path(name)
    put_back(folder)
    name = folder if is_path(name) or folder.is_dir() else name
    if name == folder and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{name}: no reward model here (no config.json); pass the folder of save_pretrained")
    with quiet_transformers(), explained(name, name):
        config = AutoConfig.from_pretrained(name)
    if config.num_labels != 1:
        raise ValueError(
            f"{name}: {config.num_labels} labels where a reward model has one. A language model? Use from_sft."
        )
    settings = getattr(config, "rmtutorial", {"pooling": "last"})
    with quiet_transformers(), explained(name, name):
        if settings["pooling"] == "mean":
            model = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
            model.load_state_dict(load_file(Path(name) / MEAN_WEIGHTS))
            missing = []
        else:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                name, config=config, dtype=dtype, output_loading_info=True
            )
            missing = sorted(info["missing_keys"])
        tokenizer = AutoTokenizer.from_pretrained(name)
    if missing:  # transformers has filled them with random numbers
        raise ValueError(f"{name}: no weights for {', '.join(missing)}")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer, settings
