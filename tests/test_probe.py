"""Heads on fixed features against the textbook's algorithm and another library's answer."""

import pytest
import torch

from rmtutorial.losses import bradley_terry_loss
from rmtutorial.probe import fit_head


def made(n=200, H=12, scale=1.0):
    """Features (n, 2, H) of answers, the chosen ones a little higher."""
    features = torch.randn(n, 2, H, generator=torch.Generator().manual_seed(0))
    features[:, 0] += 0.3
    return scale * features


def test_the_optimum_of_the_head_is_where_the_gradient_of_the_loss_is_zero():
    """Autograd on the package's own loss, which the fit does not use, finds nothing left to gain."""
    features = made()
    w = fit_head(features)[0].double().requires_grad_()
    D = (features[:, 0] - features[:, 1]).double()
    penalty = 64.0 * D.square().mean() / 2
    loss = len(D) * bradley_terry_loss(D @ w, torch.zeros(len(D), dtype=torch.float64)) + penalty * w.square().sum()
    loss.backward()
    assert w.grad.abs().max() < 1e-2 and features.std() > 0.5
    for other in (w * 1.02, w * 0.98, w + 0.01 * torch.randn(12, generator=torch.Generator().manual_seed(1))):
        there = len(D) * bradley_terry_loss(D @ other, torch.zeros(len(D), dtype=torch.float64))
        assert there + penalty * other.square().sum() > loss


def test_bradley_terry_on_features_is_logistic_regression_on_differences():
    """sum -log sigma(d . w) + l |w|^2 / 2: scikit-learn, asked without intercept, finds the same w to 1e-4.

    It wants two classes, so every difference stands there once as it is and once flipped, with half the weight.
    """
    linear_model = pytest.importorskip("sklearn.linear_model")  # optional: transformers would import it everywhere
    features = made()
    difference = (features[:, 0] - features[:, 1]).double()  # (B, H)
    rows = torch.cat([difference, -difference]).numpy()
    classes, weights = [1] * 200 + [0] * 200, [0.5] * 400
    C = 1 / (64.0 * difference.square().mean().item())
    theirs = linear_model.LogisticRegression(C=C, fit_intercept=False, tol=1e-10, max_iter=1000)
    theirs = torch.tensor(theirs.fit(rows, classes, sample_weight=weights).coef_[0])
    torch.testing.assert_close(fit_head(features)[0].double(), theirs, atol=1e-4, rtol=0)


def test_the_fit_does_not_depend_on_the_scale_of_the_features():
    """Ten times the features, a tenth of the weights: the same rewards. The penalty counts in their mean square."""
    small, large = (scale * fit_head(made(scale=scale))[0] for scale in (1.0, 10.0))
    torch.testing.assert_close(small, large, atol=1e-4, rtol=1e-3)


def test_every_iteration_is_recorded_and_none_raises_the_objective():
    """Training loss from ln 2 down, held-out loss at each step, and the end is the optimum."""
    features = made()
    w, history = fit_head(features[:150], held_out=features[150:])
    losses = [row["loss"] for row in history.steps]
    assert len(history.evaluations) == len(history.steps) + 1 < 12
    assert history.evaluations[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert history.evaluations[-1]["loss"] == pytest.approx(
        torch.nn.functional.softplus(-(features[150:, 0] - features[150:, 1]) @ w).mean().item(), abs=1e-5
    )
    assert losses[-1] < losses[0] < 0.6931


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan")])
def test_a_ridge_that_is_not_above_0_is_refused(ridge):
    """More features than pairs can tell any pairs apart, and then no finite w is the best."""
    with pytest.raises(ValueError, match="ridge"):
        fit_head(made(), ridge)


def test_pairs_whose_answers_look_the_same_are_refused():
    """The symptom of reading the prompt's end in both answers: no difference, nothing to fit."""
    features = made()
    features[:, 1] = features[:, 0]
    with pytest.raises(ValueError, match="is the right token read"):
        fit_head(features)
