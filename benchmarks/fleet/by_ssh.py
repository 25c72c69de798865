"""The hosts that are reached by SSH: who they are, and which of them can take part."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autollm.errors import InputError
from benchmarks.compare.runs import plain

PYTHON = shlex.quote(sys.executable)  # at the same path everywhere; a folder's name may have spaces
PATIENCE = 20  # seconds for a host to answer, and for its Python to import Dask
IDLE = 60  # seconds after which a cluster that nobody uses any more ends by itself


@dataclass(frozen=True)
class Login:
    """A line of the file of hosts: `host` or `user@host`."""

    text: str

    @property
    def host(self) -> str:
        return self.text.rpartition("@")[2]

    @property
    def options(self) -> dict[str, object]:
        """What asyncssh is told; all else is in the user's SSH configuration."""
        user = self.text.rpartition("@")[0]
        return {"connect_timeout": PATIENCE, "login_timeout": PATIENCE} | ({"username": user} if user else {})


def logins_in(path: Path) -> list[Login]:
    """The hosts that a file lists, each once. Raises InputError if it lists none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--hosts {path}: {getattr(error, 'strerror', None) or 'not text'}") from None
    found = dict.fromkeys(line.partition("#")[0].strip() for line in lines)
    logins = [Login(text) for text in found if text]
    if not logins:
        raise InputError(f"--hosts {path}: there is no host in it")
    return logins


def obstacles(logins: Sequence[Login]) -> list[str]:
    """For each host what keeps it from taking part; an empty text where nothing does.

    Dask itself starts on all hosts or on none, and does not say why.
    """

    async def look_at_all() -> list[str]:
        return await asyncio.gather(*map(_obstacle, logins))

    return asyncio.run(look_at_all())


async def _obstacle(login: Login) -> str:
    import asyncssh

    try:
        async with asyncssh.connect(login.host, **login.options) as connection:
            command = f"{PYTHON} -c 'import distributed'"
            done = await asyncio.wait_for(connection.run(command, errors="replace"), PATIENCE)
    except TimeoutError:
        return f"no answer in {PATIENCE} s"
    except (OSError, ValueError, asyncssh.Error) as error:
        return plain(str(error)) or type(error).__name__
    said = [plain(line) for line in str(done.stderr).splitlines() if line.strip()]
    return "" if done.exit_status == 0 else f"{PYTHON} cannot import Dask: {' / '.join(said[-1:])}"


def start(logins: Sequence[Login]) -> Any:
    """A Dask cluster on these hosts, with its scheduler on the first. Not all workers may have come yet.

    Raises RuntimeError if it does not start.
    """
    import distributed

    try:
        return distributed.SSHCluster(
            [login.host for login in (logins[0], *logins)],
            connect_options=[login.options for login in (logins[0], *logins)],
            remote_python=PYTHON,
            worker_class="distributed.Worker",  # one process: no second one that watches it while it measures
            scheduler_options={"idle_timeout": f"{IDLE} s"},
        )
    except Exception as error:  # Dask raises this very one, and asyncssh its own
        raise RuntimeError(str(error)) from None
