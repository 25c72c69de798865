"""Vectors and tiles as types of compiled code, and the decorator that says what a function compiles to."""

from itertools import product

from llvmlite import ir
from numba.core import types
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin, models, register_model

from autollm.kernels.simd import LANES, ROWS


class _Vector(types.Type):
    pass


class _Tile(types.Type):
    pass


FLOAT, INTEGER = ir.FloatType(), ir.IntType(32)
LLVM_VECTOR = ir.VectorType(FLOAT, LANES)
LLVM_TILE = ir.ArrayType(LLVM_VECTOR, ROWS)


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, LLVM_VECTOR)


@register_model(_Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, LLVM_TILE)


VECTOR, TILE = _Vector(f"float32x{LANES}"), _Tile(f"float32x{ROWS}x{LANES}")
OFFSET, NUMBER, NOTHING = types.intp, types.float32, types.void
ARRAY = types.Array  # C-contiguous, of float32 or what `array_of` says
EITHER = object()  # a vector, or a number that stands for the vector with that number in every lane


def compiles_to(function, result, *arguments, array_of=types.float32):
    """Decorator: a builder of the instructions that compiled code gets for a call of `function`.

    It receives the LLVM builder b and the arguments: an array as the pointer to its first element, either of
    vector and number as a vector, the others as they are. Calls with other argument types remain errors.
    """

    def decorate(build):
        for kinds in product(*((VECTOR, NUMBER) if kind is EITHER else (kind,) for kind in arguments)):
            if result is not VECTOR or VECTOR in kinds or EITHER not in arguments:
                _register(function, result, kinds, array_of, _with_vectors(build, arguments))
        return build

    return decorate


def broadcast(b, x, lanes=LANES):
    """A number in every lane of a vector."""
    one = b.insert_element(
        ir.Constant(ir.VectorType(x.type, lanes), ir.Undefined), x, ir.Constant(INTEGER, 0)
    )
    return b.shuffle_vector(one, one, ir.Constant(ir.VectorType(INTEGER, lanes), None))


def _with_vectors(build, arguments):
    """The builder, with a vector for each of its arguments that may be either."""

    def widened(b, *values):
        pairs = zip(values, arguments, strict=True)
        wide = (broadcast(b, x) if kind is EITHER and x.type == FLOAT else x for x, kind in pairs)
        return build(b, *wide)

    return widened


def _register(function, result, kinds, array_of, build):
    """Tell numba that `function` takes arguments of these kinds, and what they compile to."""

    def fits(given, wanted):
        if wanted is ARRAY:
            return isinstance(given, types.Array) and given.dtype == array_of and given.layout == "C"
        if wanted in (VECTOR, TILE):
            return given == wanted
        return isinstance(given, types.Integer if wanted == OFFSET else types.Number)

    @infer_global(function)
    class Typing(AbstractTemplate):
        key = function

        def generic(self, given, _):
            if len(given) != len(kinds) or not all(map(fits, given, kinds)):
                return None
            pairs = zip(given, kinds, strict=True)
            return signature(result, *(g if w is ARRAY else w for g, w in pairs))

    @lower_builtin(function, *kinds)
    def lower(context, b, sig, values):
        pointers = [
            context.make_array(kind)(context, b, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(sig.args, values, strict=True)
        ]
        out = build(b, *pointers)
        return context.get_dummy_value() if result is NOTHING else out
