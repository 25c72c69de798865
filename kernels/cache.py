"""Where compiled kernels are kept, and how they come from there.

numba's key for compiled code knows the function's own file, but neither the helpers it calls from
other files nor settings such as NUMBA_BOUNDSCHECK. So the folder is named by a digest of both: an
edited helper, or a bounds-checked run, never meets machine code made from something else.

What lies there is run, so it must come from this user: a folder that others own, or may write to, is not
used. And it must be whole: every file ends in a digest of the rest, and is made anew where that differs.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numba
from numba import config, njit
from numba.core.caching import IndexDataCacheFile
from numba.core.runtime import rtsys


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
            os.makedirs(folder, mode=0o700, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            mine = _is_mine(folder)
        except OSError:
            continue
        if mine:
            return folder
        warnings.warn(
            f"compiled kernels in {folder} are not used: others own it, or may write there", stacklevel=2
        )
    warnings.warn(
        f"no writable place for compiled kernels ({' or '.join(places)}): they are compiled anew in "
        "every process; set NUMBA_CACHE_DIR to a writable folder",
        stacklevel=2,
    )
    return None


def _is_mine(folder: str) -> bool:
    """Whether only this user can have written there."""
    if not hasattr(os, "getuid"):
        return True  # Windows, where a user's folders are the user's
    found = os.stat(folder)
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


class CheckedFiles(IndexDataCacheFile):  # type: ignore[misc]
    """numba's files of one kernel, an index and machine code, each with a digest at its end."""

    @contextmanager
    def _open_for_write(self, path: str) -> Iterator[Any]:
        with super()._open_for_write(path) as file:
            yield file
            file.flush()
            file.write(hashlib.sha256(Path(file.name).read_bytes()).digest())

    def _load_index(self) -> Any:
        return super()._load_index() if _is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not _is_whole(self._data_path(name)):
            raise OSError(f"{name} is damaged")  # to numba: it is not there
        return super()._load_data(name)


def _is_whole(path: str) -> bool:
    """Whether a file ends in the digest of what stands before it."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _load(cache: Any, signature: Any, target: Any) -> Any:
    """numba's `load_overload` without making every function known that numba compiles, which takes 0.1 s."""
    rtsys.initialize(target)  # what machine code may refer to
    with cache._guard_against_spurious_io_errors():
        return cache._load_overload(signature, target)


def is_empty_cache() -> bool:
    """Whether no kernel has been kept yet, so that all that are needed have to be compiled."""
    return CACHE_FOLDER is not None and not any(Path(CACHE_FOLDER).rglob("*.nbi"))


CACHE_FOLDER = None if config.DISABLE_JIT else _cache_folder()


def cached_njit(function: Callable[..., Any], **options: Any) -> Any:
    """numba's `njit`, whose machine code is kept where that of all kernels is."""
    previous = config.CACHE_DIR
    config.CACHE_DIR = CACHE_FOLDER or previous  # which numba reads now
    try:
        dispatcher = njit(cache=CACHE_FOLDER is not None, **options)(function)
    finally:
        config.CACHE_DIR = previous
    if CACHE_FOLDER:
        cache = dispatcher._cache
        cache._cache_file = CheckedFiles(
            cache.cache_path, cache._impl.filename_base, cache._impl.locator.get_source_stamp()
        )
        cache.load_overload = partial(_load, cache)
    return dispatcher


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
        entry_point = dispatcher.compile(signature)
    except OSError as error:  # compiled, but the cache could not be written: a full disk
        warnings.warn(f"the compiled kernels were not kept: {error}", stacklevel=4)
        entry_point = dispatcher.compile(signature)
    report.seconds += time.perf_counter() - start
    if dispatcher.stats.cache_hits:
        report.loaded += 1
    else:
        report.compiled += 1
    return entry_point
