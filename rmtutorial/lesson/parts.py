"""The parts of the drawn pipeline (`figures.pipeline`), from a reward model and one pair."""

import torch

from rmtutorial.encoding import encode_pairs
from rmtutorial.losses import bradley_terry_loss


def gradient_norm(module):
    """Norm of the gradient over all parameters of a module that have one, a float."""
    return torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm().item()


def parts_before_head(backbone, tokenizer, pair):
    """The parts up to the state of the last token, from the backbone of a language model; no gradient.

    Returns: dict, see `figures.pipeline.pipeline`.
    """
    both = encode_pairs(tokenizer, [pair], 10**6)[0]  # [chosen, rejected], not cut
    with torch.no_grad():
        states = [backbone(input_ids=torch.tensor([answer.ids])).last_hidden_state[0] for answer in both]  # (T, H)
    tokens = [(answer.ids, len(answer.ids) - answer.start) for answer in both]
    return {"text": pair, "tokens": tokens, "backbone": backbone, "states": states, "pooled": [h[-1] for h in states]}


def parts_of_rewards(pair, rewards):
    """The parts that the rewards of a pair's two answers tell, recorded ones for instance: up to the loss.

    Returns: dict, see `figures.pipeline.pipeline`.
    """
    chosen, rejected = torch.as_tensor(rewards)  # () each
    loss = bradley_terry_loss(chosen[None], rejected[None])
    margin = chosen - rejected
    return {"text": pair, "reward": [chosen.item(), rejected.item()], "margin": margin.item(), "loss": loss.item()}


def parts_of(rm, pair):
    """What `figures.pipeline.pipeline` draws of one PreferencePair, with two plain forwards of a RewardModel.

    The gradients of the parameters are cleared before and after; no weight changes.
    Returns: dict, see `figures.pipeline.pipeline`.
    """
    rm.zero_grad(set_to_none=True)
    both = rm.encode_pairs([pair])[0]  # [chosen, rejected]
    states, pooled = [], []
    for answer in both:
        batch = rm.batch([[answer]])
        states.append(rm.hidden(batch))  # (T, H)
        pooled.append(batch.pool[0, 0] @ states[-1])  # (H,)
    rewards = rm.reward_head(torch.stack(pooled)).squeeze(-1)  # (2,)
    rewards.retain_grad()
    loss = bradley_terry_loss(rewards[:1], rewards[1:])
    loss.backward()
    gradient = {"reward": rewards.grad.tolist(), "head": gradient_norm(rm.reward_head)}
    gradient["backbone"] = gradient_norm(rm.backbone) if _learns(rm.backbone) else 0.0
    rm.zero_grad(set_to_none=True)
    return {
        "text": pair,
        "tokens": [(answer.ids, len(answer.ids) - answer.start) for answer in both],
        "backbone": rm.backbone,
        "states": [s.detach() for s in states],
        "pooled": [p.detach() for p in pooled],
        "reward": rewards.tolist(),
        "margin": (rewards[0] - rewards[1]).item(),
        "loss": loss.item(),
        "gradient": gradient,
    }


def _learns(module):
    return any(p.requires_grad for p in module.parameters())
