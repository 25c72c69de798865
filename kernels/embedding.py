"""Looking up rows of a table, and adding them up."""

from autollm.kernels.checks import check_equal, check_ids
from autollm.kernels.jit import kernel


@kernel("(f4[:, ::1], i4[:, ::1])")
def check_rows(table, ids):
    """Raise IndexError unless all ids (B, K) select rows of table (V, D)."""
    check_ids(ids.reshape(ids.size), table.shape[0])


@kernel("(f4[:, ::1], i4[:, ::1], f4[:, :, ::1])")
def gather_rows_forward(table, ids, out):
    """out[b, k] = table[ids[b, k]]: table (V, D), ids (B, K), out (B, K, D)."""
    B, K, D = out.shape
    check_equal("gather_rows: B of ids and out", ids.shape[0], B)
    check_equal("gather_rows: K of ids and out", ids.shape[1], K)
    check_equal("gather_rows: D of table and out", table.shape[1], D)
    check_ids(ids.reshape(B * K), table.shape[0])
    for b in range(B):
        for k in range(K):
            row = ids[b, k]
            for d in range(D):
                out[b, k, d] = table[row, d]


@kernel("(i4[:, ::1], f4[:, :, ::1], f4[:, ::1])")
def gather_rows_backward(ids, g, dtable):
    """dtable[ids[b, k]] += g[b, k]: ids (B, K), g (B, K, D), dtable (V, D)."""
    B, K, D = g.shape
    check_equal("gather_rows: B of ids and g", ids.shape[0], B)
    check_equal("gather_rows: K of ids and g", ids.shape[1], K)
    check_equal("gather_rows: D of table and g", dtable.shape[1], D)
    check_ids(ids.reshape(B * K), dtable.shape[0])
    for b in range(B):
        for k in range(K):
            row = ids[b, k]
            for d in range(D):
                dtable[row, d] += g[b, k, d]


@kernel("(f4[:, :, ::1], f4[:, ::1])")
def sum_over_k_forward(x, out):
    """out[b] = sum_k x[b, k]: x (B, K, D), out (B, D)."""
    B, K, D = x.shape
    check_equal("sum_over_k: B of x and out", out.shape[0], B)
    check_equal("sum_over_k: D of x and out", out.shape[1], D)
    for b in range(B):
        for d in range(D):
            out[b, d] = 0
        for k in range(K):
            for d in range(D):
                out[b, d] += x[b, k, d]


@kernel("(f4[:, ::1], f4[:, :, ::1])")
def sum_over_k_backward(g, dx):
    """dx[b, k] += g[b]: g (B, D), dx (B, K, D)."""
    B, K, D = dx.shape
    check_equal("sum_over_k: B of x and g", g.shape[0], B)
    check_equal("sum_over_k: D of x and g", g.shape[1], D)
    for b in range(B):
        for k in range(K):
            for d in range(D):
                dx[b, k, d] += g[b, d]


@kernel("(f4[:, ::1], i4[:, ::1], f4[:, ::1])")
def embedding_bag_forward(table, ids, out):
    """out[b] = sum_k table[ids[b, k]]: table (V, D), ids (B, K), out (B, D)."""
    (B, K), D = ids.shape, table.shape[1]
    check_equal("embedding_bag: B of ids and out", out.shape[0], B)
    check_equal("embedding_bag: D of table and out", out.shape[1], D)
    check_ids(ids.reshape(B * K), table.shape[0])
    for b in range(B):
        for d in range(D):
            out[b, d] = 0
        for k in range(K):
            row = ids[b, k]
            for d in range(D):
                out[b, d] += table[row, d]


@kernel("(i4[:, ::1], f4[:, ::1], f4[:, ::1])")
def embedding_bag_backward(ids, g, dtable):
    """dtable[ids[b, k]] += g[b]: ids (B, K), g (B, D), dtable (V, D)."""
    (B, K), D = ids.shape, dtable.shape[1]
    check_equal("embedding_bag: B of ids and g", g.shape[0], B)
    check_equal("embedding_bag: D of table and g", g.shape[1], D)
    check_ids(ids.reshape(B * K), dtable.shape[0])
    for b in range(B):
        for k in range(K):
            row = ids[b, k]
            for d in range(D):
                dtable[row, d] += g[b, d]
