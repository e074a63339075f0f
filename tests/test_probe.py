"""Heads on fixed features against another library's answer."""

import pytest
import torch

from rmtutorial.losses import bradley_terry_loss


def test_bradley_terry_on_features_is_logistic_regression_on_differences():
    """sum -log sigma(d . w) + |w|^2 / 2: scikit-learn, asked without intercept, finds the same w to 1e-4.

    It wants two classes, so every difference stands there once as it is and once flipped, with half the weight.
    """
    linear_model = pytest.importorskip("sklearn.linear_model")  # optional: transformers would import it everywhere
    features = torch.randn(200, 2, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    difference = features[:, 0] - features[:, 1] + 0.3  # (B, H)
    rows = torch.cat([difference, -difference]).numpy()
    classes, weights = [1] * 200 + [0] * 200, [0.5] * 400
    theirs = linear_model.LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=1000)
    theirs = torch.tensor(theirs.fit(rows, classes, sample_weight=weights).coef_[0])
    w = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def objective():
        optimizer.zero_grad()
        loss = 200 * bradley_terry_loss(difference @ w, torch.zeros(200, dtype=torch.float64)) + w.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(objective)
    torch.testing.assert_close(w.detach(), theirs, atol=1e-4, rtol=0)
