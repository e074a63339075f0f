"""The reward model: the backbone of a language model, with one linear head that gives one number.

Letters: B examples, K answers of one prompt, T tokens, H hidden size.
"""

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from rmtutorial.backbones import decoder_layers, explained, is_path, keep_first_layers, quiet_transformers
from rmtutorial.encoding import PLAIN_TEMPLATE
from rmtutorial.refusals import check_files, check_language_model, check_tokenizer, classification_shell
from rmtutorial.saved_folder import for_reward_model, save_folder, shifted_by_padding
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
        examples = [self.encode(p, [r]) for p, r in prompts_and_responses]
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
        if self.pad_id < 0:
            print(f"{folder}: its config has no pad_token_id, so other libraries score one answer at a time")
        elif shifted_by_padding(self.backbone):
            print(
                f"{folder}: positions are absolute, so a library that pads on the left (the saved tokenizer pads on the "
                "right) gives other scores: let it score one answer at a time (RewardBench: --batch_size 1)"
            )

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
        return cls(shell.base_model, shell.score.float(), tokenizer, **settings)  # in bf16 close answers would tie


def load_classifier(name, dtype=torch.float32):
    """Read a reward model as transformers does.

    Args: name, a folder or a Hub id of an `AutoModelForSequenceClassification` with one label.
    Returns: (model, tokenizer, settings): what `save_pretrained` wrote of pooling and maximum length, if it did.
    Raises: FileNotFoundError, ModelNotAvailable; ValueError for another number of labels, or a head without weights.
    """
    folder = Path(name).expanduser()
    name = folder if is_path(name) or folder.is_dir() else name
    if folder.is_dir():
        with explained(name, folder):
            check_files(folder)
    if name == folder and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{name}: no reward model here (no config.json); pass the folder of save_pretrained")
    with quiet_transformers(), explained(name, name):
        config = AutoConfig.from_pretrained(name)
    if config.num_labels != 1:
        raise ValueError(
            f"{name}: {config.num_labels} labels where a reward model has one. A language model? Use from_sft."
        )
    settings = getattr(config, "rmtutorial", None)
    with quiet_transformers(), explained(name, name):
        if settings and settings["pooling"] == "mean":
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
    pad = model.config.pad_token_id
    if pad is not None and 0 <= pad < len(tokenizer):  # what the model pools by, whatever the tokenizer has
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    if settings is None:
        settings = {"pooling": "last", "max_length": longest(model, tokenizer)}
    return model.eval(), tokenizer, settings


def longest(model, tokenizer):
    """How many tokens a foreign model reads: what its tokenizer says, and no more than it has positions."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None) or 1024
    if "roberta" in config.model_type or config.model_type == "camembert":  # positions begin behind the padding's
        positions -= config.pad_token_id + 1
    return min(tokenizer.model_max_length, positions)
