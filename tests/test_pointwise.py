"""How exact the vector functions are: against NumPy in float64, over the whole range."""

import os
import platform

import numba
import numpy as np
import pytest
from commands import python

from autollm import Param, gelu, relu, sigmoid, tanh
from autollm.kernels.kernel import kernel
from autollm.kernels.simd import LANES, exp, load_first, store_first

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="in plain Python they are NumPy's")


def every_size():
    """Small, middling and huge numbers of both signs, and 0."""
    magnitudes = np.concatenate([np.logspace(-37, 38, 4_001), np.linspace(1e-3, 100, 100_000)])
    return np.concatenate([-magnitudes, [0.0], magnitudes]).astype(np.float32)[None]


# --- e**x ------------------------------------------------------------------------------------------


@kernel("x (N), out (N)")
def powers(x, out):
    for i in range(0, x.size, LANES):
        store_first(exp(load_first(x, i, x.size - i)), out, i, x.size - i)


def power(x):
    out = np.empty(len(x), np.float32)
    powers(np.array(x, np.float32), out)
    return out


def test_the_relative_error_of_exp():
    """From where its values begin to have all their digits, to the largest argument it takes."""
    x = np.linspace(-87.3, 88, 1_000_001).astype(np.float32)
    expected = np.exp(x.astype(np.float64))
    assert np.abs(power(x) / expected - 1).max() < 2.5e-7


def test_exp_fades_to_0_and_keeps_nan():
    below = np.concatenate([np.linspace(-89, -87.3, 1_001), -np.logspace(2, 38, 101), [-np.inf]])
    assert np.abs(power(below) - np.exp(below)).max() < 1e-38
    assert not power([-88.0, -1e10, -np.inf]).any()
    assert np.isnan(power([np.nan]))


# --- parts of vectors ---------------------------------------------------------------------------------

PARTS = """
import numpy as np
from autollm.kernels.pointwise import add_forward
from autollm.kernels.simd import LANES
for n in range(1, LANES + 2):
    a, out = np.arange(1, n + 1, dtype=np.float32)[None], np.full(n + 8, -1, np.float32)
    add_forward(a, a, out[:n][None])
    assert (out[:n] == 2 * a).all() and (out[n:] == -1).all(), out
print(LANES)
"""


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="names processors of x86")
def test_parts_of_vectors_on_a_processor_that_cannot_mask_what_it_stores(tmp_path):
    settings = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = python("-c", PARTS, warm="imported", env=os.environ | settings)
    assert (done.stdout, done.stderr) == ("8\n", "")


# --- switches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("brick", "reference"),
    [(tanh, np.tanh), (sigmoid, lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))))],
)
def test_switches_are_exact_to_2_in_ten_million(brick, reference):
    x = every_size()
    assert np.abs(brick(Param(x)).v - reference(x.astype(np.float64))).max() < 2e-7


def test_gelu_is_exact_to_3_in_ten_million_of_its_argument():
    x = every_size()
    wide = x.astype(np.float64)
    expected = 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    assert (np.abs(gelu(Param(x)).v - expected) <= 3e-7 * np.abs(wide)).all()


@pytest.mark.parametrize(
    ("brick", "values", "slopes"),
    [
        (tanh, [-1, -1, -1, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0]),
        (sigmoid, [0, 0, 0, 0.5, 1, 1, 1], [0, 0, 0, 0.25, 0, 0, 0]),
        (gelu, [np.nan, 0, 0, 0, 1e20, 3e38, np.inf], [0, 0, 0, 0.5, 1, 1, 1]),  # -inf * 0 is not a number
        (relu, [0, 0, 0, 0, 1e20, 3e38, np.inf], [0, 0, 0, 0, 1, 1, 1]),
    ],
)
def test_the_ends_of_the_range(brick, values, slopes):
    x = Param([[-np.inf, -3e38, -1e20, 0, 1e20, 3e38, np.inf]])
    out = brick(x)
    out.back(np.ones((1, 7), np.float32))
    np.testing.assert_array_equal(out.v, np.array([values], np.float32))
    np.testing.assert_array_equal(x.grad, np.array([slopes], np.float32))


@pytest.mark.parametrize("brick", [tanh, sigmoid, gelu, relu])
def test_a_nan_stays_a_nan(brick):
    """A diverged training must be seen, not smoothed over."""
    x = Param([[1.0, np.nan, -1.0]])
    out = brick(x)
    assert np.isnan(out.v).tolist() == [[False, True, False]]
    x = Param(np.linspace(-3, 3, 2 * LANES + 1)[None])  # below the kink of relu, at it, and above
    brick(x).back(np.full(x.v.shape, np.nan, np.float32))
    assert np.isnan(x.grad).all()
