"""k1, k2, k3 under a shift, against closed forms; and how alike texts are."""

import pytest
import torch

from rmtutorial.lesson import shift
from rmtutorial.lesson.collapse import distinct_words, openers


@pytest.fixture
def gauss():
    """N(s, 1) against N(0, 1)."""
    s = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    return s, shift.estimators(*shift.gaussian(), s)


def test_both_divergences_of_shifted_gaussians_are_half_the_squared_shift(gauss):
    """KL = s^2/2 in either direction, with gradient s."""
    s, found = gauss
    for name in ("KL(pi, ref)", "KL(ref, pi)"):
        torch.testing.assert_close(found[name]["mean"], s**2 / 2)
        torch.testing.assert_close(found[name]["gradient"], s)


def test_moments_of_the_estimators_of_shifted_gaussians(gauss):
    """u ~ N(s^2/2, s^2): k2 has mean (s^2 + s^4/4)/2, k1 std s; k3 = r - 1 + u has std sqrt(e^{s^2} - 1 - s^2)."""
    s, found = gauss
    torch.testing.assert_close(found["k1"]["mean"], s**2 / 2)
    torch.testing.assert_close(found["k2"]["mean"], (s**2 + s**4 / 4) / 2)
    torch.testing.assert_close(found["k3"]["mean"], s**2 / 2)
    torch.testing.assert_close(found["k1"]["std"], s)
    torch.testing.assert_close(found["k3"]["std"], (torch.exp(s**2) - 1 - s**2).sqrt())


def test_as_losses_k1_has_no_gradient_k2_that_of_one_kl_and_k3_that_of_the_other():
    """E[grad log pi] = 0; E[u grad log pi] = grad KL(pi, ref); E[(1 - ref/pi) grad log pi] = grad KL(ref, pi)."""
    generator = torch.Generator().manual_seed(0)
    logits, direction = (2 * torch.randn(30, generator=generator) for _ in range(2))
    found = shift.estimators(logits, direction, [0.2, 0.7, 1.5])
    torch.testing.assert_close(found["k1"]["gradient"], torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(found["k2"]["gradient"], found["KL(pi, ref)"]["gradient"])
    torch.testing.assert_close(found["k3"]["gradient"], found["KL(ref, pi)"]["gradient"])
    assert (found["k2"]["gradient"] - found["k3"]["gradient"]).abs().min() > 0.05


def test_a_gradient_of_a_kl_is_the_slope_of_its_curve():
    """By central differences."""
    logits, direction, h = torch.randn(9), torch.randn(9), 1e-4
    for name in ("KL(pi, ref)", "KL(ref, pi)"):
        low, high = shift.estimators(logits, direction, [0.6 - h, 0.6 + h])[name]["mean"]
        slope = shift.estimators(logits, direction, [0.6])[name]["gradient"].item()
        assert (high - low).item() / (2 * h) == pytest.approx(slope, abs=1e-6)


def test_equal_openers_are_counted_without_case_and_short_texts_count_whole():
    """Two of five begin with 'here is a', three with 'sure,' alone."""
    texts = ["Here is a list", "here  is A poem", "Sure,", "sure,", "Sure,"]
    assert openers(texts, words=3) == (0.6, "sure,")
    assert openers(texts[:3], words=3) == (pytest.approx(2 / 3), "here is a")
    assert openers(texts) == (0.6, "sure,")


def test_distinct_words_is_a_share():
    """One word again and again: 1 of n; none twice: 1; nothing at all: 0."""
    assert distinct_words(["the the", "The the"]) == 0.25
    assert distinct_words(["one two", "three"]) == 1
    assert distinct_words(["", ""]) == 0
