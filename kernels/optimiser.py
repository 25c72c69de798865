"""One update of all parameters at once, over flat vectors."""

import numpy as np

from autollm.kernels.checks import check_equal
from autollm.kernels.jit import kernel


@kernel("(f4[::1], f4[::1], f8)")
def sgd_update(values, grads, rate):
    """values -= rate * grads, then grads = 0; both (P,)."""
    check_equal("sgd: size of values and grads", grads.shape[0], values.shape[0])
    step = np.float32(rate)
    for i in range(values.shape[0]):
        values[i] -= step * grads[i]
        grads[i] = 0
