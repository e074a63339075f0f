"""Best of n on one pool of samples: what the sample that a proxy likes best is worth to another judge.

Letters: P prompts, N samples a prompt, n of best of n, K values of n. The proxy chooses, gold (any judge) is only
asked what it thinks of the choice. Nothing here needs a model: scores go in, numbers come out, in float64.
"""

import torch

from rmtutorial.intervals import grouped_intervals


def best_of_n_weights(scores, n):
    """How often each sample is the best of n, drawn from its N without replacement: the unbiased estimator's weights.

    In ascending order sample i of N is the best of C(i-1, n-1) of the C(N, n) subsets. These numbers are far too large
    for floats, their ratio is not: F(k) = C(k, n) / C(N, n), the chance that all n are among the k lowest, falls by the
    factor (k - n) / k from k to k - 1, from F(N) = 1. Samples of equal score share what they have together.

    Drawing with replacement instead (a bootstrap) is biased low: a draw that comes twice leaves n - 1 to choose from.

    Args: scores (N,) or (P, N); n, 1 to N.
    Returns: weights of the shape of scores, float64; each row sums to 1.
    Raises: ValueError for an n that the pool does not hold, and for scores that are nan or infinite.
    """
    return _weights(*_places(scores), n)


def best_of_n(proxy, gold, ns):
    """Expected gold score of the sample that the proxy likes best among n, for each n of `ns`; unbiased for every n.

    Args: proxy, gold (P, N), of the same samples; ns, K numbers from 1 to N. With n = 1 it is the mean of gold.
    Returns: (P, K) float64, in gold's unit. With gold = proxy it is what the proxy thinks of its own choice.
    Raises: ValueError as best_of_n_weights, and for scores of other samples.
    """
    if proxy.shape != gold.shape or proxy.ndim != 2:
        raise ValueError(
            f"proxy {tuple(proxy.shape)}, gold {tuple(gold.shape)}: both must be (P, N), of the same samples"
        )
    places, gold = _places(proxy), finite(gold)
    return torch.stack([(_weights(*places, n) * gold).sum(1) for n in ns], dim=1)


def within_prompt_spread(scores):
    """The unit of a gain: the root of the mean, over prompts, of the variance within each (with N - 1); (P, N) -> float.

    What differs between prompts stays out: a Bradley-Terry model leaves an offset per prompt open.
    Raises: ValueError where no prompt has two samples that differ.
    """
    scores = finite(scores)
    spread = scores.var(dim=1).mean().sqrt().item() if scores.shape[1] > 1 else 0.0
    if spread == 0:
        raise ValueError(
            f"all samples of each of {len(scores)} prompts have one score: no spread, so no unit for a gain"
        )
    return spread


def gains(proxy, gold, ns):
    """What best of n by `proxy` gains over a sample at random, by `gold`, in within-prompt spreads of gold: (P, K).

    The mean of gold over the pool, n = 1, is taken off prompt by prompt, so an offset per prompt changes nothing. The
    spread is one number for all prompts; intervals over prompts take it as known.
    """
    return (best_of_n(proxy, gold, ns) - gold.double().mean(dim=1, keepdim=True)) / within_prompt_spread(gold)


def mean_with_interval(values):
    """Mean over prompts of values (P, K) and its 95 % interval, by a bootstrap over prompts: three tensors (K,)."""
    return values.double().mean(dim=0), *grouped_intervals(values, range(len(values)))


def text_labels(texts):
    """Numbers for texts, the same for equal ones: P lists of N str -> (P, N) int64."""
    if len({len(row) for row in texts}) > 1:
        raise ValueError(f"{sorted({len(row) for row in texts})} samples a prompt: a pool has the same number for each")
    return torch.stack([_numbered(row) for row in texts])


def one_score_per_text(scores, labels):
    """Scores (P, N) with one number for equal texts of a prompt, the mean; labels (P, N) as `text_labels` gives them.

    Texts that are scored in other batches differ in the last bits, and would no longer be ties.
    Raises: ValueError where equal texts differ by more than a twentieth of the prompt's standard deviation: such a
        judge reads something else than the text (dropout, padding).
    """
    scores, found = finite(scores), torch.empty_like(scores, dtype=torch.float64)
    for p, (row, of) in enumerate(zip(scores, labels)):
        names, index = of.unique(return_inverse=True)
        sums = torch.zeros(len(names), dtype=torch.float64).index_add(0, index, row)
        found[p] = (sums / index.bincount())[index]
        i = (found[p] - row).abs().argmax()  # whose text is scored most differently elsewhere
        if (found[p, i] - row[i]).abs() > 0.05 * row.std():
            raise ValueError(
                f"prompt {p}, sample {i}: scored {row[i]:.4g}, its text elsewhere {found[p, i]:.4g} on average; "
                "score each text once, in eval mode"
            )
    return found


def finite(scores):
    """Scores as float64. Raises: ValueError where one is nan or infinite, with its place."""
    scores = torch.as_tensor(scores).double()
    if len(bad := (~scores.isfinite()).nonzero()):
        raise ValueError(f"the score at {bad[0].tolist()} is {scores[tuple(bad[0])]}; {len(bad)} are nan or infinite")
    return scores


def _places(scores):
    """(how many score lower, how many lower or the same) for each sample; (..., N) -> two of that shape, int64."""
    scores = finite(scores).contiguous()
    ascending = scores.sort(dim=-1).values
    return tuple(torch.searchsorted(ascending, scores, right=right) for right in (False, True))


def _weights(lower, upto, n):
    N = lower.shape[-1]
    if not 1 <= n <= N:
        raise ValueError(
            f"n={n}: the pool has {N} samples a prompt, so n goes from 1 to {N}; sample more for a larger n"
        )
    k = torch.arange(N, 0, -1, dtype=torch.float64)
    falling = ((k - n) / k).clamp(min=0).cumprod(0)  # F(N-1), F(N-2), ..., F(0)
    F = torch.cat([falling.flip(0), torch.ones(1, dtype=torch.float64)])  # (N + 1,), F[k]
    return (F[upto] - F[lower]) / (upto - lower)


def _numbered(row):
    number = {text: i for i, text in enumerate(dict.fromkeys(row))}
    return torch.tensor([number[text] for text in row])
