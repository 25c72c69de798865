"""Where compiled kernels are kept, and how they come from there.

numba's key for compiled code knows the function's own file, but neither the helpers it calls from
other files nor settings such as NUMBA_BOUNDSCHECK. So the folder is named by a digest of both: an
edited helper, or a bounds-checked run, never meets machine code made from something else.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba import config


def _digest() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    settings = (numba.__version__, config.BOUNDSCHECK, config.OPT, config.DEBUG_ARRAY_OPT)
    content = b"\0".join(source.read_bytes() for source in sources) + repr(settings).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _cache_folder() -> str | None:
    """The first writable place for compiled kernels; None, with a warning, where there is none."""
    user = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if sys.platform == "win32":
        user = os.environ.get("LOCALAPPDATA") or user
    in_tree = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__pycache__")
    places = [config.CACHE_DIR] if config.CACHE_DIR else [in_tree, os.path.join(user, "autollm")]
    for place in places:
        folder = os.path.join(place, f"kernels-{_digest()}")
        try:
            os.makedirs(folder, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    warnings.warn(
        f"no writable place for compiled kernels ({' or '.join(places)}): they are compiled anew in "
        "every process; set NUMBA_CACHE_DIR to a writable folder",
        stacklevel=2,
    )
    return None


def is_empty_cache() -> bool:
    """Whether no kernel has been kept yet, so that all that are needed have to be compiled."""
    return CACHE_FOLDER is not None and not any(Path(CACHE_FOLDER).rglob("*.nbi"))


@contextmanager
def numba_cache_in(folder: str | None) -> Iterator[None]:
    """numba fixes a function's cache folder when it is decorated; put ours there, then restore."""
    previous = config.CACHE_DIR
    config.CACHE_DIR = folder or previous
    try:
        yield
    finally:
        config.CACHE_DIR = previous


CACHE_FOLDER = None if config.DISABLE_JIT else _cache_folder()


class Report:
    """What compiling or loading kernels has cost this process so far."""

    def __init__(self) -> None:
        self.compiled = 0  # kernels compiled from source
        self.loaded = 0  # kernels loaded from the cache
        self.seconds = 0.0  # time spent on both


report = Report()


def compile_or_load(dispatcher: Any, signature: tuple[Any, ...]) -> Any:
    """Compile or load a kernel for numba's types of its arguments, report it, return the entry point."""
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


def _compile_or_load(dispatcher: Any, signature: tuple[Any, ...]) -> Any:
    """As numba does; but a damaged file in the cache, which raises anything, is made anew."""
    try:
        return dispatcher.compile(signature)
    except OSError:
        raise
    except Exception:
        dispatcher._cache.flush()
        return dispatcher.compile(signature)
