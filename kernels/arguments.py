"""What a kernel says of its arguments, in one line:

    "ids i4 (B, K), g (B, D), dtable (V, D), add i8"

A name, NumPy's short name of a type (f4, float32, where none is given), and the sizes of an array's axes;
without sizes it is a number. Sizes with one name must be equal, a digit is that size, and so is the name of a
number that the kernel's module knows, such as LANES. What cannot be said so is checked in the kernel's own
code.

From the line come the types that numba compiles for, and two checks: of the types, when numba finds nothing
compiled that fits, and of the sizes, put before the kernel's own code and compiled with it.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import from_dtype, typeof, types

from autollm.kernels.errors import ShapeError

ARGUMENT = re.compile(r"(\w+)(?: ([fiu][48]))?(?: \((\w+(?:, \w+)*)\))?(?:, |$)")


@dataclass(frozen=True)
class Argument:
    """One argument; `axes` are the names of an array's sizes, and None for a number."""

    name: str
    dtype: str
    axes: tuple[str, ...] | None

    def __str__(self) -> str:
        return self.name if self.axes is None else f"{self.name} ({', '.join(self.axes)})"

    @property
    def type(self) -> Any:
        """Its type in numba."""
        scalar = from_dtype(np.dtype(self.dtype))
        return scalar if self.axes is None else types.Array(scalar, len(self.axes), "C")


def parse(layout: str, function: Callable[..., Any]) -> list[Argument]:
    """The arguments that a layout names. Raises TypeError if they are not the function's, in its order."""
    arguments = []
    place = 0
    while place < len(layout):
        found = ARGUMENT.match(layout, place)
        if not found or not (found[2] or found[3]):
            raise TypeError(f"{function.__name__}: the layout cannot be read from {layout[place:]!r} on")
        arguments.append(
            Argument(found[1], found[2] or "f4", tuple(found[3].split(", ")) if found[3] else None)
        )
        place = found.end()
    names = inspect.getfullargspec(function).args
    if [argument.name for argument in arguments] != names:
        raise TypeError(f"{function.__name__} takes {', '.join(names)}, but its layout is {layout!r}")
    return arguments


# --- types -----------------------------------------------------------------------------------------


def check_types(function: Callable[..., Any], arguments: list[Argument], given: tuple[Any, ...]) -> None:
    """Raise TypeError for the first of the `given` values that is not of its argument's type."""
    if len(given) != len(arguments):
        names = ", ".join(argument.name for argument in arguments)
        raise TypeError(f"{function.__name__} takes {names}; got {len(given)} arguments")
    for argument, value in zip(arguments, given, strict=True):
        wanted = argument.type
        try:
            found = typeof(value)
        except (ValueError, TypeError):
            found = None
        if found == wanted or (found == types.int64 and argument.axes is None):
            continue
        raise TypeError(
            f"{function.__name__}: {argument.name} must be {_wanted(wanted)}; got {_found(value)}"
        )


def _wanted(wanted: Any) -> str:
    if not isinstance(wanted, types.Array):
        return f"a number of type {wanted}"
    axes = f"{wanted.ndim} axes" if wanted.ndim > 1 else "1 axis"
    return f"a C-contiguous, writeable {wanted.dtype} array with {axes}"


def _found(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return f"{type(value).__name__} {value!r:.60}"
    array = f"{value.dtype} of shape {value.shape}"
    if not value.flags.c_contiguous:
        return f"a {'transposed' if value.flags.f_contiguous else 'non-contiguous'} {array}"
    return array if value.flags.writeable else f"a read-only {array}"


# --- sizes -----------------------------------------------------------------------------------------


def with_check(function: Callable[..., Any], arguments: list[Argument]) -> Callable[..., Any]:
    """The function, made anew from its source with the check of the sizes before its own code.

    To a debugger and in a traceback, that check is on the line of the function's name.
    """
    check = _check(function, arguments)
    if not check:
        return function
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    (condition,) = ast.parse(check).body
    ast.increment_lineno(condition, definition.lineno - 1)
    definition.body.insert(1 if ast.get_docstring(definition, False) else 0, condition)
    # A function around it holds what this one has from outside and its own file does not: the error.
    maker = ast.parse("def make(ShapeError): return None")
    maker.body[0].body = [definition, *ast.parse(f"return {function.__name__}").body]  # type: ignore[attr-defined]
    ast.increment_lineno(definition, function.__code__.co_firstlineno - 1)
    made: dict[str, Any] = {}
    exec(compile(maker, function.__code__.co_filename, "exec"), function.__globals__, made)
    checked: Callable[..., Any] = made["make"](ShapeError)
    checked.__qualname__ = function.__qualname__
    return checked


def _check(function: Callable[..., Any], arguments: list[Argument]) -> str:
    """The code of the check: every size with a name seen before, or a known size, is compared with that."""
    known: dict[str, str] = {}
    unlike, sizes = [], []
    arrays = [argument for argument in arguments if argument.axes is not None]
    for argument in arrays:
        for axis, size in enumerate(argument.axes or ()):
            found = f"{argument.name}.shape[{axis}]"
            sizes.append(found)
            if size.isdigit() or isinstance(function.__globals__.get(size), int):
                unlike.append(f"{found} != {size}")
            elif size in known:
                unlike.append(f"{found} != {known[size]}")
            known.setdefault(size, found)
    if not unlike:
        return ""
    wanted = ", ".join(map(str, arrays))
    got = ", ".join(
        f"{argument.name} ({', '.join(['{}'] * len(argument.axes or ()))})" for argument in arrays
    )
    text = f"{function.__name__}: {wanted} must agree; got {got}"
    return f"if {' or '.join(unlike)}: raise ShapeError({text!r}, {', '.join(sizes)})"
