"""Vectors and register tiles for the kernels.

A *vector* is LANES numbers, a *tile* is ROWS vectors. In plain Python they are NumPy arrays, and each
function here is a line or two of NumPy: that is its meaning. In compiled code they live in registers,
and the same function becomes a few LLVM instructions, those that simd_llvm.py gives it. LLVM cuts a
vector into whatever registers the machine has, so LANES and ROWS decide how fast a kernel is, never
what it computes.

Vectors are added, subtracted, multiplied and divided lane by lane; a number stands for the vector that has
it in every lane, except where a sum begins that vectors are added to: that is splat(0.0).

Arrays are C-contiguous, float32 in compiled code. A number is found by its offset i in the flattened
array: row r and column c of a (rows, columns) array are at offset r * columns + c, and columns is the
array's stride. Nothing here checks an offset: that is for the kernels.
"""

import numpy as np
from llvmlite import binding
from numba import config

from autollm.kernels.kernel import helper

# A vector is two registers wide: then each number that a matrix product broadcasts to all lanes is used
# twice. A tile's sums stay in registers: 9 rows * 2 of the 32 that AVX-512 and NEON have, 6 * 2 of the
# 16 of AVX2 and SSE; what is left holds the operands. DEPTH vectors, which one tile of a product after the
# other reads, are 8 to 32 kB: these stay in the caches of the core, where all of a long batch would not.
_features = binding.get_host_cpu_features().flatten() if config.CPU_FEATURES is None else config.CPU_FEATURES
_has = set(_features.split(","))
REGISTER_LANES = 16 if "+avx512f" in _has else 8 if "+avx2" in _has else 4
LANES = 2 * REGISTER_LANES
ROWS = 9 if _has & {"+avx512f", "+neon"} else 6
DEPTH = 256


# --- vectors ---------------------------------------------------------------------------------------


def load(array, i):
    """The LANES numbers from offset i on."""
    return array.reshape(-1)[i : i + LANES]


def load_first(array, i, n, fill=0.0):
    """The n >= 1 numbers from offset i on (LANES at most), `fill` in other lanes. Nothing else is read."""
    n = min(n, LANES)
    vector = np.full(LANES, fill, array.dtype)
    vector[:n] = array.reshape(-1)[i : i + n]
    return vector


def store(vector, array, i):
    """Write a vector from offset i on."""
    array.reshape(-1)[i : i + LANES] = vector


def store_first(vector, array, i, n):
    """Write the first n >= 1 lanes (LANES at most) from offset i on. Nothing else is written."""
    n = min(n, LANES)
    array.reshape(-1)[i : i + n] = vector[:n] if np.ndim(vector) else vector


@helper
def put_first(vector, array, i, n, add):
    """Write the first n >= 1 lanes (LANES at most) from offset i on; if `add`, add them to what is there."""
    if add:
        vector = load_first(array, i, n) + vector
    store_first(vector, array, i, n)


def splat(x):
    """x in every lane."""
    return np.full(LANES, x)


def multiply_add(a, b, c):
    """a * b + c, rounded once where the machine can."""
    return a * b + c


def maximum(a, b):
    """The larger of each pair; of a number and a NaN, either."""
    return np.maximum(a, b)


def minimum(a, b):
    """The smaller of each pair; of a number and a NaN, either."""
    return np.minimum(a, b)


def exp(x):
    """e**x for x <= 88, to a relative error of 2.4e-7 from -87.3 up, and 0 below -87.7; NaN for NaN."""
    return np.exp(x)


def sqrt(x):
    return np.sqrt(x)


def max_lanes(vector):
    return np.max(vector)


def sum_lanes(vector):
    return np.sum(vector)


def run_length(integers, i, n):
    """How many of the n int32 from offset i on (LANES at most) equal the first, before one that does not."""
    run = integers.reshape(-1)[i : i + min(n, LANES)]
    others = np.flatnonzero(run != run[0])
    return int(others[0]) if others.size else run.size


def prefetch(array, i):
    """Ask for the cache line with offset i of an int32 array, which is to be read soon; computes nothing."""


# --- tiles -----------------------------------------------------------------------------------------
# A tile may have fewer rows of its matrix: 1 <= rows <= ROWS. In compiled code those below repeat the last
# one, which saves a second kind of tile. But one row fewer is frequent (64 rows are 8 tiles of 8), so a tile
# that is not full leaves its lowest row out of the sums.


def tile_zeros():
    return 0.0


def tile_load(array, i, stride, rows, n):
    """Row r: load_first(array, i + r * stride, n)."""
    return np.stack([load_first(array, i + r * stride, n) for r in range(rows)])


def tile_store(tile, array, i, stride, rows, n):
    """Row r: store_first(tile[r], array, i + r * stride, n)."""
    for r, vector in enumerate(np.broadcast_to(tile, (rows, LANES))):
        store_first(vector, array, i + r * stride, n)


def tile_add_outer(tile, array, i, stride, rows, vector):
    """tile + outer(column, vector): row r gains array[i + r * stride] * vector. Products sum these."""
    column = array.reshape(-1)[i + stride * np.arange(rows)]
    return tile + column[:, None] * vector


def transpose(source, i, stride, rows, columns, target, j, target_stride):
    """Transpose a square of REGISTER_LANES rows and columns, of which the source may have fewer: the number
    at i + r * stride + c goes to j + c * target_stride + r. The target has the whole square; what the source
    does not have holds anything."""
    r, c = np.ogrid[: min(rows, REGISTER_LANES), : min(columns, REGISTER_LANES)]
    target.reshape(-1)[j + c * target_stride + r] = source.reshape(-1)[i + r * stride + c]


# --- arrays for a kernel's own use -------------------------------------------------------------------
# They begin at a multiple of a register's width: if their columns are whole vectors, no register is loaded
# from two lines of the processor's cache, which takes twice as long.


@helper
def aligned_empty(rows, columns, dtype):
    """An array (rows, columns) whose numbers may be anything."""
    memory = np.empty(rows * columns + REGISTER_LANES, dtype)
    start = -(memory.ctypes.data // memory.itemsize) % REGISTER_LANES
    return memory[start : start + rows * columns].reshape(rows, columns)


@helper
def aligned_zeros(rows, columns, dtype):
    """An array (rows, columns) of zeros."""
    array = aligned_empty(rows, columns, dtype)
    array[:] = 0
    return array
