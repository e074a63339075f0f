"""The family of preference losses: closed gradients, how they hang together, and TRL's own code where it is installed."""

import inspect
import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from rmtutorial.losses import cdpo_loss, dpo_loss, dpo_sft_loss, ipo_loss, rdpo_loss, simpo_loss

B = 5
TOKENS = torch.tensor([[3.0, 9.0], [12.0, 5.0], [7.0, 7.0], [1.0, 20.0], [15.0, 2.0]], dtype=torch.float64)


def logprobs(seed=0):
    """Policy chosen and rejected, which learn, reference chosen and rejected: (B,) each, in nats."""
    made = -40 * torch.rand(4, B, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return *(row.clone().requires_grad_() for row in made[:2]), *made[2:]


def difference(pc, pr, rc, rr):
    return (pc - rc) - (pr - rr)


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


# loss of the four log-probabilities; its gradient with respect to log pi(chosen) and log pi(rejected), times B
CASES = {
    "DPO": (dpo_loss, lambda d, logpi: 2 * (-0.1 * sigmoid(-0.1 * d),)),
    "IPO": (lambda *given: ipo_loss(*given, tau=0.25), lambda d, logpi: 2 * (2 * (d - 2),)),
    "cDPO": (lambda *given: cdpo_loss(*given, flipped=0.2), lambda d, logpi: 2 * (-0.1 * (sigmoid(-0.1 * d) - 0.2),)),
    "rDPO": (
        lambda *given: rdpo_loss(*given, flipped=0.2),
        lambda d, logpi: 2 * (-0.1 * (sigmoid(-0.1 * d) + 0.2 / 0.6),),
    ),
    "SimPO": (
        lambda pc, pr, rc, rr: simpo_loss(pc, pr, *TOKENS.T),
        lambda d, logpi: tuple(-2 * sigmoid(1 - 2 * (logpi / TOKENS.T).diff(dim=0)[0].neg()) / n for n in TOKENS.T),
    ),
    "DPO + SFT": (
        lambda *given: dpo_sft_loss(*given, TOKENS[:, 0], weight=0.5),
        lambda d, logpi: (-0.1 * sigmoid(-0.1 * d) - 0.5 / TOKENS[:, 0], -0.1 * sigmoid(-0.1 * d)),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_have_their_closed_forms(name, seed):
    """Each is a push up on log pi(chosen) and a push down on log pi(rejected), of equal size but for SimPO and SFT.

    DPO beta sigmoid(-m); IPO 2 (1 / 2 tau - d); cDPO beta (sigmoid(-m) - e); rDPO beta (sigmoid(-m) + e / (1 - 2 e));
    SimPO beta sigmoid(-m) / |y| of each answer; the SFT term adds weight / |y+| to the chosen answer alone.
    """
    loss, closed = CASES[name]
    given = logprobs(seed)
    loss(*given).backward()
    d = difference(*given).detach()
    up, down = closed(d, torch.stack(given[:2]).detach())
    torch.testing.assert_close(given[0].grad, up / B)
    torch.testing.assert_close(given[1].grad, -down / B)


@pytest.mark.parametrize("e", [0.0, 0.1, 0.4])
def test_cdpo_and_rdpo_add_one_linear_term_with_opposite_signs(e):
    """l(-m) = l(m) + m, hence (1 - e) l(m) + e l(-m) = l(m) + e m, and ((1 - e) l(m) - e l(-m)) / (1 - 2 e) = l(m) - e/(1-2e) m."""
    given = logprobs()
    m = 0.3 * difference(*given).mean()
    dpo = dpo_loss(*given, beta=0.3)
    torch.testing.assert_close(cdpo_loss(*given, beta=0.3, flipped=e), dpo + e * m)
    torch.testing.assert_close(rdpo_loss(*given, beta=0.3, flipped=e), dpo - e / (1 - 2 * e) * m)


def test_cdpo_holds_the_margin_where_rdpo_has_no_floor():
    """cDPO is least at m = log((1 - e) / e), 2.197 for e = 0.1; rDPO has none: -e / (1 - 2 e) m far out."""
    zero = torch.zeros(1, dtype=torch.float64)

    def at(loss, m):
        return loss(zero + m, zero, zero, zero, beta=1.0, flipped=0.1).item()

    best = math.log(0.9 / 0.1)
    assert at(cdpo_loss, best) < min(at(cdpo_loss, best - 0.01), at(cdpo_loss, best + 0.01))
    assert at(rdpo_loss, 30.0) == pytest.approx(-0.1 / 0.8 * 30)


def test_rdpo_is_unbiased_where_labels_are_flipped():
    """With a share e of the pairs exchanged, the mean of rDPO's loss is DPO's loss of the right labels."""
    pc, pr, rc, rr = logprobs()
    as_given, exchanged = rdpo_loss(pc, pr, rc, rr, flipped=0.2), rdpo_loss(pr, pc, rr, rc, flipped=0.2)
    torch.testing.assert_close(0.8 * as_given + 0.2 * exchanged, dpo_loss(pc, pr, rc, rr))


def test_ipo_is_least_at_its_goal_and_pulls_back_beyond():
    """d = 1 / (2 tau): loss 0; DPO would go on for ever."""
    zero = torch.zeros(1)
    assert ipo_loss(zero + 5, zero, zero, zero, tau=0.1) == 0
    assert ipo_loss(zero + 6, zero, zero, zero, tau=0.1) == ipo_loss(zero + 4, zero, zero, zero, tau=0.1) == 1


def test_simpo_sees_no_reference_and_no_length():
    """Twice the tokens at the same log-probability per token is the same answer to it; gamma is what it asks beyond a tie."""
    n, per_token = torch.tensor([4.0]), torch.tensor([-1.5])
    loss = simpo_loss(per_token * n, per_token * 2 * n, n, 2 * n, gamma=1.0)
    assert loss.item() == pytest.approx(math.log(1 + math.e))
    assert "ref_chosen" not in inspect.signature(simpo_loss).parameters


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda *g: ipo_loss(*g, tau=0), "tau=0: must be above 0"),
        (lambda *g: cdpo_loss(*g, flipped=0.5), "flipped=0.5: a share"),
        (lambda *g: rdpo_loss(*g, flipped=-0.1), "flipped=-0.1: a share"),
        (lambda *g: simpo_loss(*g, beta=-1), "beta=-1: must be above 0"),
        (lambda *g: ipo_loss(g[0][:, None], *g[1:]), "must have one shape"),
        (lambda *g: dpo_sft_loss(*g, tokens_chosen=g[0][:2]), "must have one shape"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    """Broadcasting, or a negative beta, would give a plausible wrong number."""
    with pytest.raises(ValueError, match=message):
        wrong(*logprobs())


# TRL's own code, where it is installed.


class TRLLoss:
    """`DPOTrainer._compute_loss` on given log-probabilities: a trainer of attributes, a model of one forward pass."""

    def __init__(self, given, tokens, **settings):
        longest = int(tokens.max())
        chosen_then_rejected = tokens.T.flatten()
        self.mask = torch.cat(  # one prompt token, then the answer
            [torch.zeros(2 * B, 1), (torch.arange(longest) < chosen_then_rejected[:, None]).float()], dim=1
        ).long()
        self.policy = (torch.cat(given[:2]) / chosen_then_rejected)[:, None] * self.mask[:, 1:]
        self.ref = given[2:]
        self.trainer = SimpleNamespace(
            model=SimpleNamespace(training=True),
            accelerator=SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x),
            aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl",
            use_weighting=False, loss_weights=settings.pop("loss_weights", [1.0]), _total_train_tokens=0, _tp_size=1,
            _metrics=defaultdict(lambda: defaultdict(list)), **{"label_smoothing": 0.0, **settings},
        )  # fmt: skip

    def __call__(self):
        from trl import DPOTrainer

        shape = self.policy.shape
        seen = SimpleNamespace(
            log_probs=self.policy, entropy=torch.zeros(shape), mean_logits=torch.zeros(shape),
            is_top1=torch.zeros(shape, dtype=torch.bool),
        )  # fmt: skip
        inputs = {"input_ids": torch.ones_like(self.mask), "attention_mask": torch.ones_like(self.mask),
                  "completion_mask": self.mask, "ref_chosen_logps": self.ref[0], "ref_rejected_logps": self.ref[1]}  # fmt: skip
        return DPOTrainer._compute_loss(self.trainer, lambda **_: seen, inputs, return_outputs=False)


def per_token(given, tokens):
    return [column / n for column, n in zip(given, (*tokens.T, *tokens.T))]


ALIKE = torch.full((B, 2), 6.0, dtype=torch.float64)
IN_TRL = {
    "DPO": (lambda g, n: dpo_loss(*g, beta=0.2), TOKENS, {"loss_types": ["sigmoid"]}),
    "IPO, per token": (lambda g, n: ipo_loss(*per_token(g, n), tau=0.2), TOKENS, {"loss_types": ["ipo"]}),
    "rDPO": (lambda g, n: rdpo_loss(*g, beta=0.2, flipped=0.1), TOKENS, {"loss_types": ["robust"], "label_smoothing": 0.1}),
    "DPO + SFT, equally long": (
        lambda g, n: dpo_sft_loss(*g, n[:, 0], beta=0.2, weight=0.5), ALIKE, {"loss_types": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_TRL)
def test_ours_is_trls_loss_and_gradient(name):
    """The same number and the same gradient as `DPOTrainer` computes from the same log-probabilities (needs trl)."""
    pytest.importorskip("trl")
    ours, tokens, settings = IN_TRL[name]
    given = logprobs()
    theirs = TRLLoss(given, tokens, beta=0.2, **settings)()
    mine = ours(given, tokens)
    torch.testing.assert_close(mine, theirs)
    for a, b in zip(torch.autograd.grad(mine, given[:2]), torch.autograd.grad(theirs, given[:2])):
        torch.testing.assert_close(a, b)


def test_trls_sigmoid_has_no_label_smoothing_but_aot_of_one_pair_is_cdpo():
    """In TRL 1.16 label_smoothing changes "sigmoid" in nothing; "aot" sorts the batch, and one pair is sorted."""
    pytest.importorskip("trl")
    given, tokens = logprobs(), TOKENS
    plain, smoothed = (
        TRLLoss(given, tokens, beta=0.2, loss_types=["sigmoid"], label_smoothing=e)() for e in (0.0, 0.1)
    )
    assert plain == smoothed
    each = []
    for i in range(B):
        one = [column[i].repeat(B) for column in given]  # B times the same pair
        each.append(TRLLoss(one, tokens[i].repeat(B, 1), beta=0.2, loss_types=["aot"], label_smoothing=0.1)())
    torch.testing.assert_close(torch.stack(each).mean(), cdpo_loss(*given, beta=0.2, flipped=0.1))


def test_ours_is_trls_simpo():
    """`CPOTrainer.cpo_loss` with loss_type="simpo" takes log-probabilities per token (needs trl)."""
    pytest.importorskip("trl")
    from trl.experimental.cpo import CPOTrainer

    given = logprobs()
    trainer = SimpleNamespace(
        alpha=0.0, accelerator=SimpleNamespace(device="cpu"), loss_type="simpo", simpo_gamma=0.7, beta=1.5,
        label_smoothing=0.0,
    )  # fmt: skip
    theirs = CPOTrainer.cpo_loss(trainer, *(column / n for column, n in zip(given, TOKENS.T)))[0].mean()
    torch.testing.assert_close(simpo_loss(*given[:2], *TOKENS.T, beta=1.5, gamma=0.7), theirs)
