"""Exercises of notebook 04: DPO's loss, which parts a gradient reaches, the log-probability of an answer; optimum.py and
noisy_labels.py have the others.
"""

import torch
import torch.nn.functional as F

from rmtutorial.lesson.exercises import noisy_labels, optimum
from rmtutorial.lesson.exercises.exercise import Exercise, Wrong, named, same, shown, tried
from rmtutorial.lesson.exercises.tensors import FAR, dtype_mistake, far_out_mistake, gradient_mistake
from rmtutorial.losses import bradley_terry_loss

EXERCISES = {}

# Rows: policy chosen and rejected, reference chosen and rejected. Log-ratio of chosen minus rejected: 1, -3, 1.75
PAIRS = torch.tensor([[-10.0, -30.0, -8.5], [-14.0, -25.0, -9.0], [-12.0, -29.0, -9.0], [-15.0, -27.0, -7.75]])
TWO = tuple(PAIRS[:, :2])


def my_dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta):
    """DPO's loss, a scalar tensor."""
    return bradley_terry_loss(beta * (policy_chosen - ref_chosen), beta * (policy_rejected - ref_rejected))


def my_dpo_mistake(function):
    got = tried(function, *TWO, 0.5)
    if mistake := named(got, _wrong_dpo_losses(*TWO, 0.5)):
        return mistake
    if not same(got, right := F.softplus(-_implicit_margin(*TWO, 0.5)).mean()):
        return f"with beta 0.5 and margins of [0.5, -1.5] it gave {shown(got)}, not {shown(right)}"
    for logprobs, beta in ((TWO, 0.1), (TWO, 1.0), (tuple(PAIRS), 0.5)):
        right = F.softplus(-_implicit_margin(*logprobs, beta)).mean()
        if not same(got := tried(function, *logprobs, beta), right):
            asked = f"{len(logprobs[0])} pairs and beta {beta}"
            return f"right for 2 pairs and beta 0.5; for {asked} it gave {shown(got)}, not {shown(right)}"
    return (
        far_out_mistake(lambda margin: tried(function, *_at(margin), 0.5))
        or _dpo_gradient_mistake(function, TWO)
        or _dpo_gradient_mistake(function, _at(*FAR))
        or dtype_mistake(function, (*TWO, 0.5), "log-probabilities")
    )


def _implicit_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta):
    return beta * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected))


def _at(*margins):
    reference = torch.full((len(margins),), -1000.0)
    return reference + torch.tensor(margins) / 0.5, reference, reference, reference  # at beta 0.5


def _wrong_dpo_losses(chosen, rejected, ref_chosen, ref_rejected, beta):
    loss = lambda margin: F.softplus(-margin).mean()  # noqa: E731
    log_ratio = _implicit_margin(chosen, rejected, ref_chosen, ref_rejected, 1)  # (B,)
    right = loss(beta * log_ratio)
    added = (chosen + ref_chosen) - (rejected + ref_rejected)  # the same number as with crossed references
    return [
        (loss(beta * (chosen - rejected)), "the reference is missing: only the move away from it is a reward"),
        (loss(log_ratio), "beta is missing: the implicit reward is beta times the log-ratio"),
        (beta * loss(log_ratio), "beta stands in front of the loss; it belongs inside, in front of each log-ratio"),
        (loss(beta * added), "the reference has the wrong sign: it is added, or the references of chosen and "
         "rejected are crossed; each answer has a reference of its own, which is subtracted"),
        (loss(log_ratio / beta), "beta multiplies the log-ratio; this divides by it"),
        (loss(beta * (chosen - rejected) - (ref_chosen - ref_rejected)),
         "beta multiplies the whole log-ratio, the reference's part too"),
        (loss(-beta * log_ratio), "chosen and rejected, or policy and reference, are exchanged: this loss falls when "
         "the policy gets worse"),
        (F.softplus(-beta * log_ratio), "the loss of a batch is the mean over its pairs"),
        (right * len(chosen), "the loss of a batch is the mean over its pairs, not the sum"),
        (-right, "a minus is missing: it is the log-likelihood, and minimizing it makes the policy worse"),
        (-loss(-beta * log_ratio), "two things: the sign of the margin is flipped, and the minus before the "
         "logarithm is missing"),
        (right[None], "the number is right, in a tensor of shape (1,); a loss is a scalar tensor, of shape ()"),
    ]  # fmt: skip


def _dpo_gradient_mistake(function, logprobs, beta=0.5):
    push = beta * torch.sigmoid(-_implicit_margin(*logprobs, beta)) / len(logprobs[0])  # (B,)
    return gradient_mistake(function, (*logprobs, beta), {"policy_chosen": -push, "policy_rejected": push})


EXERCISES["4.2"] = Exercise(
    my_dpo,
    hints=(
        "The implicit reward is beta * (policy - reference).",
        "bradley_terry_loss takes the two implicit rewards.",
    ),
    mistake=my_dpo_mistake,
)


def parts_reached(loss):
    """The set of parts that get a gradient; loss is "RM" or "DPO"."""
    return {"embeddings", "blocks", "reward head" if loss == "RM" else "LM head"}


PARTS = ("embeddings", "blocks", "LM head", "reward head", "reference")


def parts_reached_mistake(function):
    rm, dpo = _both_answers(function)
    if unknown := (rm | dpo) - set(PARTS):
        return f"{sorted(unknown)} is no part; choose from {PARTS}, written like this (the final norm is in the blocks)"
    if "reference" in rm | dpo:
        return "the reference is frozen: it stands in DPO's loss, but as a constant, and in the RM's not at all"
    if "LM head" in rm:
        return "a reward model computes no logits: the tied matrix is still there, but as the embeddings alone"
    if "reward head" in dpo:
        return "DPO has no reward head: its reward is made of log-probabilities"
    if "blocks" not in rm:
        return "the reward head is not all: its gradient flows on into the backbone, unless that is frozen"
    if not {"embeddings", "LM head"} <= dpo:
        return (
            "DPO reads log-probabilities, so its gradient enters at the LM head; that and the embeddings are the same "
            "tied matrix, so one of them would do, but the ledger has it under both names: give both"
        )
    for loss, parts in (("RM", rm), ("DPO", dpo)):
        if parts != parts_reached(loss):
            return f"for {loss} it gave {sorted(parts)}: a part between the loss and the token ids is missing"
    return None


def _both_answers(function):
    answers = {loss: function(loss) for loss in ("RM", "DPO")}
    missing = [loss for loss, parts in answers.items() if parts is None or parts is ...]
    if len(missing) == 1:
        raise Wrong(
            f'the answer for "{missing[0]}" is missing: called with it, the function returned {answers[missing[0]]}'
        )
    if text := [parts for parts in answers.values() if isinstance(parts, str)]:
        raise Wrong(f"it returned the text {text[0]!r}; return a set of names, even if it has one only")
    return [set(tried(function, loss)) for loss in answers]  # asked again: `tried` knows a stub


EXERCISES["4.3"] = Exercise(
    parts_reached,
    hints=(
        "Follow the loss backwards: through which matrices did its numbers come?",
        "Tied: one matrix, two names.",
    ),
    mistake=parts_reached_mistake,
)


def answer_logprob(logprobs, prompt_length):
    """log pi(y|x), a scalar tensor; logprobs as token_logprobs gives them."""
    return logprobs[prompt_length - 1 :].sum()  # entry t is about the token at place t + 1


def answer_logprob_mistake(function):
    logprobs = -0.75 * 2.0 ** torch.arange(8)  # of tokens 1 to 8: powers of two, so no two slices have the same sum
    got = tried(function, logprobs, 3)
    if mistake := named(got, _wrong_sums(logprobs, 3)):
        return mistake
    if not same(got, right := logprobs[2:].sum()):
        return f"for {logprobs.tolist()} and 3 prompt tokens it gave {shown(got)}, not {right:.2f}"
    for T, prompt_length in ((8, 5), (8, 2), (8, 7), (8, 1), (6, 3), (12, 3)):
        logprobs = -0.75 * 2.0 ** torch.arange(T - 1)
        if not same(got := tried(function, logprobs, prompt_length), right := logprobs[prompt_length - 1 :].sum()):
            asked = f"{prompt_length} of {T}"
            return f"right if 3 of 9 tokens are the prompt; if {asked} are, it gave {shown(got)}, not {right:.2f}"
    return None


def _wrong_sums(logprobs, prompt_length):
    prompt, answer = logprobs[: prompt_length - 1], logprobs[prompt_length - 1 :]  # the first token is not predicted
    late = "one token late: the first answer token, at place 3, is predicted at place 2"
    return [
        (logprobs.sum(), "that is log pi(x, y): the prompt's tokens are summed too"),
        (answer[1:].sum(), late),
        (answer[1:].mean(), late),
        (logprobs[prompt_length - 2 :].sum(), "one token early: the last prompt token, at place 2, is counted too"),
        (logprobs[-prompt_length:].sum(), "that counts from the end: the last 3 tokens, however long the answer is"),
        (answer[:-1].sum(), "the last token is missing: the end mark belongs to the answer, or the policy never "
         "learns to stop"),
        (answer, "one number per token came back; the answer's log-probability is their sum"),
        (answer.mean(), "a mean is the log-probability per token; pi(y|x) is a product over tokens, its log a sum"),
        (prompt.sum(), "those are the prompt's tokens; the answer begins where they end"),
        (-answer.sum(), f"it gave {-answer.sum():.2f}, not {answer.sum():.2f}: log-probabilities are negative"),
    ]  # fmt: skip


EXERCISES["4.5"] = Exercise(
    answer_logprob,
    hints=("Entry t is about token t + 1.", "The first answer token stands at place prompt_length."),
    mistake=answer_logprob_mistake,
)

EXERCISES |= optimum.EXERCISES | noisy_labels.EXERCISES
EXERCISES = {key: EXERCISES[key] for key in sorted(EXERCISES)}
