"""The commands as a user types them, each run in a process of its own that starts warm.

To import numba and load the kernels takes longer than most runs that a test needs. So a process does it
once, and forks for every run (warm.py). What a process does before it has imported anything, and what its
interpreter decides (closed streams, signals that it ignores), is tested in fresh processes: `fresh`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WARM = Path(__file__).with_name("warm.py")


class Server:
    """A warm process of a kind, started by the first run and ended with the tests."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.process: subprocess.Popen[bytes] | None = None  # unless it is a copy of another
        self.channel: socket.socket | None = None

    def start(self, request: dict[str, Any], descriptors: list[int]) -> socket.socket:
        """Begin a run; where its process id can be read, and its status when it has ended."""
        answers, theirs = socket.socketpair()
        with theirs:
            self._send(request, [*descriptors, theirs.fileno()])
        return answers

    def _send(self, request: dict[str, Any], descriptors: list[int]) -> None:
        if self.channel is None:
            self.channel, theirs = socket.socketpair()
            with theirs:
                self._begin(theirs.fileno())
        content = json.dumps(request).encode()
        socket.send_fds(self.channel, [len(content).to_bytes(4, "big")], descriptors)
        self.channel.sendall(content)

    def _begin(self, channel: int) -> None:
        """To import numba takes longest, and nearly all need it: so the other kinds are copies of a process
        that has it."""
        if self.kind == "imported":
            command = [sys.executable, str(WARM), str(channel)]
            self.process = subprocess.Popen(command, pass_fds=[channel], stdin=subprocess.DEVNULL)
        else:
            SERVERS[COPY_OF[self.kind]]._send({"kind": self.kind}, [channel])

    def close(self) -> None:
        if self.channel:
            with contextlib.suppress(OSError):  # it has died
                self.channel.shutdown(socket.SHUT_WR)
                self.channel.recv(1)  # which comes back when the process has ended
            self.channel.close()
            self.channel = None
        if self.process:
            self.process.wait()
            self.process = None


COPY_OF = {"numba": "imported", "autollm": "numba", "pytest": "numba", "fleet": "numba"}
SERVERS = {kind: Server(kind) for kind in ("imported", *COPY_OF)}


class Running:
    """A run of `python ...` that goes on, as subprocess.Popen has it."""

    def __init__(self, arguments, stdin, stdout, stderr, cwd=None, env=None, warm="autollm"):
        request = {"argv": arguments, "cwd": str(cwd or os.getcwd()), "env": dict(env or os.environ)}
        streams = [stream.fileno() for stream in (stdin, stdout, stderr)]
        self.answers = SERVERS[warm].start(request, streams)
        self.pid = self._answer()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        with self.answers:
            return self._answer()

    def _answer(self) -> int:
        answer = self.answers.recv(8, socket.MSG_WAITALL)
        assert len(answer) == 8, "the warm process has died"
        return int.from_bytes(answer, "big", signed=True)


def python(*arguments, warm="numba", stdin=b"", stdout=None, cwd=None, env=None):
    """Run `python ...` (`-m module` or `-c code`) to its end, in a copy of a warm process of that kind; what
    it printed, as text and (`.bytes`, `.error_bytes`) as it was."""
    if not hasattr(os, "fork"):
        return fresh_python(*arguments, stdin=stdin, stdout=stdout, cwd=cwd, env=env)
    with contextlib.ExitStack() as stack:
        given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin.encode() if isinstance(stdin, str) else stdin)
        given.seek(0)
        status = Running(arguments, given, stdout or out, err, cwd, env, warm).wait()
        out.seek(0)
        err.seek(0)
        return _done(arguments, status, out.read(), err.read())


def autollm(*arguments, **where):
    """The same with `autollm ...`."""
    return python("-m", "autollm", *arguments, warm="autollm", **where)


def fresh_python(*arguments, **where):
    """Run `python ...` in a process that starts from nothing."""
    return _whole([sys.executable, *arguments], **where)


def fresh(*arguments, **where):
    """The same with `python -m autollm ...`."""
    return fresh_python("-m", "autollm", *arguments, **where)


def installed(*arguments, **where):
    """The same with the command that is installed."""
    return _whole([str(Path(sys.executable).with_name("autollm")), *arguments], **where)


def on_a_terminal(*arguments, interrupt=None):
    """Run with standard error on a terminal; the run, and what the terminal got. When it shows the text
    `interrupt`, Ctrl-C is sent."""
    import pty
    import tty

    master, slave = pty.openpty()
    tty.setraw(slave)  # or it puts "\r" before every "\n"
    shown = b""
    with tempfile.TemporaryFile() as out, open(os.devnull) as nothing, open(slave, "wb", 0) as terminal:
        run = Running(("-m", "autollm", *arguments), nothing, out, terminal)
        terminal.close()
        with contextlib.suppress(OSError):  # which says that the other end is closed
            while piece := os.read(master, 4096):
                shown += piece
                if interrupt and interrupt in shown:
                    run.send_signal(signal.SIGINT)
                    interrupt = None
        os.close(master)
        status = run.wait()
        out.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read().decode()), shown


def _whole(command, stdin=b"", stdout=None, cwd=None, env=None):
    given = stdin.encode() if isinstance(stdin, str) else stdin
    out = stdout or subprocess.PIPE
    done = subprocess.run(command, input=given, stdout=out, stderr=subprocess.PIPE, cwd=cwd, env=env)
    return _done(command, done.returncode, done.stdout or b"", done.stderr)


def _done(arguments, status, out, err):
    done = subprocess.CompletedProcess(
        arguments, status, out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape")
    )
    done.bytes, done.error_bytes = out, err
    return done
