"""The commands as a user types them, each run in a process of its own that starts warm.

To import numba and load the kernels takes longer than most runs that a test needs. So one process does it
once, and forks for every run: the copy gets the run's arguments, folder, environment and real file
descriptors, and ends as a command ends. What a process does before it has imported everything, and
what its interpreter decides (encodings, closed streams), is tested in fresh processes: `fresh`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

LIMIT = 120  # seconds after which a run is killed, so that none is ever left behind


class Server:
    """The warm process, started by the first run and ended with the tests."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None

    def start(self, request: dict[str, Any], descriptors: list[int]) -> int:
        """Begin a run; its process id."""
        if self.channel is None:
            self.channel, theirs = socket.socketpair()
            command = [sys.executable, __file__, str(theirs.fileno())]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
            theirs.close()
        content = json.dumps(request).encode()
        socket.send_fds(self.channel, [len(content).to_bytes(4, "big")], descriptors)
        self.channel.sendall(content)
        return self._answer()

    def status(self) -> int:
        """How the run that was begun last has ended."""
        return self._answer()

    def _answer(self) -> int:
        assert self.channel
        answer = self.channel.recv(8, socket.MSG_WAITALL)
        assert len(answer) == 8, "the warm process has died"
        return int.from_bytes(answer, "big", signed=True)

    def close(self) -> None:
        if self.channel and self.process:
            self.channel.close()
            self.process.wait()
            self.channel = None


server = Server()


class Running:
    """A run that goes on, as subprocess.Popen has it."""

    def __init__(self, arguments, stdin, stdout, stderr, cwd=None, env=None):
        request = {"argv": arguments, "cwd": str(cwd or os.getcwd()), "env": dict(env or os.environ)}
        self.pid = server.start(request, [stream.fileno() for stream in (stdin, stdout, stderr)])

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return server.status()


def autollm(*arguments, stdin=b"", stdout=None, cwd=None, env=None):
    """Run `autollm ...` to its end; what it printed, as text and (`.bytes`, `.error_bytes`) as it was."""
    if not hasattr(os, "fork"):
        return fresh(*arguments, stdin=stdin, stdout=stdout, cwd=cwd, env=env)
    with contextlib.ExitStack() as stack:
        given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin.encode() if isinstance(stdin, str) else stdin)
        given.seek(0)
        status = Running(arguments, given, stdout or out, err, cwd, env).wait()
        out.seek(0)
        err.seek(0)
        return _done(arguments, status, out.read(), err.read())


def fresh(*arguments, stdin=b"", stdout=None, cwd=None, env=None):
    """The same in a process that starts from nothing, by `python -m autollm`."""
    return _whole([sys.executable, "-m", "autollm"], arguments, stdin, stdout, cwd=cwd, env=env)


def installed(*arguments, stdin=b"", stdout=None, **where):
    """The same by the command that is installed."""
    return _whole([str(Path(sys.executable).with_name("autollm"))], arguments, stdin, stdout, **where)


def _whole(command, arguments, stdin, stdout, **where):
    given = stdin.encode() if isinstance(stdin, str) else stdin
    out = stdout or subprocess.PIPE
    done = subprocess.run([*command, *arguments], input=given, stdout=out, stderr=subprocess.PIPE, **where)
    return _done(arguments, done.returncode, done.stdout or b"", done.stderr)


def _done(arguments, status, out, err):
    done = subprocess.CompletedProcess(
        arguments, status, out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape")
    )
    done.bytes, done.error_bytes = out, err
    return done


def serve(channel: socket.socket) -> None:
    """Fork for every request, until the tests have gone."""
    _warm_up()
    while True:
        head, descriptors, *_ = socket.recv_fds(channel, 4, 3)
        if len(head) < 4:
            return
        request = json.loads(channel.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
        child = os.fork()
        if not child:
            channel.close()
            os._exit(_run(request, descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        channel.sendall(child.to_bytes(8, "big"))
        _, status = os.waitpid(child, 0)
        channel.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))


def _warm_up() -> None:
    """Load what a run needs; kernels of other models are loaded by the runs that need them."""
    import gc
    import io

    from autollm import ladder, sample, train  # noqa: F401  (so that no run has to import them)
    from autollm.kernels.cache import report

    with contextlib.redirect_stdout(io.StringIO()):
        train.main(["--steps", "1", "--samples", "1", "--quiet"])
    report.__init__()  # type: ignore[misc]  (a run begins to count at 0)
    gc.collect()
    gc.freeze()


def _run(request: dict[str, Any], descriptors: list[int]) -> int:
    """In the copy: become the process that was asked for, and its exit status."""
    signal.alarm(LIMIT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # these two as Python begins
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["autollm", *request["argv"]]
    status: Any = 0
    try:
        from autollm.__main__ import main

        status = main()
    except SystemExit as end:  # as the interpreter goes on from here
        atexit._run_exitfuncs()
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    return status or 0


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
