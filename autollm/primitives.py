"""The bricks: one short function per primitive.

Every primitive has the same shape. It runs its forward kernel on its inputs' values, and returns a
Node whose `back` runs its backward kernel, which *adds* each input's share to that input's bucket,
and then hands every input its bucket:

    def brick(x):
        out = empty(x.v.shape)
        brick_forward(x.v, out)

        def back(g):
            dx = x.bucket()
            brick_backward(x.v, g, dx)      # dx += (d out / d x)^T g
            x.back(dx)

        return Node(out, back)

The kernels check types, shapes and ids, and raise TypeError, ValueError (ShapeError) or IndexError
(IdError) before they touch memory. Sizes: B examples, K letters of context, D numbers in an
embedding, V letters in the alphabet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autollm.buffers import Array, empty
from autollm.kernels.cross_entropy import xent_from_logits_backward, xent_from_logits_forward
from autollm.kernels.embedding import (
    embedding_bag_backward,
    embedding_bag_forward,
    gather_rows_backward,
    gather_rows_forward,
    sum_over_k_backward,
    sum_over_k_forward,
)
from autollm.kernels.matmul import matmul_wh_backward, matmul_wh_forward
from autollm.node import Node, Param

Ids = npt.NDArray[np.int32]
Input = Node | Param


# --- linear: the derivative is the map's own transpose, so nothing has to be saved ----------------


class GatheredRows(Node):
    """What `gather_rows` returns: the rows are copied out of the table when somebody looks at `v`.

    `sum_over_k` never looks: it adds the rows up where they are, without the (B, K, D) array.
    """

    __slots__ = ("_rows", "ids", "table")

    def __init__(self, table: Input, ids: Ids) -> None:
        self.table = table
        self.ids = ids
        self._rows: Array | None = None

    @property
    def v(self) -> Array:
        """The rows, (B, K, D)."""
        if self._rows is None:
            self._rows = empty((*self.ids.shape, self.table.v.shape[1]))
            gather_rows_forward(self.table.v, self.ids, self._rows)
        return self._rows

    def back(self, g: Array) -> None:
        """Add every row's share to the row it came from."""
        dtable = self.table.bucket()
        gather_rows_backward(self.ids, g, dtable)
        self.table.back(dtable)


def gather_rows(table: Input, ids: Ids) -> Node:
    """Look up rows: table (V, D), ids (B, K) int32 -> (B, K, D), out[b, k] = table[ids[b, k]].

    ELI5: "look up the secret codes of these letters". Its transpose scatters: it adds what arrives
    for a letter to that letter's row. The rows are looked up when somebody needs them, and an id outside
    0..V-1 raises IndexError then.
    """
    return GatheredRows(table, ids)


def sum_over_k(x: Node) -> Node:
    """Add up the middle axis: (B, K, D) -> (B, D), out[b] = sum_k x[b, k].

    ELI5: "mix the codes together". Its transpose repeats: every k gets the same share.
    """
    if type(x) is GatheredRows:
        return embedding_bag(x.table, x.ids)
    out = empty((len(x.v), x.v.shape[-1]))
    sum_over_k_forward(x.v, out)

    def back(g: Array) -> None:
        dx = x.bucket()
        sum_over_k_backward(g, dx)
        x.back(dx)

    return Node(out, back)


def embedding_bag(table: Input, ids: Ids) -> Node:
    """`sum_over_k(gather_rows(table, ids))` in one go: table (V, D), ids (B, K) -> (B, D).

    Raises IndexError for an id outside 0..V-1.
    """
    out = empty((len(ids), table.v.shape[-1]))
    embedding_bag_forward(table.v, ids, out)

    def back(g: Array) -> None:
        dtable = table.bucket(False)
        embedding_bag_backward(ids, g, dtable, table.collects)
        table.back(dtable)

    return Node(out, back)


def matmul_wh(w: Input, h: Input) -> Node:
    """Multiply every row of h by a matrix: w (V, D), h (B, D) -> h @ w.T, (B, V).

    ELI5: "score every possible next letter". Linear in each of its inputs, so each one's share is
    the other, transposed: dw = g.T @ h, dh = g @ w.
    """
    out = empty((len(h.v), len(w.v)))
    matmul_wh_forward(w.v, h.v, out)

    def back(g: Array) -> None:
        dw, dh = w.bucket(), h.bucket(False)
        matmul_wh_backward(w.v, h.v, g, dw, dh, h.collects)
        w.back(dw)
        h.back(dh)

    return Node(out, back)


# --- nonlinear: the derivative needs something that the forward pass saved --------------------------


def xent_from_logits(logits: Input, targets: Ids) -> Node:
    """Mean cross-entropy: logits (B, V), targets (B,) int32 -> a float, in nats.

    ELI5: "how surprised were we by the right answer?" loss = mean_b -log softmax(logits[b])[targets[b]],
    and its derivative is (softmax(logits) - onehot(targets)) / B (Bishop 2006, eq. 4.109), which the
    forward pass saves. Raises IndexError for a target outside 0..V-1.
    """
    surprise = empty(logits.v.shape)
    loss = xent_from_logits_forward(logits.v, targets, surprise)

    def back(g: Any = 1.0) -> None:
        if g == 1.0 and isinstance(logits, Node):
            logits.back(surprise)  # nothing to scale and nothing to add to
            return
        dlogits = logits.bucket()
        xent_from_logits_backward(surprise, g, dlogits)
        logits.back(dlogits)

    return Node(loss, back)
