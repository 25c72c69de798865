"""Kernels as builtin functions of Python.

numba's dispatcher looks up which compiled version fits the types of all arguments, and wraps every array
anew: 150 to 500 ns a call. A kernel has one version, whose types are known when it is compiled. So an entry
is compiled with it, of the kind that CPython calls at once (as it does `len`): it compares each argument with
what it expects, reads sizes and data from where NumPy keeps them, and calls the kernel: 15 to 50 ns in all.

Whatever the entry does not expect, it hands to the dispatcher: other types, keywords, and a kernel that
raises, which is run again there. So results and errors are the dispatcher's. The entries are not used where
objects do not lie in memory as they expect, nor with AUTOLLM_BUILTINS=0.
"""

from __future__ import annotations

import ctypes
import os
import sysconfig
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import as_dtype


class ArrayObject(ctypes.Structure):
    """How an array lies in memory: `PyArrayObject_fields` in NumPy's ndarraytypes.h."""

    _fields_ = (
        ("references", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),  # every object has these two
        ("data", ctypes.c_void_p),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("dtype", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


class Method(ctypes.Structure):
    """What a builtin function is made from: CPython's `PyMethodDef`, read at every call."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


FASTCALL = 0x0080 | 0x0002  # METH_FASTCALL | METH_KEYWORDS: called as FUNCTION says
BEHAVED = 0x0001 | 0x0100 | 0x0400  # NPY_ARRAY_C_CONTIGUOUS, _ALIGNED and _WRITEABLE

BOOL, INT, INT64, SSIZE = (ir.IntType(bits) for bits in (1, 32, 64, 8 * ctypes.sizeof(ctypes.c_ssize_t)))
OBJECT = ir.IntType(8).as_pointer()
# PyObject *function(PyObject *self, PyObject **arguments, Py_ssize_t count, PyObject *names)
FUNCTION = ir.FunctionType(OBJECT, [OBJECT, OBJECT.as_pointer(), SSIZE, OBJECT])

# What the entries refer to, by names that the linker knows: with no address in it, machine code can be kept.
DTYPES = [np.dtype(name) for name in ("f4", "f8", "i4", "i8", "u4", "u8")]
OBJECTS = {"ndarray": np.ndarray, "int": int, "float": float} | {dtype.name: dtype for dtype in DTYPES}
for name, known in OBJECTS.items():
    binding.add_symbol(f"autollm.{name}", id(known))
DISPATCH, LONG = "PyObject_Vectorcall", "PyLong_AsLongLongAndOverflow"
for name in DISPATCH, LONG:
    binding.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)


def is_possible() -> bool:
    """Whether entries may be used: nobody forbids it, and an array lies in memory as they expect."""
    if os.environ.get("AUTOLLM_BUILTINS") == "0" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    sample = np.zeros((2, 3), np.float32)
    seen = ArrayObject.from_address(id(sample))
    expected = (id(np.ndarray), sample.ctypes.data, 2, id(sample.dtype), BEHAVED)
    if (seen.type, seen.data, seen.ndim, seen.dtype, seen.flags & BEHAVED) != expected:
        return False
    pair = ctypes.c_ssize_t * 2
    shape, strides = pair.from_address(seen.shape), pair.from_address(seen.strides)
    return (*shape, *strides) == (*sample.shape, *sample.strides)


def builtin(dispatcher: Any) -> Any:
    """A builtin function that calls a dispatcher, its `__self__`, until `install` shows it a shorter way."""
    dispatch = ctypes.cast(getattr(ctypes.pythonapi, DISPATCH), ctypes.c_void_p)
    doc = (dispatcher.__doc__ or "").encode()
    method = Method(dispatcher.__name__.encode(), dispatch, FASTCALL, doc)
    dispatcher.method = method  # so it lives as long as the function that is made from it
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    return new(ctypes.addressof(method), dispatcher, dispatcher.__module__)


def install(dispatcher: Any) -> None:
    """Let the builtin function of a dispatcher, which has been compiled by now, enter the kernel directly."""
    (compiled,) = dispatcher.overloads.values()
    entry = compiled.library.get_pointer_to_function(_name(compiled.fndesc))
    if entry:
        dispatcher.method.function = entry


# --- compiling entries -----------------------------------------------------------------------------


class LowerWithEntry(Lower):  # type: ignore[misc]
    """numba's generation of code, with our entry in place of one for C, which nobody calls."""

    def create_cfunc_wrapper(self) -> None:
        if all(isinstance(kind, types.Array) or kind in NUMBERS for kind in self.fndesc.argtypes):
            self.library.add_ir_module(Entry(self.context, self.fndesc).module)


@register_pass(mutates_CFG=True, analysis_only=False)
class LoweringWithEntry(NativeLowering):  # type: ignore[misc]
    _name = "lowering_with_entry"
    lowering_class = LowerWithEntry


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    """numba's compiler with that step instead of its own."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [
            (LoweringWithEntry if step is NativeLowering else step, told) for step, told in passes.passes
        ]
        passes.finalize()
        return [passes]


NUMBERS = {types.int64: "int", types.float64: "float"}


def _name(fndesc: Any) -> str:
    return f"builtin.{fndesc.mangled_name}"


class Entry:
    """A module of LLVM's code with a FUNCTION that enters a kernel."""

    def __init__(self, context: Any, fndesc: Any) -> None:
        self.context = context
        self.module = context.create_module("builtin")
        self.function = ir.Function(self.module, FUNCTION, _name(fndesc))
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.otherwise = self.function.append_basic_block()

        dispatcher, arguments, count, names = self.function.args
        self.expect(count, SSIZE(len(fndesc.argtypes)))
        self.expect(names, OBJECT(None))
        values = []
        for i, kind in enumerate(fndesc.argtypes):
            given = self.builder.load(self.builder.gep(arguments, [SSIZE(i)]))
            values.append((self.number if kind in NUMBERS else self.array)(given, kind))
        convention = context.call_conv
        kernel_type = convention.get_function_type(fndesc.restype, fndesc.argtypes)
        kernel = ir.Function(self.module, kernel_type, fndesc.llvm_func_name)
        status, value = convention.call_function(
            self.builder, kernel, fndesc.restype, fndesc.argtypes, values, attrs=("noinline",)
        )
        self.expect(status.is_ok, BOOL(1))
        python = context.get_python_api(self.builder)
        self.builder.ret(python.from_native_return(fndesc.restype, value, None))

        self.builder.position_at_end(self.otherwise)
        dispatch = ir.Function(self.module, FUNCTION, DISPATCH)
        self.builder.ret(self.builder.call(dispatch, [dispatcher, arguments, count, names], tail=True))

    def expect(self, value: Any, expected: Any) -> None:
        """Go on if these two are equal, and to the dispatcher if not."""
        go_on = self.function.append_basic_block()
        same = self.builder.icmp_signed("==", value, expected)
        self.builder.cbranch(same, go_on, self.otherwise).set_weights([1000, 1])
        self.builder.position_at_end(go_on)

    def read(self, given: Any, field: Any) -> Any:
        """One of ArrayObject's fields, as a whole number."""
        place = self.builder.gep(given, [SSIZE(field.offset)])
        return self.builder.load(self.builder.bitcast(place, ir.IntType(8 * field.size).as_pointer()))

    def address(self, name: str) -> Any:
        """Where one of OBJECTS is."""
        name = f"autollm.{name}"
        symbol = self.module.globals.get(name) or ir.GlobalVariable(self.module, ir.IntType(8), name)
        return self.builder.ptrtoint(symbol, SSIZE)

    def array(self, given: Any, kind: Any) -> Any:
        """What numba makes of an array, which must be one of this kind."""
        dtype = as_dtype(kind.dtype)
        self.expect(self.read(given, ArrayObject.type), self.address("ndarray"))
        self.expect(self.read(given, ArrayObject.dtype), self.address(dtype.name))
        self.expect(self.read(given, ArrayObject.ndim), INT(kind.ndim))
        behaved = self.builder.and_(self.read(given, ArrayObject.flags), INT(BEHAVED))
        self.expect(behaved, INT(BEHAVED))
        sizes = ir.ArrayType(SSIZE, kind.ndim).as_pointer()
        shape, strides = (
            self.builder.load(self.builder.inttoptr(self.read(given, field), sizes))
            for field in (ArrayObject.shape, ArrayObject.strides)
        )
        value = self.context.make_array(kind)(self.context, self.builder)
        data = self.builder.inttoptr(self.read(given, ArrayObject.data), value.data.type)
        populate_array(value, data, shape, strides, dtype.itemsize, meminfo=None)
        return value._getvalue()

    def number(self, given: Any, kind: Any) -> Any:
        """What numba makes of a number, which must be a Python int or float and fit."""
        self.expect(self.read(given, ArrayObject.type), self.address(NUMBERS[kind]))
        if kind == types.float64:
            return self.context.get_python_api(self.builder).float_as_double(given)
        overflow = self.builder.alloca(INT)
        convert = self.module.globals.get(LONG) or ir.Function(
            self.module, ir.FunctionType(INT64, [OBJECT, INT.as_pointer()]), LONG
        )
        value = self.builder.call(convert, [given, overflow])
        self.expect(self.builder.load(overflow), INT(0))
        return value
