"""The ceiling: a bag's training with every kernel called from one compiled loop, no Python in it.

What a step through the Node graph takes beyond this is what the graph costs.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numba import njit

from autollm.buffers import aligned
from autollm.kernels.cross_entropy import xent_from_logits_forward
from autollm.kernels.embedding import embedding_bag_backward, embedding_bag_forward
from autollm.kernels.examples import draw
from autollm.kernels.kernel import dispatcher_of
from autollm.kernels.matmul import matmul_wh_backward, matmul_wh_forward
from autollm.kernels.optim import sgd_update
from autollm.learning.batches import random_bits
from autollm.learning.optim import flatten
from autollm.models import parameters
from benchmarks.workloads import Workload, block_of, examples_of

# Compiled code calls kernels through numba, not as the builtin functions that they are to Python.
draw, sgd_update = map(dispatcher_of, (draw, sgd_update))
matmul_wh_forward, matmul_wh_backward = map(dispatcher_of, (matmul_wh_forward, matmul_wh_backward))
embedding_bag_forward, embedding_bag_backward = map(
    dispatcher_of, (embedding_bag_forward, embedding_bag_backward)
)
xent_from_logits_forward = dispatcher_of(xent_from_logits_forward)


@njit
def train_compiled(  # type: ignore[no-untyped-def]
    steps, rate, E, W, dE, dW, values, grads, rows, bits, letters, targets, widths,
    h, dh, logits, dlogits,
):  # fmt: skip
    """Train E and W, which are views of `values`, by `steps` steps.

    A row of `bits` chooses the examples of a block of batches; after the last row comes the first. The last
    four arrays are what kernels write to.
    """
    (count, B), K = targets.shape, rows.shape[1] - 1
    for step in range(steps):
        i = step % count
        if i == 0:
            draw(rows, bits[step // count % len(bits)], K, letters, targets, widths)
        contexts = letters[i].reshape(B, K)
        embedding_bag_forward(E, contexts, h)
        matmul_wh_forward(W, h, logits)
        xent_from_logits_forward(logits, targets[i], dlogits)
        matmul_wh_backward(W, h, dlogits, dW, 1, dh, 0)
        embedding_bag_backward(contexts, dh, dE, 1)
        sgd_update(values, grads, rate * (1 - step / steps))


def arguments(model: Any, workload: Workload) -> tuple[Any, ...]:
    """The arguments of `train_compiled` after `steps`, for the batches that `train` would draw.

    Random bits are made beforehand: a nanosecond an example, and NumPy's work.
    """
    values, grads = flatten(parameters(model).values())
    examples, block = examples_of(workload), block_of(workload)
    B, K = workload.batch, workload.config.context
    V, D = model.E.v.shape
    bits = list(islice(random_bits(0, block * B), 32))
    return (
        *(workload.rate, model.E.v, model.W.v, model.E.grad, model.W.grad, values, grads),
        *(examples.rows, np.array(bits)),
        *(np.empty((block, B * K), np.int32), np.empty((block, B), np.int32), np.empty(block, np.int64)),
        *map(aligned, ((B, D), (B, D), (B, V), (B, V))),
    )
