"""Looking up the codes of letters, and mixing them."""

from __future__ import annotations

from autollm.buffers import Array, Ids, empty
from autollm.kernels.embedding import (
    embedding_bag_backward,
    embedding_bag_forward,
    gather_rows_backward,
    gather_rows_forward,
    sum_over_k_backward,
    sum_over_k_forward,
)
from autollm.node import Input, Node


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
