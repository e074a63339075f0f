"""Reference solutions of the exercises, one function each: what `solution(key)` prints and what the tests run.

Each function stands alone, so that its printed source is complete; what it needs is imported in its notebook.
"""

import itertools
import random

import torch
import torch.nn.functional as F

from rmtutorial.losses import bradley_terry_loss


def join(prompt_ids, eos_id, response_ids, max_length):
    """0.1: prompt + EOS + response, the end of the response always kept."""
    ids = [*prompt_ids, eos_id, *response_ids]
    return ids[-max_length:]


def mean_pool(hidden, n_response):
    """0.2: the average of the last n_response hidden states."""
    return hidden[-n_response:].mean(dim=0)  # (T, H) -> (H,)


def last_token(attention_mask):
    """1.1: the position of the last real token, whichever side is padded."""
    T = attention_mask.shape[1]
    positions = torch.arange(T) * attention_mask  # (B, T), padding counts as 0
    return positions.argmax(dim=1)  # (B,)


def parameters_after_swap(parameters, vocabulary, hidden, tied):
    """1.2: how many parameters are left when the LM head gives way to a reward head without bias."""
    removed = 0 if tied else vocabulary * hidden  # a tied head is the embedding matrix, which stays
    return parameters - removed + hidden


def ranking_to_pairs(answers):
    """2.1: every (better, worse) pair of answers ranked from best to worst."""
    return list(itertools.combinations(answers, 2))


def split_by_prompt(pairs, share, seed):
    """2.2: (train, held_out) without a prompt on both sides; round(share * prompts) of them are held out."""
    prompts = sorted({pair.prompt for pair in pairs})
    random.Random(seed).shuffle(prompts)
    held_out = set(prompts[: round(share * len(prompts))])
    return [p for p in pairs if p.prompt not in held_out], [p for p in pairs if p.prompt in held_out]


def measured_accuracy(true_accuracy, flipped):
    """2.3: the accuracy that is measured when a share of the labels is flipped."""
    return true_accuracy * (1 - flipped) + (1 - true_accuracy) * flipped


def bt_loss(r_chosen, r_rejected):
    """3.1: the Bradley-Terry loss, safe at any margin."""
    return -F.logsigmoid(r_chosen - r_rejected).mean()


def bt_gradient(r_chosen, r_rejected):
    """3.2: the gradient of the loss in the rewards of the chosen answers, in closed form."""
    return -torch.sigmoid(r_rejected - r_chosen) / len(r_chosen)  # (B,)


def accuracy_with_ties(r_chosen, r_rejected):
    """3.3: the share of pairs ranked right, a tie counted one half."""
    return ((r_chosen > r_rejected).float() + 0.5 * (r_chosen == r_rejected).float()).mean().item()


def my_dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta):
    """4.1: DPO's loss is the Bradley-Terry loss on implicit rewards."""
    return bradley_terry_loss(beta * (policy_chosen - ref_chosen), beta * (policy_rejected - ref_rejected))


def parts_reached(loss):
    """4.2: the parts at which the gradient of "RM" or "DPO" arrives, if nothing but the reference is frozen."""
    return {"embeddings", "blocks", "reward head" if loss == "RM" else "LM head"}


def answer_logprob(token_logprobs, prompt_length):
    """4.3: log pi(y|x), from log-probabilities of the tokens at places 1, 2, ..."""
    return token_logprobs[prompt_length - 1 :].sum()  # entry t is about the token at place t + 1
