"""A process that has imported what takes long, and forks for every run: `python tests/warm.py FD`.

The copy gets the run's arguments, folder, environment and real file descriptors, and ends as a process ends.
What it runs is imported afresh, but for what its kind says. The process itself is of the kind "imported"; on
request a copy becomes another. tests/commands.py sends the requests.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import traceback
import types
from pathlib import Path
from typing import Any

UNUSED = ("scipy", "coverage", "cffi")
LIMIT = 600  # seconds after which a run is killed, so that none is ever left behind


def python_path() -> list[str]:
    """The folders that the environment names."""
    given = os.environ.get("PYTHONPATH")
    return given.split(os.pathsep) if given else []


PATH = sys.path[1 + len(python_path()) :]  # which every process has


def imported() -> None:
    """numba, which has not looked yet for what processor it is to compile. As in a command, it is not to load
    what no kernel uses (autollm/__init__.py)."""
    sys.modules |= dict.fromkeys(UNUSED)
    import numba  # noqa: F401


def numba() -> None:
    """numba, and what it does for the first function that it compiles."""
    import numba
    import numpy as np

    numba.njit(lambda x: x[0] * 2)(np.ones(3, np.float32))
    for name in UNUSED:  # from here on who asks for them gets them
        del sys.modules[name]


def autollm() -> None:
    """The commands with the kernels of the default model; those of others are loaded by the runs."""
    from autollm import ladder, sample, train  # noqa: F401  (so that no run has to import them)
    from autollm.kernels.cache import report

    with contextlib.redirect_stdout(io.StringIO()):
        train.main(["--steps", "1", "--samples", "1", "--quiet"])
    report.__init__()  # type: ignore[misc]  (a run begins to count at 0)


def pytest() -> None:
    """pytest with its plugins, and what tests and benchmarks take from other projects."""
    import pytest

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        Path(folder, "conftest.py").write_text("import cpuinfo, hypothesis.strategies")
        pytest.main(["--collect-only", "-p", "no:cacheprovider", "--rootdir", folder, folder])


def fleet() -> None:
    """The fleet's command with Dask, and what else it imports, as far as that is installed."""
    for name in ("distributed", "asyncssh", "scipy.stats"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from benchmarks.fleet import __main__, by_ssh  # noqa: F401


KINDS = {"imported": imported, "numba": numba, "autollm": autollm, "pytest": pytest, "fleet": fleet}


def become(kind: str, channel: socket.socket) -> None:
    """Import what runs of a kind share, and serve them."""
    KINDS[kind]()
    gc.collect()
    gc.freeze()
    serve(channel)


def serve(channel: socket.socket) -> None:
    """Fork for every request, until the tests have gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how those that wait have ended
    while True:
        head, descriptors, *_ = socket.recv_fds(channel, 4, 4)
        if len(head) < 4:
            return
        request = json.loads(channel.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
        if not os.fork():
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if "kind" in request:
                become(request["kind"], socket.socket(fileno=descriptors[0]))
            else:
                wait_for(request, descriptors)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def wait_for(request: dict[str, Any], descriptors: list[int]) -> None:
    """Make the run in a copy, and tell who asked for it its process id, then its exit status. Meanwhile other
    runs can begin."""
    *streams, answer = descriptors
    child = os.fork()
    if not child:
        os.close(answer)
        os._exit(run(request, streams))
    for stream in streams:
        os.close(stream)
    told = socket.socket(fileno=answer)
    told.sendall(child.to_bytes(8, "big"))
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):  # who asked has gone
        told.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))


def run(request: dict[str, Any], descriptors: list[int]) -> int:
    """In the copy: become the process that was asked for, and its exit status."""
    signal.alarm(LIMIT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # these two as Python begins
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:] = [request["cwd"], *python_path(), *PATH]
    importlib.invalidate_caches()
    tempfile.tempdir = None  # the environment may name another folder
    if "numba" in sys.modules:
        sys.modules["numba"].config.reload_config()
    try:
        start(request["argv"])
        status: Any = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    atexit._run_exitfuncs()  # as the interpreter goes on from here
    try:
        sys.stdout.flush()
    except OSError:
        traceback.print_exc()
        status = 120
    return status


def start(words: list[str]) -> None:
    """Run what `python` is told to: `-m module ...`, `-c code ...` or `file ...`."""
    kind, what, *_ = words
    sys.orig_argv = [sys.executable, *words]
    sys.argv = [kind, *words[2:]]
    if kind.endswith(".py"):
        sys.argv = words
        runpy.run_path(kind, run_name="__main__")
    elif kind == "-c":
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(sys.modules["__main__"]))
    elif what == "autollm" and "autollm.__main__" in sys.modules:
        sys.argv[0] = "autollm"
        sys.modules["autollm.__main__"].main()
    else:
        runpy.run_module(what, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)
    become("imported", socket.socket(fileno=int(sys.argv[1])))
