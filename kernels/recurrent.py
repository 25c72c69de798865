"""Reading words letter by letter, with a state: at every place t a cell makes h[t] of h[t-1] and of x[t].

h (B, T, H) are the states at all places of B words, and x what the letters there say. A cell works on all
words at once, in arrays (B, ...) of one place.
"""

import numpy as np

from autollm.kernels.kernel import helper, kernel
from autollm.kernels.matmul import product, transposed
from autollm.kernels.pointwise import sigmoid, tanh
from autollm.kernels.simd import LANES, load_first, put_first, store_first


@helper
def take(source, t, start, out):
    """out[b] = source[b, t, start : start + N]: source (B, T, S), out (B, N)."""
    B, N = out.shape
    for b in range(B):
        for i in range(N):
            out[b, i] = source[b, t, start + i]


@kernel("r (H, H), x (B, T, H), h (B, T, H)")
def rnn_forward(r, x, h):
    """h[t] = tanh(x[t] + r @ h[t-1]); h[-1] = 0"""
    B, T, H = x.shape
    to_state = transposed(r)
    state, total = np.zeros((B, H), x.dtype), np.empty((B, H), x.dtype)
    for t in range(T):
        take(x, t, 0, total)
        if t > 0:
            product(state, H, 1, H, to_state, total, True)
        for b in range(B):
            for i in range(0, H, LANES):
                new = tanh(load_first(total, b * H + i, H - i))
                store_first(new, state, b * H + i, H - i)
                store_first(new, h, (b * T + t) * H + i, H - i)


@kernel("r (H, H), h (B, T, H), g (B, T, H), dr (H, H), add_r i8, dx (B, T, H), add_x i8")
def rnn_backward(r, h, g, dr, add_r, dx, add_x):
    """Shares, from the last place to the first: s[t] = (1 - h[t]**2) * (g[t] + r.T @ s[t+1]) for x[t], and
    the sum of outer(s[t], h[t-1]) for r."""
    B, T, H = h.shape
    later = np.zeros((B, H), h.dtype)  # what the places after t blame h[t] for
    old, share = np.empty((B, H), h.dtype), np.empty((B, H), h.dtype)  # h[t-1], s[t]
    if not add_r:
        dr[:] = 0
    for t in range(T - 1, -1, -1):
        for b in range(B):
            for i in range(0, H, LANES):
                n, j, at = H - i, b * H + i, (b * T + t) * H + i
                y = load_first(h, at, n)
                s = (1.0 - y * y) * (load_first(g, at, n) + load_first(later, j, n))
                store_first(s, share, j, n)
                put_first(s, dx, at, n, add_x)
        if t > 0:
            take(h, t - 1, 0, old)
            product(share, 1, H, B, old, dr, True)
            product(share, H, 1, H, r, later, False)


@kernel("r (3, H, H), x (B, T, 3, H), gates (B, T, 3, H), h (B, T, H)")
def gru_forward(r, x, gates, h):
    """h[t] = (1 - z) * h[t-1] + z * c; h[-1] = 0; gates[t] = reset, z, c, where x[t] = xr, xz, xc,

    reset = sigmoid(xr + r[0] @ h[t-1]);  z = sigmoid(xz + r[1] @ h[t-1])
    c = tanh(xc + r[2] @ (reset * h[t-1]))
    """
    B, T, H = h.shape
    said = x.reshape(B, T, 3 * H)
    to_gates, to_candidate = transposed(r.reshape(3 * H, H)[: 2 * H]), transposed(r[2])
    state, seen = np.zeros((B, H), x.dtype), np.empty((B, H), x.dtype)
    switches, candidate = np.empty((B, 2 * H), x.dtype), np.empty((B, H), x.dtype)
    for t in range(T):
        take(said, t, 0, switches)
        if t > 0:
            product(state, H, 1, H, to_gates, switches, True)
        for b in range(B):
            for i in range(0, H, LANES):
                n, j, at = H - i, b * H + i, (b * T + t) * 3 * H + i
                reset = sigmoid(load_first(switches, 2 * b * H + i, n))
                store_first(reset, gates, at, n)
                store_first(sigmoid(load_first(switches, (2 * b + 1) * H + i, n)), gates, at + H, n)
                store_first(reset * load_first(state, j, n), seen, j, n)
        take(said, t, 2 * H, candidate)
        if t > 0:
            product(seen, H, 1, H, to_candidate, candidate, True)
        for b in range(B):
            for i in range(0, H, LANES):
                n, j, at = H - i, b * H + i, (b * T + t) * 3 * H + i
                c, old = tanh(load_first(candidate, j, n)), load_first(state, j, n)
                new = old + load_first(gates, at + H, n) * (c - old)
                store_first(c, gates, at + 2 * H, n)
                store_first(new, state, j, n)
                store_first(new, h, (b * T + t) * H + i, n)


@kernel(
    "r (3, H, H), gates (B, T, 3, H), h (B, T, H), g (B, T, H), dr (3, H, H), add_r i8, "
    "dx (B, T, 3, H), add_x i8"
)
def gru_backward(r, gates, h, g, dr, add_r, dx, add_x):
    """Shares, from the last place to the first, by the chain rule through the lines of gru_forward."""
    B, T, H = h.shape
    of_gates, of_candidate = r.reshape(3 * H, H)[: 2 * H], r[2]
    d_gates, d_candidate = dr.reshape(3 * H, H)[: 2 * H], dr[2]
    later = np.zeros((B, H), h.dtype)  # what the places after t blame h[t] for
    old, seen = np.empty((B, H), h.dtype), np.empty((B, H), h.dtype)  # h[t-1], reset * h[t-1]
    switches, candidate = np.empty((B, 2 * H), h.dtype), np.empty((B, H), h.dtype)  # shares at place t
    for_seen = np.zeros((B, H), h.dtype)
    if not add_r:
        dr[:] = 0
    for t in range(T - 1, -1, -1):
        if t > 0:
            take(h, t - 1, 0, old)
        else:
            old[:] = 0
        for b in range(B):
            for i in range(0, H, LANES):
                n, j, at = H - i, b * H + i, (b * T + t) * 3 * H + i
                z, c = load_first(gates, at + H, n), load_first(gates, at + 2 * H, n)
                share = load_first(g, (b * T + t) * H + i, n) + load_first(later, j, n)
                for_c = share * z * (1.0 - c * c)
                for_z = share * (c - load_first(old, j, n)) * (z - z * z)
                store_first(share - share * z, later, j, n)
                store_first(for_c, candidate, j, n)
                put_first(for_c, dx, at + 2 * H, n, add_x)
                store_first(for_z, switches, (2 * b + 1) * H + i, n)
                put_first(for_z, dx, at + H, n, add_x)
        if t > 0:
            product(candidate, H, 1, H, of_candidate, for_seen, False)
        for b in range(B):
            for i in range(0, H, LANES):
                n, j, at = H - i, b * H + i, (b * T + t) * 3 * H + i
                reset, before, share = (
                    load_first(gates, at, n),
                    load_first(old, j, n),
                    load_first(for_seen, j, n),
                )
                for_reset = share * before * (reset - reset * reset)
                put_first(share * reset, later, j, n, True)
                store_first(reset * before, seen, j, n)
                store_first(for_reset, switches, 2 * b * H + i, n)
                put_first(for_reset, dx, at, n, add_x)
        if t > 0:
            product(candidate, 1, H, B, seen, d_candidate, True)
            product(switches, 1, 2 * H, B, old, d_gates, True)
            product(switches, 2 * H, 1, 2 * H, of_gates, later, True)
