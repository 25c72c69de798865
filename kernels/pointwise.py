"""Functions of each number alone, and of pairs of numbers.

A backward kernel is given what its forward pass kept: the input x, or the output y where the derivative is a
function of that.
"""

from autollm.kernels.kernel import helper, kernel
from autollm.kernels.simd import LANES, exp, load_first, maximum, minimum, put_first, store_first

# --- of two arrays ---------------------------------------------------------------------------------


@kernel("a (B, D), b (B, D), out (B, D)")
def add_forward(a, b, out):
    """out = a + b"""
    for i in range(0, a.size, LANES):
        n = a.size - i
        store_first(load_first(a, i, n) + load_first(b, i, n), out, i, n)


@kernel("a (B, D), b (B, D), out (B, D)")
def mul_forward(a, b, out):
    """out = a * b"""
    for i in range(0, a.size, LANES):
        n = a.size - i
        store_first(load_first(a, i, n) * load_first(b, i, n), out, i, n)


@kernel("a (B, D), b (B, D), g (B, D), da (B, D), add_a i8, db (B, D), add_b i8")
def mul_backward(a, b, g, da, add_a, db, add_b):
    """Shares: b * g for a, a * g for b."""
    for i in range(0, a.size, LANES):
        n = a.size - i
        share = load_first(g, i, n)
        put_first(load_first(b, i, n) * share, da, i, n, add_a)
        put_first(load_first(a, i, n) * share, db, i, n, add_b)


@kernel("a (B, D), b (B, D), z (B, D), out (B, D)")
def blend_forward(a, b, z, out):
    """out = a + z * (b - a)"""
    for i in range(0, a.size, LANES):
        n = a.size - i
        x, y = load_first(a, i, n), load_first(b, i, n)
        store_first(x + load_first(z, i, n) * (y - x), out, i, n)


@kernel(
    "a (B, D), b (B, D), z (B, D), g (B, D), da (B, D), add_a i8, db (B, D), add_b i8, dz (B, D), add_z i8"
)
def blend_backward(a, b, z, g, da, add_a, db, add_b, dz, add_z):
    """Shares: (1 - z) * g for a, z * g for b, (b - a) * g for z."""
    for i in range(0, a.size, LANES):
        n = a.size - i
        share = load_first(g, i, n)
        to_b = load_first(z, i, n) * share
        put_first(share - to_b, da, i, n, add_a)
        put_first(to_b, db, i, n, add_b)
        put_first((load_first(b, i, n) - load_first(a, i, n)) * share, dz, i, n, add_z)


# --- of one array ----------------------------------------------------------------------------------


@helper
def sigmoid(x):
    """1 / (1 + e**-x) as e**x / (e**x + 1), with an e**x that is large enough but not infinite."""
    power = exp(minimum(88.0, x))
    return power / (power + 1.0)


@helper
def tanh(x):
    """(e**x - e**-x) / (e**x + e**-x) as 1 - 2 / (e**2x + 1)"""
    return 1.0 - 2.0 / (exp(minimum(88.0, 2.0 * x)) + 1.0)


@kernel("x (B, D), out (B, D)")
def relu_forward(x, out):
    """out = max(x, 0); a NaN stays a NaN"""
    for i in range(0, x.size, LANES):
        n = x.size - i
        store_first(maximum(0.0, load_first(x, i, n)), out, i, n)


@kernel("y (B, D), g (B, D), dx (B, D), add i8")
def relu_backward(y, g, dx, add):
    """Share: g where y > 0; elsewhere 0 * g, which is 0 unless g is NaN or infinite."""
    for b in range(y.shape[0]):
        for d in range(y.shape[1]):
            share = g[b, d] if y[b, d] > 0 else g[b, d] * 0
            dx[b, d] = dx[b, d] + share if add else share


@kernel("x (B, D), out (B, D)")
def sigmoid_forward(x, out):
    """out = 1 / (1 + e**-x)"""
    for i in range(0, x.size, LANES):
        n = x.size - i
        store_first(sigmoid(load_first(x, i, n)), out, i, n)


@kernel("y (B, D), g (B, D), dx (B, D), add i8")
def sigmoid_backward(y, g, dx, add):
    """Share: y * (1 - y) * g."""
    for i in range(0, y.size, LANES):
        n = y.size - i
        out = load_first(y, i, n)
        put_first((out - out * out) * load_first(g, i, n), dx, i, n, add)


@kernel("x (B, D), out (B, D)")
def tanh_forward(x, out):
    """out = (e**x - e**-x) / (e**x + e**-x)"""
    for i in range(0, x.size, LANES):
        n = x.size - i
        store_first(tanh(load_first(x, i, n)), out, i, n)


@kernel("y (B, D), g (B, D), dx (B, D), add i8")
def tanh_backward(y, g, dx, add):
    """Share: (1 - y**2) * g."""
    for i in range(0, y.size, LANES):
        n = y.size - i
        out = load_first(y, i, n)
        put_first((1.0 - out * out) * load_first(g, i, n), dx, i, n, add)


GELU_SLOPE = 1.5957691216  # 2 * sqrt(2 / pi)
GELU_CUBE = 0.044715


@kernel("x (B, D), out (B, D)")
def gelu_forward(x, out):
    """out = x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x**3))"""
    for i in range(0, x.size, LANES):
        n = x.size - i
        z = load_first(x, i, n)
        store_first(z * sigmoid(GELU_SLOPE * (z + GELU_CUBE * z * z * z)), out, i, n)


@kernel("x (B, D), g (B, D), dx (B, D), add i8")
def gelu_backward(x, g, dx, add):
    """Share: (s + x * s * (1 - s) * u') * g, where s = sigmoid(u(x)) is forward's.

    s (1 - s) is 0 long before |x| is 100: there x stops, so that u' stays finite.
    """
    for i in range(0, x.size, LANES):
        n = x.size - i
        z = minimum(100.0, maximum(-100.0, load_first(x, i, n)))
        square = GELU_CUBE * z * z
        s = sigmoid(GELU_SLOPE * (z + square * z))
        slope = GELU_SLOPE * (1.0 + 3.0 * square)
        put_first((s + z * (s - s * s) * slope) * load_first(g, i, n), dx, i, n, add)
