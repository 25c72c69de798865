"""What compiled code makes of the vectors and tiles of simd.py: LLVM instructions.

Importing this module is what tells numba; the package does it for every kernel.
"""

import operator

from llvmlite import ir
from numba.core import types

from autollm.kernels.simd import (
    LANES,
    REGISTER_LANES,
    ROWS,
    exp,
    load,
    load_first,
    max_lanes,
    maximum,
    minimum,
    multiply_add,
    prefetch,
    run_length,
    splat,
    sqrt,
    store,
    store_first,
    sum_lanes,
    tile_add_outer,
    tile_load,
    tile_store,
    tile_zeros,
    transpose,
)
from autollm.kernels.simd_types import (
    ARRAY,
    EITHER,
    FLOAT,
    INTEGER,
    LLVM_TILE,
    LLVM_VECTOR,
    NOTHING,
    NUMBER,
    OFFSET,
    TILE,
    VECTOR,
    broadcast,
    compiles_to,
)

HAS_MASKED_STORES = REGISTER_LANES == 16  # AVX2 has them too, but on many processors 12 cycles each

# Every floating-point instruction carries a flag of its own, "contract" or "nsz" (both harmless): without
# one, numba would add the kernel's fastmath flags, which may not be applied to exp.

_ALIGN, _ZERO = ir.Constant(INTEGER, 4), ir.Constant(FLOAT, 0.0)


def _i32(x):
    return ir.Constant(INTEGER, x)


def _constant(x, lanes=LANES):
    """x in every lane, float32 or int32."""
    return ir.Constant(ir.VectorType(FLOAT if isinstance(x, float) else INTEGER, lanes), [x] * lanes)


def _lanes(numbers):
    """A vector of int32 constants."""
    return ir.Constant(ir.VectorType(INTEGER, len(numbers)), list(numbers))


def _address(b, pointer, i, of=LLVM_VECTOR):
    return b.bitcast(b.gep(pointer, [i]), of.as_pointer())


def _first(b, n, lanes=LANES):
    """The mask of lanes 0..n-1, of a vector that has more."""
    return b.icmp_unsigned("<", _lanes(range(lanes)), broadcast(b, b.trunc(n, INTEGER), lanes))


def _whole(b, n, lanes=LANES):
    """Whether n lanes are the whole vector, which then needs no mask.

    A masked instruction takes a multiple of a plain one's time on many processors, and where there is none,
    what takes its place goes lane by lane. The branch costs nothing: it goes the same way all along a loop.
    """
    return b.icmp_signed(">=", n, ir.Constant(n.type, lanes))


def _intrinsic(b, name, result, *values):
    function = b.module.declare_intrinsic(name, (), ir.FunctionType(result, [v.type for v in values]))
    return b.call(function, values, fastmath=("contract",) if "fmuladd" in name else ())


def _load_lanes(b, address, n, fill):
    """A vector whose first n lanes are loaded, the others those of `fill`."""
    lanes = fill.type.count
    with b.if_else(_whole(b, n, lanes)) as (if_whole, if_part):
        with if_whole:
            whole, after_whole = b.load(address, align=4), b.block
        with if_part:
            kind = f"v{lanes}" + ("f32" if fill.type.element == FLOAT else "i32")
            name, mask = f"llvm.masked.load.{kind}.p0", _first(b, n, lanes)
            part, after_part = _intrinsic(b, name, fill.type, address, _ALIGN, mask, fill), b.block
    loaded = b.phi(fill.type)
    loaded.add_incoming(whole, after_whole)
    loaded.add_incoming(part, after_part)
    return loaded


def _store_lanes(b, vector, address, n):
    """Store the first n lanes of a vector."""
    with b.if_else(_whole(b, n)) as (if_whole, if_part):
        with if_whole:
            b.store(vector, address, align=4)
        with if_part:
            if HAS_MASKED_STORES:
                name = f"llvm.masked.store.v{LANES}f32.p0"
                _intrinsic(b, name, ir.VoidType(), vector, address, _ALIGN, _first(b, n))
            else:
                _store_pieces(b, vector, b.bitcast(address, FLOAT.as_pointer()), n)


def _store_pieces(b, vector, pointer, n):
    """Store the first n < LANES lanes in pieces of half a vector, a quarter and so on: n is a sum of such."""
    size = LANES // 2
    while size:
        low, high = (b.shuffle_vector(vector, vector, _lanes(range(i, i + size))) for i in (0, size))
        power, before = b.and_(n, ir.Constant(n.type, size)), b.block
        with b.if_then(b.icmp_signed("!=", power, ir.Constant(n.type, 0))):
            b.store(low, b.bitcast(pointer, low.type.as_pointer()), align=4)
            inside = b.block
        vector = b.phi(low.type)
        vector.add_incoming(low, before)
        vector.add_incoming(high, inside)
        pointer, size = b.gep(pointer, [power]), size // 2


@compiles_to(load, VECTOR, ARRAY, OFFSET)
def _load(b, array, i):
    return b.load(_address(b, array, i), align=4)


@compiles_to(load_first, VECTOR, ARRAY, OFFSET, OFFSET)
@compiles_to(load_first, VECTOR, ARRAY, OFFSET, OFFSET, NUMBER)
def _load_first(b, array, i, n, fill=_ZERO):
    return _load_lanes(b, _address(b, array, i), n, broadcast(b, fill))


@compiles_to(store, NOTHING, EITHER, ARRAY, OFFSET)
def _store(b, vector, array, i):
    b.store(vector, _address(b, array, i), align=4)


@compiles_to(store_first, NOTHING, EITHER, ARRAY, OFFSET, OFFSET)
def _store_first(b, vector, array, i, n):
    _store_lanes(b, vector, _address(b, array, i), n)


@compiles_to(splat, VECTOR, NUMBER)
def _splat(b, x):
    return broadcast(b, x)


@compiles_to(operator.add, VECTOR, EITHER, EITHER)
def _add(b, x, y):
    return b.fadd(x, y, flags=("contract",))


@compiles_to(operator.sub, VECTOR, EITHER, EITHER)
def _subtract(b, x, y):
    return b.fsub(x, y, flags=("contract",))


@compiles_to(operator.mul, VECTOR, EITHER, EITHER)
def _multiply(b, x, y):
    return b.fmul(x, y, flags=("contract",))


@compiles_to(operator.truediv, VECTOR, EITHER, EITHER)
def _divide(b, x, y):
    return b.fdiv(x, y, flags=("contract",))


@compiles_to(operator.neg, VECTOR, VECTOR)
def _negative(b, x):
    return b.fneg(x, flags=("contract",))


@compiles_to(multiply_add, VECTOR, EITHER, EITHER, EITHER)
def _multiply_add(b, x, y, z):
    return _intrinsic(b, f"llvm.fmuladd.v{LANES}f32", LLVM_VECTOR, x, y, z)


@compiles_to(maximum, VECTOR, EITHER, EITHER)
def _maximum(b, x, y):
    return b.select(b.fcmp_ordered(">", x, y, flags=("nsz",)), x, y)


@compiles_to(minimum, VECTOR, EITHER, EITHER)
def _minimum(b, x, y):
    return b.select(b.fcmp_ordered("<", x, y, flags=("nsz",)), x, y)


@compiles_to(sqrt, VECTOR, VECTOR)
def _sqrt(b, x):
    return _intrinsic(b, f"llvm.sqrt.v{LANES}f32", LLVM_VECTOR, x)


# e**f for |f| <= ln(2)/2, highest power first: of the polynomials of degree 5 that are 1 at 0, the one of
# least relative error, 9.2e-8.
_EXP = 0.008289204910, 0.04189817980, 0.1666765362, 0.4999914765, 0.9999997020, 1.0


@compiles_to(exp, VECTOR, VECTOR)
def _exp(b, x):
    """e**x = 2**n * e**f, where n is the whole number nearest x / ln(2).

    Adding 1.5 * 2**23 to a float32 rounds it to a whole number, and leaves that number in the lowest
    bits; shifted up into the exponent it makes 2**n. n = -127 makes 0, so x is kept from going lower.
    """
    lowest, shift = _constant(-88.0), _constant(1.5 * 2**23)
    x = b.select(b.fcmp_ordered("<", x, lowest, flags=("nsz",)), lowest, x)  # a NaN is not less: it stays
    shifted = _multiply_add(b, x, _constant(1.44269504), shift)
    n = b.fsub(shifted, shift, flags=("nsz",))
    # ln(2) comes in two parts: n times the first, which has 9 bits, is exact.
    f = _multiply_add(b, n, _constant(-0.693359375), x)
    f = _multiply_add(b, n, _constant(2.12194440e-4), f)
    square = b.fmul(f, f, flags=("nsz",))
    pairs = [_multiply_add(b, f, _constant(_EXP[i]), _constant(_EXP[i + 1])) for i in (0, 2, 4)]
    power = _multiply_add(b, _multiply_add(b, pairs[0], square, pairs[1]), square, pairs[2])
    bits = b.shl(b.bitcast(shifted, _lanes(range(LANES)).type), _constant(23))
    two_to_n = b.bitcast(b.add(bits, _constant(127 << 23)), LLVM_VECTOR)
    return b.fmul(power, two_to_n, flags=("nsz",))


def _fold(b, vector, combine):
    """Combine the two halves of a vector, then those of the result, until one lane is left."""
    n = LANES
    while n > 1:
        n //= 2
        low, high = _lanes(range(n)), _lanes(range(n, 2 * n))
        vector = combine(b, b.shuffle_vector(vector, vector, low), b.shuffle_vector(vector, vector, high))
    return b.extract_element(vector, _i32(0))


@compiles_to(max_lanes, NUMBER, VECTOR)
def _max_lanes(b, vector):
    return _fold(b, vector, _maximum)


@compiles_to(sum_lanes, NUMBER, VECTOR)
def _sum_lanes(b, vector):
    return _fold(b, vector, _add)


@compiles_to(run_length, OFFSET, ARRAY, OFFSET, OFFSET, array_of=types.int32)
def _run_length(b, integers, i, n):
    first = broadcast(b, b.load(b.gep(integers, [i])))
    other = b.not_(first)
    run = _load_lanes(b, _address(b, integers, i, first.type), n, other)
    differs = b.bitcast(b.icmp_signed("!=", run, first), ir.IntType(LANES))
    return b.zext(b.cttz(differs, ir.Constant(ir.IntType(1), 0)), i.type)


@compiles_to(prefetch, NOTHING, ARRAY, OFFSET, array_of=types.int32)
def _prefetch(b, array, i):
    to_read, keep, data = _i32(0), _i32(3), _i32(1)
    _intrinsic(b, "llvm.prefetch.p0", ir.VoidType(), b.gep(array, [i]), to_read, keep, data)


def _row(b, r, stride, rows):
    """The offset of row r, or of the last one if there is no row r."""
    r, last = ir.Constant(rows.type, r), b.sub(rows, ir.Constant(rows.type, 1))
    return b.mul(b.select(b.icmp_signed("<", r, last), r, last), stride)


@compiles_to(tile_zeros, TILE)
def _tile_zeros(b):
    return ir.Constant(LLVM_TILE, None)


@compiles_to(tile_load, TILE, ARRAY, OFFSET, OFFSET, OFFSET, OFFSET)
def _tile_load(b, array, i, stride, rows, n):
    tile, start = ir.Constant(LLVM_TILE, ir.Undefined), b.gep(array, [i])
    for r in range(ROWS):
        row = _load_lanes(b, _address(b, start, _row(b, r, stride, rows)), n, _constant(0.0))
        tile = b.insert_value(tile, row, r)
    return tile


@compiles_to(tile_store, NOTHING, TILE, ARRAY, OFFSET, OFFSET, OFFSET, OFFSET)
def _tile_store(b, tile, array, i, stride, rows, n):
    start = b.gep(array, [i])
    for r in reversed(range(ROWS)):  # rows that repeat the last one come first, and are overwritten
        _store_lanes(b, b.extract_value(tile, r), _address(b, start, _row(b, r, stride, rows)), n)


@compiles_to(tile_add_outer, TILE, TILE, ARRAY, OFFSET, OFFSET, OFFSET, VECTOR)
def _tile_add_outer(b, tile, array, i, stride, rows, vector):
    start = b.gep(array, [i])

    def add(r, tile):
        number = b.load(b.gep(start, [_row(b, r, stride, rows)]))
        row = _multiply_add(b, broadcast(b, number), vector, b.extract_value(tile, r))
        return b.insert_value(tile, row, r)

    for r in range(ROWS - 1):
        tile = add(r, tile)
    before = b.block
    with b.if_then(b.icmp_signed("==", rows, ir.Constant(rows.type, ROWS))):
        whole, inside = add(ROWS - 1, tile), b.block
    either = b.phi(LLVM_TILE)
    either.add_incoming(tile, before)
    either.add_incoming(whole, inside)
    return either


@compiles_to(transpose, NOTHING, ARRAY, OFFSET, OFFSET, OFFSET, OFFSET, ARRAY, OFFSET, OFFSET)
def _transpose(b, source, i, stride, rows, columns, target, j, target_stride):
    """Swap the lower left and upper right quarters of the square, then those of each quarter, and so on."""
    n = REGISTER_LANES
    start, zeros = b.gep(source, [i]), _constant(0.0, n)
    square = [
        _load_lanes(b, _address(b, start, _row(b, r, stride, rows), zeros.type), columns, zeros)
        for r in range(n)
    ]
    half = n // 2
    while half:
        left = _lanes([c - half + n if c & half else c for c in range(n)])
        right = _lanes([c + n if c & half else c + half for c in range(n)])
        for r in range(n):
            if not r & half:
                upper, lower = square[r], square[r + half]
                square[r], square[r + half] = (b.shuffle_vector(upper, lower, side) for side in (left, right))
        half //= 2
    start = b.gep(target, [j])
    for c in range(n):
        offset = b.mul(ir.Constant(target_stride.type, c), target_stride)
        b.store(square[c], _address(b, start, offset, zeros.type), align=4)
