"""One update of all parameters at once, over flat vectors."""

from autollm.kernels.jit import ShapeError, kernel


@kernel("(f4[::1], f4[::1], f8)")
def sgd_update(values, grads, rate):
    """values -= rate * grads, then grads = 0; both (P,)."""
    if grads.shape != values.shape:
        raise ShapeError(
            "sgd: values and grads must agree; got ({},), ({},)", values.shape[0], grads.shape[0]
        )
    step = values.dtype.type(rate)
    for i in range(values.shape[0]):
        values[i] -= step * grads[i]
        grads[i] = 0
