"""SSH servers on this machine: `python ssh_servers.py FOLDER NAME...`, the folder being a user's ~/.ssh.

Every name becomes a host in the user's configuration, with a port and a label of its own. "bare..." has no
Python, "stranger..." another key than the user knows, "broken..." a Dask that can be imported but does not
start, and on "down..." nobody listens. Says "ready" when all have started; what they start belongs to their
session. To import Dask takes longest: so Python is not started, but copied from a process that has done that.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncssh
import distributed  # noqa: F401  (for the copies)

sys.path.insert(0, str(Path(__file__).parent))

import warm
from commands import SERVERS, Running


async def serve(folder: Path, names: list[str]) -> None:
    key, host_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    key.write_private_key(str(folder / "id_ed25519"))
    key.write_public_key(str(folder / "authorized_keys"))
    config, known = "", ""
    running = []
    for name in names:
        port = free_port()
        config += f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n"
        told = key if name.startswith("stranger") else host_key
        known += f"[127.0.0.1]:{port} {told.export_public_key().decode()}"
        if not name.startswith("down"):
            running.append(await listen(name, port, host_key, folder))
    (folder / "config").write_text(config)
    (folder / "known_hosts").write_text(known)
    print("ready", flush=True)
    await asyncio.Event().wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def listen(name: str, port: int, key: asyncssh.SSHKey, folder: Path) -> asyncssh.SSHAcceptor:
    async def obey(process: asyncssh.SSHServerProcess) -> None:
        command = process.command or ""
        if name.startswith("bare"):
            command = command.replace(sys.executable, "/no/python")
        if name.startswith("broken"):
            command = command.replace("distributed.cli", "no_such_module")
        (said, out), (complained, err) = os.pipe(), os.pipe()
        wait = start(command, os.environ | {"AUTOLLM_MACHINE": name}, out, err)
        await process.redirect(stdout=said, stderr=complained, send_eof=False)  # one may end before the other
        await asyncio.gather(process.stdout.drain(), process.stderr.drain())
        process.exit(await asyncio.to_thread(wait))

    return await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[key],
        authorized_client_keys=str(folder / "authorized_keys"),
        process_factory=obey,
        encoding=None,
    )


def start(command: str, environment: dict[str, str], out: int, err: int) -> Callable[[], int]:
    """Begin what a shell would make of a command, Python in a copy; what waits for its end."""
    words = shlex.split(command)  # env NAME=VALUE ... PROGRAM ARGUMENT ...
    while words[0] == "env" or "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment |= {name: value}
    with open(os.devnull) as nothing, open(out, "w") as output, open(err, "w") as errors:
        if words[0] == sys.executable:
            return Running(words[1:], nothing, output, errors, env=environment, warm="fleet").wait
        return subprocess.Popen(
            command, shell=True, env=environment, stdin=nothing, stdout=output, stderr=errors
        ).wait


def begin_copies() -> None:
    """Begin the process that is copied for every Python on a host. It knows no module of this project."""
    SERVERS["fleet"].channel, theirs = socket.socketpair()
    if not os.fork():
        for name in [name for name in sys.modules if name.partition(".")[0] in ("autollm", "benchmarks")]:
            del sys.modules[name]
        SERVERS["fleet"].channel.close()
        warm.serve(theirs)
        os._exit(0)
    theirs.close()


if __name__ == "__main__":
    os.setsid()
    begin_copies()
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:]))
