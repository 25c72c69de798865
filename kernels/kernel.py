"""The one decorator that every kernel wears, and the one of the functions that kernels call.

`@kernel("w (V, D), h (B, D), out (B, V)")` compiles a function with numba on its first call, for the
arguments it declares and for no others, and keeps the machine code on disk. So the check that an array is
float32, C-contiguous and writeable costs nothing: what calls the compiled code does it, at every call, be it
numba's dispatcher or a builtin function (autollm.kernels.builtin).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config
from numba.extending import register_jitable

from autollm.kernels import builtin
from autollm.kernels.arguments import Argument, check_types, parse, with_check
from autollm.kernels.cache import cached_njit, compile_or_load
from autollm.kernels.errors import IdError

# Sums may be regrouped and products fused, which vector units need; NaN and infinity stay what they
# are, because a diverging loss must be seen.
OPTIONS = {"fastmath": {"reassoc", "contract", "nsz", "arcp"}, "error_model": "numpy"}
BUILTINS = not config.DISABLE_JIT and builtin.is_possible()


def kernel(layout: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at the top of a module with numba, on its first call, for the `layout` of its
    arguments (autollm.kernels.arguments says how to write one).

    A call with other types raises TypeError and names the argument; one with sizes that do not agree raises
    ShapeError and tells them all. With NUMBA_DISABLE_JIT=1 the function runs as plain Python, behind the
    same checks.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        arguments = parse(layout, function)
        if config.DISABLE_JIT:
            return _plain(function, arguments)
        dispatcher = cached_njit(function, pipeline_class=builtin.KernelCompiler, **OPTIONS)

        # numba calls this when no compiled version fits the arguments,
        def compile_declared(*given: Any) -> Any:
            check_types(function, arguments, given)
            entry_point = compile_or_load(dispatcher, tuple(argument.type for argument in arguments))
            if BUILTINS:
                builtin.install(dispatcher)
            return entry_point

        # and this for the function to compile, when it finds none in the cache.
        def implementation(*_: Any) -> Any:
            return with_check(function, arguments)

        dispatcher._compile_for_args = compile_declared
        dispatcher._compiler._get_implementation = implementation
        dispatcher.arguments = arguments
        return builtin.builtin(dispatcher) if BUILTINS else dispatcher

    return decorate


def dispatcher_of(kernel: Any) -> Any:
    """What knows a kernel's `arguments` and `py_func`: numba's dispatcher, or else the kernel itself."""
    return getattr(kernel, "__self__", kernel)


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels call: compiled into each of them; called from Python, it is Python."""
    return register_jitable(**OPTIONS)(function)


@helper
def check_ids(ids: Any, limit: int) -> None:
    """Raise IdError unless every id of an int32 array is in 0..limit-1."""
    flat = ids.reshape(ids.size)
    top = np.uint32(0)
    for i in range(flat.size):
        top = max(top, np.uint32(flat[i]))  # a negative id, read as unsigned, is huge
    if top >= limit:
        for i in range(flat.size):
            if flat[i] < 0 or flat[i] >= limit:
                raise IdError("id {} at position {} is outside 0..{}", flat[i], i, limit - 1)


def _plain(function: Callable[..., Any], arguments: list[Argument]) -> Callable[..., Any]:
    """The function as plain Python, with the checks that dispatch and the compiled code would do."""
    checked = with_check(function, arguments)

    def call(*given: Any) -> Any:
        check_types(function, arguments, given)
        return checked(*given)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call.py_func, call.arguments = function, arguments  # type: ignore[attr-defined]
    return call
