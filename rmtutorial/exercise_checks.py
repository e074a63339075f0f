"""What the answers to exercises are checked against, and which mistake each failure is."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch


class NotTried(Exception):
    """The stub came back as it was handed out."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: its reference in `solutions`, its hints, and a function that names the mistake or returns None."""

    solution: str
    hints: tuple
    mistake: Callable


def tried(function, *arguments):
    """The learner's answer; a stub gives None."""
    answer = function(*arguments)
    if answer is None or answer is ...:
        raise NotTried
    return answer


def same(answer, expected, tolerance=1e-6):
    """Tensors or numbers that agree in shape and value."""
    answer, expected = torch.as_tensor(answer), torch.as_tensor(expected)
    return answer.shape == expected.shape and torch.allclose(answer.double(), expected.double(), atol=tolerance)


def join(function):
    whole = [5, 6, 0, 7, 8, 9]
    got = tried(function, [5, 6], 0, [7, 8, 9], 10)
    if not isinstance(got, list):
        return f"it gave a {type(got).__name__}; return a list of ids"
    if got == [5, 6, 7, 8, 9]:
        return "the separator is missing: without EOS between them, prompt and response run together"
    if got == [5, 6, 7, 8, 9, 0]:
        return "EOS stands at the end; it is the separator, between prompt and response"
    if got != whole:
        return f"for prompt [5, 6], EOS 0 and response [7, 8, 9] it gave {got}, not {whole}"
    cut = {length: tried(function, [5, 6], 0, [7, 8, 9], length) for length in (5, 4, 2, 3)}
    if cut[5] == whole[:5]:
        return "what is too long lost its right end, and with it the end of the answer; cut from the left"
    if cut[5] == [5, 0, 7, 8, 9]:
        return "cut to 5 tokens it gave [5, 0, 7, 8, 9]: the wrong end of the prompt went; drop what stands first"
    if len(cut[2]) > 2:
        return f"cut to 2 tokens it gave {cut[2]}: when the answer itself is too long, its left end has to go too"
    if len(cut[3]) > 3:
        return f"for max_length 3 it gave {len(cut[3])} ids, {cut[3]}; beware of ids[-0:], which is all of them"
    for length, ids in cut.items():
        if ids != whole[-length:]:
            return f"cut to {length} tokens it gave {ids}, not {whole[-length:]}"
    return None


def mean_pool(function):
    hidden = torch.arange(21.0).reshape(7, 3)  # (T, H), so long that no wrong end is the right one by accident
    got = tried(function, hidden, 2)
    if same(got, hidden.mean(0)):
        return "it averages the prompt's tokens too; only the last n_response belong to the answer"
    if same(got, hidden[-1]):
        return "that is the last token alone; average over all n_response tokens"
    if same(got, hidden.mean()) or same(got, hidden[-2:].mean(1)):
        return "the mean runs over the wrong thing: over tokens (dim=0), of the answer only, and what is left is (H,)"
    if same(got, hidden[-2:].mean()):
        return "it averages over the hidden size as well; the mean runs over tokens only (dim=0)"
    if same(got, hidden[2:].mean(0)):
        return "`hidden[n_response:]` starts after n_response tokens; the last n_response are `hidden[-n_response:]`"
    if same(got, hidden[-3:].mean(0)):
        return "one token too many: the separator before the answer does not count"
    if not same(got, expected := hidden[-2:].mean(0)):
        got, shapes = torch.as_tensor(got), [tuple(torch.as_tensor(x).shape) for x in (got, expected)]
        shown = f"{got.tolist()} of shape {shapes[0]}, not {expected.tolist()} of shape {shapes[1]}"
        return f"for states {hidden.tolist()} and 2 response tokens it gave {shown}"
    return None


def last_token(function):
    right, left = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]), torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]])
    got = tried(function, right)
    if same(got, [3, 3]):
        return "with padding on the right that is the last position, padding or not; find the last 1 of the mask"
    if same(got, [3, 4]):
        return "one too far: that is how many real tokens there are, and positions count from 0"
    if not same(got, [2, 3]):
        return f"for the mask {right.tolist()} it gave {torch.as_tensor(got).tolist()}, not [2, 3]"
    got = tried(function, left)
    if same(got, [2, 1]):
        return "right for padding on the right, silently wrong on the left: sum - 1 counts tokens, and they start later there"
    if torch.as_tensor(got).is_floating_point():
        return f"the values are right, their type is {torch.as_tensor(got).dtype}: positions are indices, so integers"
    if not same(got, [3, 3]):
        return f"for padding on the left, {left.tolist()}, it gave {torch.as_tensor(got).tolist()}, not [3, 3]"
    return None


def parameters_after_swap(function):
    tied, untied = tried(function, 1000, 50, 4, True), tried(function, 1000, 50, 4, False)
    if (tied, untied) == (800, 800):
        return "two things: a tied LM head is the embedding matrix and stays, and the reward head has `hidden` weights"
    if tied == 1000 - 200 + 4:
        return "a tied LM head is the embedding matrix itself: taking the head away removes no parameter"
    if untied == 1000 + 4:
        return "an LM head of its own has vocabulary x hidden parameters, and they go"
    if (tied, untied) in ((1000, 800), (1005, 805)):
        return "the reward head has `hidden` parameters: one weight for each number of the state, no bias"
    if (tied, untied) != (1004, 804):
        return f"of 1000 parameters, vocabulary 50, hidden 4, it leaves {tied} (tied) and {untied} (not tied)"
    return None


def ranking_to_pairs(function):
    answers = ["a", "b", "c", "d"]
    got = [tuple(pair) for pair in tried(function, answers)]
    if len(answers) != 4:
        return "it changes the list that it is given, which the caller still needs; work on a copy"
    if len(got) == 3:
        return "only neighbors are compared; a ranking of K answers says K (K - 1) / 2 things, here 6"
    if len(got) == 12:
        return "every pair stands there twice, once with the worse answer first"
    if set(got) == {(b, a) for a, b in SIX}:
        return "the worse answer stands first; a pair is (better, worse)"
    if sorted(got) != sorted(SIX):
        return f"for answers a, b, c, d, best first, it gave {got}"
    three = sorted(tuple(pair) for pair in tried(function, [1, 2, 3]))
    if three != [(1, 2), (1, 3), (2, 3)]:
        return f"right for four answers; for the answers 1, 2, 3 it gave {three}"
    return None


SIX = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]


def split_by_prompt(function):
    pairs = [SimpleNamespace(prompt=f"p{i // 4}", chosen=f"c{i}", rejected="r") for i in range(80)]  # 20 prompts
    before = list(pairs)
    train, held_out = tried(function, pairs, 0.25, 0)
    if pairs != before:
        return "it changes the order of the list that it is given; the caller still needs that, so shuffle a copy"
    shared = {p.prompt for p in train} & {p.prompt for p in held_out}
    if shared:
        return (
            f"{len(shared)} of 20 prompts stand on both sides, as a split by rows makes them: the leak of this chapter"
        )
    if len(train) + len(held_out) != len(pairs):
        return f"{len(pairs)} pairs went in and {len(train) + len(held_out)} came out"
    if len(held_out) > len(train):
        return "the sides are exchanged: `share` is held out, and (train, held_out) is the order"
    if len(held_out) != 20:
        return f"a quarter of 80 pairs (4 a prompt) is 20; {len(held_out)} are held out"
    if [p.prompt for p in tried(function, pairs, 0.25, 0)[1]] != [p.prompt for p in held_out]:
        return "the same seed gave two different splits; draw from random.Random(seed)"
    others = [[p.prompt for p in tried(function, pairs, 0.25, seed)[1]] for seed in (1, 2, 3)]
    if all(other == [p.prompt for p in held_out] for other in others):
        return "the seed changes nothing: always the same prompts are held out"
    return None


def measured_accuracy(function):
    got = tried(function, 0.9, 0.2)
    if same(got, 0.9 - 0.2):
        return "subtracting counts every flipped label as an error; where the model was wrong, a flipped label makes it right"
    if same(got, 0.9 * 0.8):
        return "one half of the story: it can also be wrong on a flipped label, and then it is counted right"
    if same(got, 0.8):
        return "that is the most a perfect model reaches; this one is right in 0.9"
    if not same(got, 0.74):
        return f"for a true accuracy of 0.9 and 0.2 of the labels flipped it gave {got}, not 0.74"
    if not same(tried(function, 1.0, 0.5), 0.5):
        return "with half of the labels flipped, any model measures 0.5"
    if not same(got := tried(function, 0.65, 0.118), 0.6146):
        return f"for a true accuracy of 0.65 and 0.118 of the labels flipped it gave {got}, not 0.6146; do not round"
    return None


def bt_loss(function):
    chosen, rejected = torch.tensor([2.0, 0.5, -1.0], requires_grad=True), torch.tensor([0.0, 0.5, 0.0])
    expected = torch.nn.functional.softplus(rejected - chosen)
    got = tried(function, chosen, rejected)
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} has no gradient; return the scalar tensor, without .item() or NumPy"
    if not got.requires_grad:
        return "the loss has lost its gradient, so nothing could learn from it; leave out .detach() and no_grad"
    if same(got, expected):
        return "one loss for each pair came back; the loss of the batch is their mean"
    if same(got, expected.sum()):
        return "that is the sum; with a mean, the size of a step does not depend on the batch size"
    if same(got, torch.nn.functional.softplus(chosen - rejected).mean()):
        return "the sign of the margin is flipped: it would teach the model to prefer the rejected answer"
    if same(got, -expected.mean()):
        return "a minus is missing: it is the log-likelihood, and minimizing it makes the model worse"
    if not same(got, expected.mean()):
        return f"for margins 2, 0, -1 it gave {float(torch.as_tensor(got).mean()):.4f}, not {expected.mean():.4f}"
    extreme = (
        tried(function, torch.tensor([-90.0]), torch.tensor([0.0])),
        tried(function, torch.tensor([-200.0]), torch.tensor([0.0])),
    )
    if not all(torch.isfinite(torch.as_tensor(x)) for x in extreme) or not same(extreme[0], 90.0, 1e-3):
        return f"it is wrong far out: at a margin of -90 it gives {float(extreme[0]):.2f}, at -200 {float(extreme[1]):.2f}; log(sigmoid(x)) needs the stable form"
    return None


def bt_gradient(function):
    chosen, rejected = torch.tensor([2.0, 0.5, -1.0], requires_grad=True), torch.tensor([0.0, 0.5, 1.0])
    (expected,) = torch.autograd.grad(torch.nn.functional.softplus(rejected - chosen).mean(), chosen)
    got = tried(function, chosen.detach(), rejected)
    if not isinstance(got, torch.Tensor):
        return f"a {type(got).__name__} came back; return a tensor (B,), one number for each chosen reward"
    if got.ndim == 0:
        return "one number came back; each chosen reward has a gradient of its own, so return (B,)"
    if same(got, -expected):
        return "the sign: raising the chosen reward lowers the loss, so this gradient is negative"
    if same(got, expected * 3):
        return "the loss is a mean over B pairs, so each gradient is divided by B"
    if same(got, -torch.sigmoid(chosen.detach() - rejected) / 3):
        return "sigma(+margin) is large where the pair is ranked right; the push must be large where it is wrong"
    if not same(got, expected):
        return f"autograd gives {[round(x, 4) for x in expected.tolist()]}, it gave {[round(x, 4) for x in got.flatten().tolist()]}"
    return None


def accuracy_with_ties(function):
    chosen, rejected = torch.tensor([1.0, 2.0, 0.0, 3.0]), torch.tensor([0.0, 3.0, 0.0, 1.0])  # 2 right, 1 tie
    got = float(tried(function, chosen, rejected))
    if same(got, 0.5):
        return "ties count as wrong: an untrained model, all zeros, would measure 0 and not 0.5"
    if same(got, 0.75):
        return "ties count as right: an untrained model, all zeros, would measure 1 and not 0.5"
    if same(got, 2 / 3):
        return "ties are left out of the count: an untrained model, all zeros, would measure 0 / 0 and not 0.5"
    if same(got, 2.5):
        return "that is how many are right; divide by the number of pairs"
    if not same(got, 0.625):
        return f"two right, one wrong, one tie: it gave {got}, not 0.625"
    return None


def my_dpo(function):
    chosen, rejected = torch.tensor([-10.0, -30.0]), torch.tensor([-14.0, -25.0])
    ref_chosen, ref_rejected = torch.tensor([-12.0, -29.0]), torch.tensor([-15.0, -27.0])
    loss = lambda margin: torch.nn.functional.softplus(-margin).mean()  # noqa: E731
    inputs = [chosen.requires_grad_(), rejected.requires_grad_()]
    got = tried(function, *inputs, ref_chosen, ref_rejected, 0.5)
    chosen, rejected = chosen.detach(), rejected.detach()
    ratios = (chosen - ref_chosen) - (rejected - ref_rejected)
    if same(got, loss(0.5 * (chosen - rejected))):
        return "the reference is missing: only how far the policy has moved from it is a reward"
    if same(got, loss(ratios)):
        return "beta is missing: the implicit reward is beta times the log-ratio"
    if same(got, 0.5 * loss(ratios)):
        return "beta stands in front of the loss; it belongs inside, in front of each log-ratio"
    if same(got, loss(0.5 * ((chosen - ref_rejected) - (rejected - ref_chosen)))):
        return "each answer has a reference of its own: the references of chosen and rejected are crossed"
    if same(got, loss(ratios / 0.5)):
        return "beta multiplies the log-ratio; this divides by it"
    if same(got, loss(-0.5 * ratios)):
        return "chosen and rejected, or policy and reference, are exchanged: this loss falls when the policy gets worse"
    if same(got, torch.nn.functional.softplus(-0.5 * ratios)) or same(got, 2 * loss(0.5 * ratios)):
        return "the loss of a batch is the mean over its pairs"
    if same(got, -loss(0.5 * ratios)):
        return "a minus is missing: it is the log-likelihood, and minimizing it makes the policy worse"
    if same(got, loss(0.5 * ratios)):
        cut = not torch.is_tensor(got) or not got.requires_grad
        if cut or None in torch.autograd.grad(got, inputs, allow_unused=True):
            return "the number is right, but its gradient is cut off: no .item(), .detach() or no_grad on the policy's side"
        return None
    return f"with beta 0.5 and margins of {(0.5 * ratios).tolist()} it gave {torch.as_tensor(got).tolist()}, not {loss(0.5 * ratios):.4f}"


def parts_reached(function):
    rm, dpo = set(tried(function, "RM")), set(tried(function, "DPO"))
    known = {"embeddings", "blocks", "LM head", "reward head", "reference"}
    if unknown := (rm | dpo) - known:
        return f"{sorted(unknown)} is no part; choose from {sorted(known)}"
    if "reference" in dpo:
        return "the reference is frozen: it stands in the loss, but as a constant"
    if "LM head" in rm:
        return "a reward model computes no logits: the tied matrix is still there, but as the embeddings alone"
    if "reward head" in dpo:
        return "DPO has no reward head: its reward is made of log-probabilities"
    if "blocks" not in rm:
        return "the reward head is not all: its gradient flows on into the backbone, unless that is frozen"
    if "embeddings" not in dpo or "LM head" not in dpo:
        return (
            "DPO reads log-probabilities, so its gradient enters at the LM head; and here that matrix is the embeddings"
        )
    if (rm, dpo) != ({"embeddings", "blocks", "reward head"}, {"embeddings", "blocks", "LM head"}):
        return f"it gave {sorted(rm)} for RM and {sorted(dpo)} for DPO: a part is missing"
    return None


def answer_logprob(function):
    token_logprobs = -(2.0 ** torch.arange(7))  # of tokens 1 to 7: powers of two, so no two slices have the same sum
    prompt, answer = token_logprobs[:2], token_logprobs[2:]  # of 3 prompt tokens the first is not predicted
    got = tried(function, token_logprobs, 3)
    if same(got, token_logprobs.sum()):
        return "that is log pi(x, y): the prompt's tokens are summed too"
    if same(got, token_logprobs[3:].sum()) or same(got, token_logprobs[3:].mean()):
        return "one token late: the first answer token, at place 3, is predicted at place 2"
    if same(got, token_logprobs[1:].sum()):
        return "one token early: the last prompt token, at place 2, is counted too"
    if same(got, token_logprobs[-3:].sum()):
        return "that counts from the end: the last 3 tokens, however long the answer is"
    if same(got, answer[:-1].sum()):
        return "the last token is missing: the end mark belongs to the answer, or the policy never learns to stop"
    if same(got, answer):
        return "one number per token came back; the answer's log-probability is their sum"
    if same(got, answer.mean()):
        return "a mean is the log-probability per token; pi(y|x) is a product over tokens, so its log is a sum"
    if same(got, prompt.sum()):
        return "those are the prompt's tokens; the answer begins where they end"
    if not same(got, answer.sum()):
        found = torch.as_tensor(got).tolist()
        return f"for {token_logprobs.tolist()} and 3 prompt tokens it gave {found}, not {answer.sum():.0f}"
    return None


EXERCISES = {
    "0.1": Exercise("join", ("Lists are joined with +.", "What is too long loses its left end: ids[-max_length:]."), join),
    "0.2": Exercise("mean_pool", ("hidden[-n_response:] are the states of the answer.", "The mean runs over dim=0."), mean_pool),
    "1.1": Exercise("last_token", ("Which position is the last one whose mask is 1?", "torch.arange(T) * mask is 0 on padding; argmax."), last_token),
    "1.2": Exercise("parameters_after_swap", ("What is removed if the head shares its matrix with the embeddings?", "The new head has `hidden` weights."), parameters_after_swap),
    "2.1": Exercise("ranking_to_pairs", ("Every answer beats all that stand behind it.", "itertools.combinations keeps the order."), ranking_to_pairs),
    "2.2": Exercise("split_by_prompt", ("Shuffle prompts, not pairs: sorted({pair.prompt for pair in pairs}), by random.Random(seed).", "Put the held-out prompts into a set; a pair is held out if its prompt is in it."), split_by_prompt),
    "2.3": Exercise("measured_accuracy", ("Two ways to be counted right: right and not flipped, or ...", "... wrong and flipped."), measured_accuracy),
    "3.1": Exercise("bt_loss", ("The margin is r_chosen - r_rejected.", "F.logsigmoid is the stable form."), bt_loss),
    "3.2": Exercise("bt_gradient", ("The derivative of -log sigma(d) in d is -sigma(-d).", "The mean over B pairs divides by B."), bt_gradient),
    "3.3": Exercise("accuracy_with_ties", ("> gives right, == gives a tie.", "0.5 for each tie."), accuracy_with_ties),
    "4.1": Exercise("my_dpo", ("The implicit reward is beta * (policy - reference).", "bradley_terry_loss takes the two implicit rewards."), my_dpo),
    "4.2": Exercise("parts_reached", ("Follow the loss backwards: through which matrices did its numbers come?", "Tied: one matrix, two names."), parts_reached),
    "4.3": Exercise("answer_logprob", ("Entry t is about token t + 1.", "The first answer token stands at place prompt_length."), answer_logprob),
}  # fmt: skip
