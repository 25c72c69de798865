"""Looking up the codes of letters, and mixing them."""

from __future__ import annotations

from autollm import buffers
from autollm.buffers import Array, Ids
from autollm.kernels.embedding import (
    embedding_bag_backward,
    embedding_bag_forward,
    gather_rows_backward,
    gather_rows_forward,
    sum_over_k_backward,
    sum_over_k_forward,
)
from autollm.node import Input, Node, pullback


class Rows(Node):
    """Rows of a table, looked up but not yet copied: a Node with two ways to read it, and to blame it.

    Who looks at `v` gets the rows as an array (B, K, D), copied out at the first look, and blames them by
    `back`. Who can work on rows where they lie, as `sum_over_k` can, needs no copy: it reads `table` and
    `ids`, and if all K rows of an example have the same share, it blames them by `back_same`.
    """

    __slots__ = ("_copied", "ids", "table")

    def __init__(self, table: Input, ids: Ids) -> None:
        self.table = table
        self.ids = ids
        self._copied: Array | None = None

    @property
    def v(self) -> Array:
        """The rows, (B, K, D)."""
        if self._copied is None:
            self._copied = buffers.empty((*self.ids.shape, self.table.v.shape[1]))
            gather_rows_forward(self.table.v, self.ids, self._copied)
        return self._copied

    def back(self, g: Array) -> None:
        """Every row of the table gets the shares g (B, K, D) of all places where it was looked up."""
        dtable, add = self.table.bucket()
        gather_rows_backward(self.ids, g, dtable, add)
        self.table.back(dtable)

    def back_same(self, g: Array) -> None:
        """`back`, of a g (B, D) that is the share of each of the K places."""
        dtable, add = self.table.bucket()
        embedding_bag_backward(self.ids, g, dtable, add)
        self.table.back(dtable)


def gather_rows(table: Input, ids: Ids) -> Rows:
    """Look up rows: table (V, D), ids (B, K) int32 -> (B, K, D), out[b, k] = table[ids[b, k]].

    ELI5: "look up the secret codes of these letters". Its transpose scatters: it adds what arrives
    for a letter to that letter's row. Rows are copied when somebody needs them (see `Rows`), and an id
    outside 0..V-1 raises IndexError then.
    """
    return Rows(table, ids)


def sum_over_k(x: Input) -> Node:
    """Add up the middle axis: (B, K, D) -> (B, D), out[b] = sum_k x[b, k].

    ELI5: "mix the codes together". Its transpose repeats: every k gets the same share. Looked-up `Rows` are
    added where they lie in their table, so that nobody writes or reads (B, K, D) numbers for nothing.
    """
    if isinstance(x, Rows):
        out = buffers.empty((len(x.ids), x.table.v.shape[-1]))
        embedding_bag_forward(x.table.v, x.ids, out)
        return Node(out, x.back_same)
    out = buffers.empty((len(x.v), x.v.shape[-1]))
    sum_over_k_forward(x.v, out)
    return Node(out, pullback(x, sum_over_k_backward))


def embedding_bag(table: Input, ids: Ids) -> Node:
    """Look up and add: table (V, D), ids (B, K) -> (B, D). Raises IndexError for an id outside 0..V-1."""
    return sum_over_k(gather_rows(table, ids))
