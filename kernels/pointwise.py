"""Functions of each number alone, and of pairs of numbers.

All arrays of a call have the same shape (B, D). A backward kernel is given what its forward pass
kept: the input x, or the output y where the derivative is a function of that.
"""

from autollm.kernels.errors import ShapeError
from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import LANES, exp, load_first, maximum, splat, store_first


@helper
def check_same(a, b):
    """Raise ShapeError unless two arrays have the same shape."""
    if a.shape != b.shape:
        raise ShapeError(
            "both arrays must have one shape (B, D); got ({}, {}), ({}, {})",
            a.shape[0], a.shape[1], b.shape[0], b.shape[1],
        )  # fmt: skip


@helper
def add_first(share, dx, i, n):
    """dx[i:] += share, in the first n lanes."""
    store_first(load_first(dx, i, n, 0.0) + share, dx, i, n)


# --- of two arrays ---------------------------------------------------------------------------------


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def add_forward(a, b, out):
    """out = a + b"""
    check_same(a, b)
    check_same(a, out)
    for i in range(0, a.size, LANES):
        n = a.size - i
        store_first(load_first(a, i, n, 0.0) + load_first(b, i, n, 0.0), out, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def mul_forward(a, b, out):
    """out = a * b"""
    check_same(a, b)
    check_same(a, out)
    for i in range(0, a.size, LANES):
        n = a.size - i
        store_first(load_first(a, i, n, 0.0) * load_first(b, i, n, 0.0), out, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def mul_backward(a, b, g, da, db):
    """da += b * g; db += a * g"""
    check_same(a, b)
    check_same(a, g)
    check_same(a, da)
    check_same(a, db)
    for i in range(0, a.size, LANES):
        n = a.size - i
        share = load_first(g, i, n, 0.0)
        add_first(load_first(b, i, n, 0.0) * share, da, i, n)
        add_first(load_first(a, i, n, 0.0) * share, db, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def blend_forward(a, b, z, out):
    """out = a + z * (b - a)"""
    check_same(a, b)
    check_same(a, z)
    check_same(a, out)
    for i in range(0, a.size, LANES):
        n = a.size - i
        x, y = load_first(a, i, n, 0.0), load_first(b, i, n, 0.0)
        store_first(x + load_first(z, i, n, 0.0) * (y - x), out, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def blend_backward(a, b, z, g, da, db, dz):
    """da += (1 - z) * g; db += z * g; dz += (b - a) * g"""
    check_same(a, b)
    check_same(a, z)
    check_same(a, g)
    check_same(a, da)
    check_same(a, db)
    check_same(a, dz)
    for i in range(0, a.size, LANES):
        n = a.size - i
        share = load_first(g, i, n, 0.0)
        to_b = load_first(z, i, n, 0.0) * share
        add_first(share - to_b, da, i, n)
        add_first(to_b, db, i, n)
        add_first((load_first(b, i, n, 0.0) - load_first(a, i, n, 0.0)) * share, dz, i, n)


# --- of one array ----------------------------------------------------------------------------------


@helper
def sigmoid(x):
    """1 / (1 + e**-x), as the softmax of x and 0: both are taken from the larger, so nothing overflows."""
    zero = splat(0.0)
    yes, no = exp(zero - maximum(zero, zero - x)), exp(zero - maximum(zero, x))
    return yes / (yes + no)


@kernel("(f4[:, ::1], f4[:, ::1])")
def relu_forward(x, out):
    """out = max(x, 0); a NaN stays a NaN"""
    check_same(x, out)
    for i in range(0, x.size, LANES):
        n = x.size - i
        store_first(maximum(splat(0.0), load_first(x, i, n, 0.0)), out, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def relu_backward(y, g, dx):
    """dx += g where y > 0"""
    check_same(y, g)
    check_same(y, dx)
    for b in range(y.shape[0]):
        for d in range(y.shape[1]):
            share = g[b, d]
            dx[b, d] += share if y[b, d] > 0 else share * 0


@kernel("(f4[:, ::1], f4[:, ::1])")
def sigmoid_forward(x, out):
    """out = 1 / (1 + e**-x)"""
    check_same(x, out)
    for i in range(0, x.size, LANES):
        n = x.size - i
        store_first(sigmoid(load_first(x, i, n, 0.0)), out, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def sigmoid_backward(y, g, dx):
    """dx += y * (1 - y) * g"""
    check_same(y, g)
    check_same(y, dx)
    for i in range(0, y.size, LANES):
        n = y.size - i
        out = load_first(y, i, n, 0.0)
        add_first((out - out * out) * load_first(g, i, n, 0.0), dx, i, n)


@kernel("(f4[:, ::1], f4[:, ::1])")
def tanh_forward(x, out):
    """out = (e**x - e**-x) / (e**x + e**-x), both powers divided by the larger one"""
    check_same(x, out)
    for i in range(0, x.size, LANES):
        n = x.size - i
        z, zero, twice = load_first(x, i, n, 0.0), splat(0.0), splat(-2.0)
        up, down = exp(twice * maximum(zero, zero - z)), exp(twice * maximum(zero, z))
        store_first((up - down) / (up + down), out, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def tanh_backward(y, g, dx):
    """dx += (1 - y**2) * g"""
    check_same(y, g)
    check_same(y, dx)
    for i in range(0, y.size, LANES):
        n = y.size - i
        out = load_first(y, i, n, 0.0)
        add_first((splat(1.0) - out * out) * load_first(g, i, n, 0.0), dx, i, n)


GELU_SLOPE = 1.5957691216  # 2 * sqrt(2 / pi)
GELU_CUBE = 0.044715


@kernel("(f4[:, ::1], f4[:, ::1])")
def gelu_forward(x, out):
    """out = x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x**3))"""
    check_same(x, out)
    for i in range(0, x.size, LANES):
        n = x.size - i
        z = load_first(x, i, n, 0.0)
        inner = splat(GELU_SLOPE) * (z + splat(GELU_CUBE) * z * z * z)
        store_first(z * sigmoid(inner), out, i, n)


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def gelu_backward(x, g, dx):
    """dx += (s + x * s * (1 - s) * u') * g, where s = sigmoid(u(x)) is forward's

    s (1 - s) is 0 long before |x| is 100: there x stops, so that u' stays finite.
    """
    check_same(x, g)
    check_same(x, dx)
    for i in range(0, x.size, LANES):
        n = x.size - i
        z = maximum(splat(-100.0), load_first(x, i, n, 0.0))
        z = splat(0.0) - maximum(splat(-100.0), splat(0.0) - z)
        square = splat(GELU_CUBE) * z * z
        s = sigmoid(splat(GELU_SLOPE) * (z + square * z))
        slope = splat(GELU_SLOPE) * (splat(1.0) + splat(3.0) * square)
        add_first((s + z * (s - s * s) * slope) * load_first(g, i, n, 0.0), dx, i, n)
