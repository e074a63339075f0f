"""What a loss pushes: closed forms in output space, and the gradient ledger over the parts of a model.

Letters: B pairs, T tokens, N tokens of a packed batch, V vocabulary.
"""

import math
import re

import torch

from rmtutorial.losses import bradley_terry_loss


def gradient_ledger(model, loss, reference=None):
    """Which parts of a model a loss moves: one row a part, from the embeddings up.

    Args:
        model: a RewardModel, a Policy or a causal language model; every parameter of it is listed.
        loss: a scalar with a graph, which is used up; no `.grad` is written.
        reference: another model whose parameters are listed as one part.
    Returns: a pandas table with the part as index and
        parameters: how many; an LM head that is tied to the embeddings has none of its own,
        trained: may any of them learn (`requires_grad`)?
        gradient: norm over the part's parameters; NaN where no gradient arrives, which is not the same as 0,
        share: of the squared norm of the whole gradient.
    Raises: ValueError when nothing learns.
    """
    import pandas

    named = [(part_of(name), p) for name, p in model.named_parameters()]
    named += [("reference", p) for p in (reference.parameters() if reference is not None else [])]
    squares = _squared_norms(loss, [p for _, p in named])
    rows = {}
    for (part, p), square in zip(named, squares):
        row = rows.setdefault(part, {"parameters": 0, "trained": False, "square": math.nan})
        row["parameters"] += p.numel()
        row["trained"] |= p.requires_grad
        if square is not None:
            row["square"] = square + (0.0 if math.isnan(row["square"]) else row["square"])
    if tied_head(model):
        rows["LM head"] = {**rows["embeddings"], "parameters": 0}
    total = sum(square for square in squares if square is not None)
    table = pandas.DataFrame.from_dict(rows, orient="index").rename_axis("part")
    table["gradient"] = table["square"].pow(0.5)
    table["share"] = table["square"] / total if total else table["square"]
    return table.loc[sorted(rows, key=_height), ["parameters", "trained", "gradient", "share"]]


def total_norm(ledger):
    """The norm of the whole gradient, from the parts; a tied LM head is counted once, with the embeddings."""
    return ledger["gradient"][ledger["parameters"] > 0].pow(2).sum() ** 0.5


def part_of(name):
    """The part of a decoder that a parameter belongs to, by its name; a block's norms go with what they feed."""
    block = re.search(r"\.(\d+)\.", name)
    if block:
        attention = re.search(r"attn|attention|input_layernorm|ln_1", name) and "post_attention" not in name
        return f"block {int(block[1]) + 1} {'attention' if attention else 'MLP'}"
    for pattern, part in (
        (r"reward_head|score", "reward head"),
        ("lm_head", "LM head"),
        (r"embed|wte|wpe", "embeddings"),
    ):
        if re.search(pattern, name):
            return part
    return "final norm"


def tied_head(model):
    """Is there an LM head whose matrix is the embedding matrix?"""
    heads = [module for name, module in model.named_modules() if name.split(".")[-1] == "lm_head"]
    return bool(heads) and not any("lm_head" in name for name, _ in model.named_parameters())


def _height(part):
    order = ("embeddings", "block", "final norm", "LM head", "reward head", "reference")
    level = next(i for i, start in enumerate(order) if part.startswith(start))
    number = int(part.split()[1]) if level == 1 else 0
    return level, number, part.endswith("MLP")


def _squared_norms(loss, parameters):
    """Squared norm of each parameter's gradient, None where none arrives."""
    learning = [p for p in parameters if p.requires_grad]
    if not learning:
        raise ValueError("no parameter learns (requires_grad is False everywhere): there is no gradient to list")
    found = dict(zip(map(id, learning), torch.autograd.grad(loss, learning, allow_unused=True)))
    grads = [found.get(id(p)) for p in parameters]
    return [None if g is None else torch.linalg.vector_norm(g).item() ** 2 for g in grads]


def reward_gradients(r_chosen, r_rejected):
    """Gradient of the Bradley-Terry loss in the rewards: -sigmoid(-delta) / B and +sigmoid(-delta) / B, (B,) each."""
    push = torch.sigmoid(r_rejected - r_chosen) / len(r_chosen)  # (B,)
    return -push, push


def logit_gradients(logits, labels, mask, weight):
    """Gradient in the logits of a loss that depends on them through log pi(y|x) alone.

    d log pi(y_t) / d logits = one-hot(y_t) - softmax(logits), at the position before each answer token; 0 elsewhere.

    Args: logits (B, T, V); labels (B, T), int64; mask (B, T), bool, True on answer tokens; weight (B,), the gradient
        of the loss in log pi(y|x), for DPO -beta sigmoid(-delta) / B for chosen answers and its opposite for rejected.
    Returns: (B, T, V).
    """
    one_hot = torch.nn.functional.one_hot(labels[:, 1:], logits.shape[-1])  # (B, T-1, V)
    direction = one_hot - logits[:, :-1].softmax(-1)  # (B, T-1, V)
    grads = torch.zeros_like(logits)
    grads[:, :-1] = weight[:, None, None] * direction * mask[:, 1:, None]
    return grads


def state_gradients(scorer, batch):
    """How hard the Bradley-Terry loss pulls at the backbone's state of every token: norms (N,) of dL/dh.

    Args: scorer, a RewardModel or a Policy; batch, a TreeBatch of pairs from `scorer.batch`.
    """
    states = []
    handle = scorer.backbone.register_forward_hook(lambda module, args, output: states.append(output[0]))
    try:
        loss = bradley_terry_loss(*scorer(batch).unbind(1))
    finally:
        handle.remove()
    (grad,) = torch.autograd.grad(loss, states[-1])  # (1, N, H); a policy's reference pass came before
    return grad[0].norm(dim=-1)
