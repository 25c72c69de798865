"""Softmax and cross-entropy in one kernel: the derivative comes with the loss."""

import numpy as np

from autollm.kernels.checks import check_equal, check_ids
from autollm.kernels.jit import kernel


@kernel("(f4[:, ::1], i4[::1], f4[:, ::1])")
def xent_from_logits_forward(logits, targets, dlogits):
    """Return the mean loss; dlogits = (softmax(logits) - onehot(targets)) / B; all (B, V)."""
    B, V = logits.shape
    check_equal("xent_from_logits: B of targets and logits", targets.shape[0], B)
    check_equal("xent_from_logits: B of dlogits and logits", dlogits.shape[0], B)
    check_equal("xent_from_logits: V of dlogits and logits", dlogits.shape[1], V)
    check_ids(targets, V)
    loss = 0.0
    for b in range(B):
        top = logits[b, 0]
        for v in range(1, V):
            top = max(top, logits[b, v])
        z = np.float32(0)
        for v in range(V):
            dlogits[b, v] = np.exp(logits[b, v] - top)
            z += dlogits[b, v]
        for v in range(V):
            dlogits[b, v] /= z * B
        dlogits[b, targets[b]] -= np.float32(1 / B)
        loss += np.log(z) + top - logits[b, targets[b]]
    return loss / B


@kernel("(f4[:, ::1], f8, f4[:, ::1])")
def xent_from_logits_backward(surprise, g, dlogits):
    """dlogits += g * surprise, both (B, V)."""
    B, V = surprise.shape
    check_equal("xent_from_logits: B of dlogits and logits", dlogits.shape[0], B)
    check_equal("xent_from_logits: V of dlogits and logits", dlogits.shape[1], V)
    scale = np.float32(g)
    for b in range(B):
        for v in range(V):
            dlogits[b, v] += scale * surprise[b, v]
