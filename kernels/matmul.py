"""The matrix product of the model's last layer, and its transposes."""

from autollm.kernels.checks import check_equal
from autollm.kernels.jit import kernel


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def matmul_wh_forward(w, h, out):
    """out = h @ w.T: w (V, D), h (B, D), out (B, V)."""
    (B, D), V = h.shape, w.shape[0]
    check_equal("matmul_wh: D of w and h", w.shape[1], D)
    check_equal("matmul_wh: B of h and out", out.shape[0], B)
    check_equal("matmul_wh: V of w and out", out.shape[1], V)
    for b in range(B):
        for v in range(V):
            total = h[b, 0] * w[v, 0]
            for d in range(1, D):
                total += h[b, d] * w[v, d]
            out[b, v] = total


@kernel("(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def matmul_wh_backward(w, h, g, dw, dh):
    """dw += g.T @ h, dh += g @ w: w and dw (V, D), h and dh (B, D), g (B, V)."""
    (B, D), V = h.shape, w.shape[0]
    check_equal("matmul_wh: D of w and h", w.shape[1], D)
    check_equal("matmul_wh: B of h and g", g.shape[0], B)
    check_equal("matmul_wh: V of w and g", g.shape[1], V)
    check_equal("matmul_wh: V of w and dw", dw.shape[0], V)
    check_equal("matmul_wh: D of w and dw", dw.shape[1], D)
    check_equal("matmul_wh: B of h and dh", dh.shape[0], B)
    check_equal("matmul_wh: D of h and dh", dh.shape[1], D)
    for b in range(B):
        for v in range(V):
            weight = g[b, v]
            for d in range(D):
                dw[v, d] += weight * h[b, d]
                dh[b, d] += weight * w[v, d]
