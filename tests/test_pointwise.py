"""How exact the vector functions are: against NumPy in float64, over the whole range."""

import numpy as np
import pytest

from autollm import Param, gelu, relu, sigmoid, tanh


def every_size():
    """Small, middling and huge numbers of both signs, and 0."""
    magnitudes = np.concatenate([np.logspace(-30, 30, 4_001), np.linspace(1e-3, 100, 100_000)])
    return np.concatenate([-magnitudes, [0.0], magnitudes]).astype(np.float32)[None]


@pytest.mark.parametrize(
    ("brick", "reference"),
    [(tanh, np.tanh), (sigmoid, lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))))],
)
def test_switches_are_exact_to_2_in_ten_million(brick, reference):
    x = every_size()
    assert np.abs(brick(Param(x)).v - reference(x.astype(np.float64))).max() < 2e-7


def test_gelu_is_exact_to_3_in_ten_million_of_its_argument():
    x = every_size()
    x = x[np.abs(x) < 1e12][None]  # where x**3 is a float32
    wide = x.astype(np.float64)
    expected = 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    assert (np.abs(gelu(Param(x)).v - expected) <= 3e-7 * np.abs(wide)).all()


@pytest.mark.parametrize("brick", [tanh, sigmoid, gelu, relu])
def test_a_nan_stays_a_nan(brick):
    """A diverged training must be seen, not smoothed over."""
    out = brick(Param([[1.0, np.nan, -1.0]])).v
    assert np.isnan(out).tolist() == [[False, True, False]]
