"""The one decorator that every kernel wears.

`@kernel("(f4[:, ::1], i4[:, ::1])")` compiles a function with numba on its first call, for the types
it declares and for no others, and keeps the machine code on disk. So the check that an array is
float32, C-contiguous and writeable costs nothing: numba's own dispatch does it, at every call.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config, njit, typeof, types
from numba.core import sigutils
from numba.extending import register_jitable

from autollm.kernels.cache import CACHE_FOLDER, numba_cache_in
from autollm.kernels.errors import IdError

# Sums may be regrouped and products fused, which vector units need; NaN and infinity stay what they
# are, because a diverging loss must be seen.
OPTIONS = {"fastmath": {"reassoc", "contract", "nsz", "arcp"}, "error_model": "numpy"}


class KernelReport:
    """What compiling or loading kernels has cost this process so far."""

    def __init__(self) -> None:
        self.compiled = 0  # kernels compiled from source
        self.loaded = 0  # kernels loaded from the cache
        self.seconds = 0.0  # time spent on both


report = KernelReport()


def kernel(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with numba on its first call, for `signature` alone.

    A call with other types raises TypeError and names the argument. With NUMBA_DISABLE_JIT=1 the
    function runs as plain Python, behind the same check of types.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if config.DISABLE_JIT:
            return _plain(function, signature)
        with numba_cache_in(CACHE_FOLDER):
            dispatcher = njit(cache=CACHE_FOLDER is not None, **OPTIONS)(function)

        # numba calls this when no compiled version fits the arguments.
        def compile_declared(*args: Any) -> Any:
            _check_types(function, signature, args)
            return _compile(dispatcher, signature)

        dispatcher._compile_for_args = compile_declared
        return dispatcher

    return decorate


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels call: compiled into each of them; called from Python, it is Python."""
    return register_jitable(**OPTIONS)(function)


@helper
def check_ids(ids: Any, limit: int) -> None:
    """Raise IdError unless every id of a flat int32 array is in 0..limit-1."""
    top = np.uint32(0)
    for i in range(ids.size):
        top = max(top, np.uint32(ids[i]))  # a negative id, read as unsigned, is huge
    if top >= limit:
        for i in range(ids.size):
            if ids[i] < 0 or ids[i] >= limit:
                raise IdError("id {} at position {} is outside 0..{}", ids[i], i, limit - 1)


def _compile(dispatcher: Any, signature: str) -> Any:
    """Compile or load `dispatcher` for `signature`, keep the books, return the entry point."""
    start = time.perf_counter()
    try:
        entry_point = _compile_or_load(dispatcher, signature)
    except OSError as error:  # compiled, but the cache could not be written: a full disk
        warnings.warn(f"the compiled kernels were not kept: {error}", stacklevel=4)
        entry_point = dispatcher.compile(signature)
    report.seconds += time.perf_counter() - start
    if dispatcher.stats.cache_hits:
        report.loaded += 1
    else:
        report.compiled += 1
    return entry_point


def _compile_or_load(dispatcher: Any, signature: str) -> Any:
    """As numba does; but a damaged file in the cache, which raises anything, is made anew."""
    try:
        return dispatcher.compile(signature)
    except OSError:
        raise
    except Exception:
        dispatcher._cache.flush()
        return dispatcher.compile(signature)


def _check_types(function: Callable[..., Any], signature: str, args: tuple[Any, ...]) -> None:
    """Raise TypeError for the first of `args` that is not of the declared type."""
    declared, _ = sigutils.normalize_signature(signature)
    names = function.__code__.co_varnames[: len(declared)]
    if len(args) != len(declared):
        raise TypeError(f"{function.__name__} takes {', '.join(names)}; got {len(args)} arguments")
    for name, wanted, value in zip(names, declared, args, strict=True):
        try:
            given = typeof(value)
        except (ValueError, TypeError):
            given = None
        if given == wanted or (given == types.int64 and isinstance(wanted, types.Number)):
            continue
        raise TypeError(f"{function.__name__}: {name} must be {_describe(wanted)}; got {_tell(value)}")


def _describe(wanted: Any) -> str:
    if not isinstance(wanted, types.Array):
        return f"a number of type {wanted}"
    axes = f"{wanted.ndim} axes" if wanted.ndim > 1 else "1 axis"
    return f"a C-contiguous, writeable {wanted.dtype} array with {axes}"


def _tell(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return f"{type(value).__name__} {value!r:.60}"
    kind = f"{value.dtype} of shape {value.shape}"
    if not value.flags.c_contiguous:
        return f"a {'transposed' if value.flags.f_contiguous else 'non-contiguous'} {kind}"
    return kind if value.flags.writeable else f"a read-only {kind}"


def _plain(function: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """`function` as plain Python (NUMBA_DISABLE_JIT=1), with the check that dispatch would do."""

    def call(*args: Any) -> Any:
        _check_types(function, signature, args)
        return function(*args)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call.py_func = function  # type: ignore[attr-defined]
    return call
