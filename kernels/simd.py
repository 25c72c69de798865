"""Vectors and register tiles for the kernels.

A *vector* is a row of LANES numbers, a *tile* is ROWS vectors. In plain Python they are NumPy arrays, and every function
here is a line of NumPy; that line is its meaning. In compiled code a vector lives in registers, and the same function
becomes the few LLVM instructions that the builder below it emits. LLVM cuts a vector into whatever the machine has, so
LANES and ROWS decide how fast a kernel is, never what it computes.

Arrays are C-contiguous float32. Elements are addressed by their place i in the flattened array: row r and column c of a
(rows, columns) array are at r * columns + c. Nothing here checks a place: that is the kernel's duty.
"""

import operator

import numpy as np
from llvmlite import binding, ir
from numba.core import config, types
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin, models, register_model

# A vector is two registers wide, so that each number broadcast to all lanes is used twice. A tile's ROWS vectors stay in
# registers while a matrix product runs: 9 * 2 of AVX-512's 32 registers (and NEON's), 6 * 2 of AVX2's and SSE's 16; the
# rest hold the operands.
_features = binding.get_host_cpu_features().flatten() if config.CPU_FEATURES is None else config.CPU_FEATURES
_has = set(_features.split(","))
REGISTER_LANES = 16 if "+avx512f" in _has else 8 if "+avx2" in _has else 4
LANES = 2 * REGISTER_LANES
ROWS = 9 if "+avx512f" in _has or "+neon" in _has else 6


# --- vectors ----------------------------------------------------------------------------------------------------------


def load(array, i):
    """The LANES numbers from place i on."""
    return array.reshape(-1)[i : i + LANES]


def load_first(array, i, n, fill):
    """The n numbers from place i on, then `fill` in the lanes that are left; nothing else is read. 1 <= n."""
    n = min(n, LANES)
    vector = np.full(LANES, fill, array.dtype)
    vector[:n] = array.reshape(-1)[i : i + n]
    return vector


def store(vector, array, i):
    array.reshape(-1)[i : i + LANES] = vector


def store_first(vector, array, i, n):
    """Write the first n lanes from place i on, and nothing else. 1 <= n."""
    n = min(n, LANES)
    array.reshape(-1)[i : i + n] = np.broadcast_to(vector, LANES)[:n]


def run_length(integers, i, n):
    """How many of the n integers from place i on, up to the first other one, equal the first: 1 to min(n, LANES)."""
    run = integers.reshape(-1)[i : i + min(n, LANES)]
    return int(np.argmax(run != run[0])) if np.any(run != run[0]) else len(run)


def splat(x):
    """x in every lane."""
    return x


def multiply_add(a, b, c):
    """a * b + c, rounded once where the machine can."""
    return a * b + c


def maximum(a, b):
    """The larger of each pair; of a number and a NaN, either."""
    return np.maximum(a, b)


def max_lanes(a):
    return np.max(a)


def sum_lanes(a):
    return np.sum(a)


def exp(x):
    """e**x for x <= 88, to a relative error of 1e-7 or so; 0 for x below -87; NaN for NaN."""
    return np.exp(x)


# --- tiles ------------------------------------------------------------------------------------------------------------
# A tile often hangs over the lower edge of a matrix: only `rows` of its rows exist. Those below then repeat the last one,
# computing and writing the same numbers again, which is cheaper than a second kind of tile.


def tile_zero():
    return 0.0


def tile_load(array, i, stride, rows, n):
    """Row r: the first n lanes from place i + r * stride on, zeros in the rest."""
    return np.stack([load_first(array, i + r * stride, n, 0.0) for r in range(min(rows, ROWS))])


def tile_store(tile, array, i, stride, rows, n):
    for r in range(min(rows, ROWS)):
        store_first(tile[r], array, i + r * stride, n)


def tile_add_outer(tile, array, i, stride, rows, vector):
    """tile + outer(column, vector): row r gains array[i + r * stride] * vector. The heart of a matrix product."""
    column = array.reshape(-1)[i : i + (min(rows, ROWS) - 1) * stride + 1 : stride]
    return tile + column[:, None] * vector


# --- what compiled code makes of them ---------------------------------------------------------------------------------

_f32 = ir.FloatType()
_i32 = ir.IntType(32)
_vec = ir.VectorType(_f32, LANES)
_ivec = ir.VectorType(_i32, LANES)
_mask = ir.VectorType(ir.IntType(1), LANES)
_tile = ir.ArrayType(_vec, ROWS)


class _VectorType(types.Type):
    pass


class _TileType(types.Type):
    pass


Vector = _VectorType(f"float32x{LANES}")
Tile = _TileType(f"float32x{ROWS}x{LANES}")


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _vec)


@register_model(_TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _tile)


INTEGERS = object()
A, I, F, V, T, NONE = types.Array, types.intp, types.float32, Vector, Tile, types.void


def _compiles(function, result, *arguments):
    """Decorator: the builder emits the compiled meaning of `function`. It is called with the LLVM builder and the
    values; an array arrives as the pointer to its first element."""

    def accepts(given):
        def fits(have, want):
            if want is A or want is INTEGERS:
                dtype = F if want is A else types.int32
                return isinstance(have, A) and have.dtype == dtype and have.layout == "C"
            if want is V or want is T:
                return have == want
            return isinstance(have, types.Number)

        return len(given) == len(arguments) and all(map(fits, given, arguments))

    def decorate(build):
        @infer_global(function)
        class Typing(AbstractTemplate):
            key = function

            def generic(self, given, _):
                if accepts(given):
                    return signature(
                        result, *(h if isinstance(h, A) else w for h, w in zip(given, arguments))
                    )

        @lower_builtin(function, *(A if want is INTEGERS else want for want in arguments))
        def lowering(context, builder, sig, values):
            values = [
                context.make_array(t)(context, builder, v).data if isinstance(t, A) else v
                for t, v in zip(sig.args, values)
            ]
            out = build(builder, *values)
            return context.get_dummy_value() if result is NONE else out

        return build

    return decorate


def _call(b, name, result, *values):
    """Call an LLVM intrinsic. "contract" is harmless and keeps numba from adding its own fastmath flags."""
    function = b.module.declare_intrinsic(name, (), ir.FunctionType(result, [v.type for v in values]))
    flags = ("contract",) if result in (_vec, _f32) and "masked" not in name else ()
    return b.call(function, values, fastmath=flags)


def _address(b, pointer, i):
    return b.bitcast(b.gep(pointer, [i]), _vec.as_pointer())


def _first(b, n):
    """The mask of lanes 0..n-1."""
    lanes = ir.Constant(n.type, LANES)
    n = b.trunc(b.select(b.icmp_signed("<", n, lanes), n, lanes), _i32)
    return b.icmp_unsigned("<", ir.Constant(_ivec, list(range(LANES))), _broadcast(b, n, _ivec))


def _broadcast(b, x, vector=_vec):
    one = b.insert_element(ir.Constant(vector, ir.Undefined), x, ir.Constant(_i32, 0))
    return b.shuffle_vector(one, one, ir.Constant(_ivec, [0] * LANES))


def _constant(x):
    return ir.Constant(_vec, [x] * LANES)


def _row(b, r, stride, rows):
    """r * stride, or the last row's where row r does not exist."""
    last = b.sub(rows, ir.Constant(rows.type, 1))
    r = ir.Constant(rows.type, r)
    return b.mul(b.select(b.icmp_signed("<", r, last), r, last), stride)


_ALIGN = ir.Constant(_i32, 4)


@_compiles(load, V, A, I)
def _load(b, array, i):
    return b.load(_address(b, array, i), align=4)


@_compiles(store, NONE, V, A, I)
def _store(b, vector, array, i):
    b.store(vector, _address(b, array, i), align=4)


def _masked_load(b, address, mask, fill):
    return _call(b, f"llvm.masked.load.v{LANES}f32.p0", _vec, address, _ALIGN, mask, fill)


def _masked_store(b, vector, address, mask):
    _call(b, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), vector, address, _ALIGN, mask)


@_compiles(load_first, V, A, I, I, F)
def _load_first(b, array, i, n, fill):
    return _masked_load(b, _address(b, array, i), _first(b, n), _broadcast(b, fill))


@_compiles(store_first, NONE, V, A, I, I)
def _store_first(b, vector, array, i, n):
    _masked_store(b, vector, _address(b, array, i), _first(b, n))


@_compiles(run_length, I, INTEGERS, I, I)
def _run_length(b, integers, i, n):
    start, mask = b.gep(integers, [i]), _first(b, n)
    address = b.bitcast(start, _ivec.as_pointer())
    first = _broadcast(b, b.load(start), _ivec)
    run = _call(
        b,
        f"llvm.masked.load.v{LANES}i32.p0",
        _ivec,
        address,
        _ALIGN,
        mask,
        b.add(first, ir.Constant(_ivec, [1] * LANES)),
    )
    equal = b.bitcast(b.icmp_signed("==", run, first), ir.IntType(LANES))
    length = b.cttz(b.not_(equal), ir.Constant(ir.IntType(1), 0))
    return b.zext(length, ir.IntType(64))


@_compiles(splat, V, F)
def _splat(b, x):
    return _broadcast(b, x)


@_compiles(multiply_add, V, V, V, V)
def _multiply_add(b, x, y, z):
    return _call(b, f"llvm.fmuladd.v{LANES}f32", _vec, x, y, z)


@_compiles(maximum, V, V, V)
def _maximum(b, x, y):
    return b.select(b.fcmp_ordered(">", x, y, flags=("nsz",)), x, y)


@_compiles(operator.add, V, V, V)
def _add(b, x, y):
    return b.fadd(x, y, flags=("contract",))


@_compiles(operator.sub, V, V, V)
def _sub(b, x, y):
    return b.fsub(x, y, flags=("contract",))


@_compiles(operator.mul, V, V, V)
def _mul(b, x, y):
    return b.fmul(x, y, flags=("contract",))


@_compiles(operator.truediv, V, V, V)
def _div(b, x, y):
    return b.fdiv(x, y, flags=("contract",))


def _halves(b, x, combine):
    """Fold a vector upon itself until one lane is left."""
    n = LANES
    while n > 1:
        n //= 2
        low = ir.Constant(ir.VectorType(_i32, n), list(range(n)))
        high = ir.Constant(ir.VectorType(_i32, n), list(range(n, 2 * n)))
        x = combine(b, b.shuffle_vector(x, x, low), b.shuffle_vector(x, x, high))
    return b.extract_element(x, ir.Constant(_i32, 0))


@_compiles(max_lanes, F, V)
def _max_lanes(b, x):
    return _halves(b, x, _maximum)


@_compiles(sum_lanes, F, V)
def _sum_lanes(b, x):
    return _halves(b, x, _add)


@_compiles(exp, V, V)
def _exp(b, x):
    """e**x = 2**n * e**f, with n the whole number nearest x * log2(e), and |f| <= ln(2)/2.

    Adding 1.5 * 2**23 to a float32 rounds it to a whole number and leaves that number in its lowest bits, ready to be
    shifted up into the exponent: the bits of 2**n. Where 2**n is no normal float32 the exponent is 0, and so is 2**n.
    """
    fma = lambda x, y, z: _multiply_add(b, x, y, z)
    lowest = _constant(-88.0)
    x = b.select(b.fcmp_ordered("<", x, lowest, flags=("nsz",)), lowest, x)  # a NaN is not less: it stays
    shift = _constant(1.5 * 2**23)
    shifted = fma(x, _constant(1.44269504), shift)
    n = b.fsub(shifted, shift, flags=("nsz",))
    f = fma(
        n, _constant(-0.693359375), x
    )  # ln(2) in two parts: the first has few bits, so n times it is exact
    f = fma(n, _constant(2.12194440e-4), f)
    p = _constant(_EXP[0])
    for c in _EXP[1:]:
        p = fma(p, f, _constant(c))
    bits = b.shl(b.bitcast(shifted, _ivec), ir.Constant(_ivec, [23] * LANES))
    power = b.bitcast(b.add(bits, ir.Constant(_ivec, [127 << 23] * LANES)), _vec)
    return b.fmul(p, power, flags=("nsz",))


# e**f for |f| <= ln(2)/2, highest power first: minimax in relative error (1.1e-7) among those that are exact at 0
_EXP = (0.00831247893, 0.0418905524, 0.166671163, 0.499992288, 1.0, 1.0)


@_compiles(tile_zero, T)
def _tile_zero(b):
    return ir.Constant(_tile, None)


@_compiles(tile_load, T, A, I, I, I, I)
def _tile_load(b, array, i, stride, rows, n):
    start, mask, tile = b.gep(array, [i]), _first(b, n), ir.Constant(_tile, ir.Undefined)
    for r in range(ROWS):
        address = _address(b, start, _row(b, r, stride, rows))
        tile = b.insert_value(tile, _masked_load(b, address, mask, _constant(0.0)), r)
    return tile


@_compiles(tile_store, NONE, T, A, I, I, I, I)
def _tile_store(b, tile, array, i, stride, rows, n):
    start, mask = b.gep(array, [i]), _first(b, n)
    for r in range(ROWS):
        _masked_store(b, b.extract_value(tile, r), _address(b, start, _row(b, r, stride, rows)), mask)


@_compiles(tile_add_outer, T, T, A, I, I, I, V)
def _tile_add_outer(b, tile, array, i, stride, rows, vector):
    start = b.gep(array, [i])
    for r in range(ROWS):
        a = b.load(b.gep(start, [_row(b, r, stride, rows)]))
        row = _multiply_add(b, _broadcast(b, a), vector, b.extract_value(tile, r))
        tile = b.insert_value(tile, row, r)
    return tile
