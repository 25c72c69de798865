"""Checks that kernels make before they touch memory: compiled, so they cost nanoseconds."""

from autollm.kernels.jit import IdError, ShapeError, jitted


@jitted
def check_ids(ids, limit):
    """Raise IdError unless every id in the flat array `ids` is in 0 .. limit - 1."""
    bad = 0
    for i in range(ids.size):  # no early exit: this loop runs many ids at a time
        bad |= (ids[i] < 0) | (ids[i] >= limit)
    if bad:
        for i in range(ids.size):
            if ids[i] < 0 or ids[i] >= limit:
                raise IdError("id {} at position {} is outside 0..{}", ids[i], i, limit - 1)


@jitted
def check_equal(what, size, wanted):
    """Raise ShapeError unless two sizes that must agree do; `what` names them."""
    if size != wanted:
        raise ShapeError("{}: {} and {}", what, size, wanted)
