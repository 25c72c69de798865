"""SSH servers on this machine: `python ssh_servers.py FOLDER NAME...`, the folder being a user's ~/.ssh.

Every name becomes a host in the user's configuration, with a port and a label of its own. "bare..." has no
Python, "stranger..." another key than the user knows, "broken..." a Dask that can be imported but does not
start, and on "down..." nobody listens. Says "ready" when all have started; what they start belongs to their
session.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

import asyncssh

PIPES = dict.fromkeys(("stdout", "stderr"), asyncio.subprocess.PIPE)


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
        environment = os.environ | {"AUTOLLM_MACHINE": name}
        started = await asyncio.create_subprocess_shell(command, env=environment, **PIPES)
        with contextlib.suppress(OSError):  # who listened has gone
            await asyncio.gather(
                pass_on(started.stdout, process.stdout), pass_on(started.stderr, process.stderr)
            )
        process.exit(await started.wait())

    return await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[key],
        authorized_client_keys=str(folder / "authorized_keys"),
        process_factory=obey,
        encoding=None,
    )


async def pass_on(source: asyncio.StreamReader, target: asyncssh.SSHWriter) -> None:
    while data := await source.read(65536):
        target.write(data)


if __name__ == "__main__":
    os.setsid()
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:]))
