"""What a host of the fleet does: say which it is, and run the suite once.

Dask sends this module to the hosts by value, so its top imports nothing that is not in Python's own library.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import re
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LABEL = "AUTOLLM_MACHINE"  # an environment variable of a worker: what to call its host

# Runs a command in a group of its own. When standard input ends, the worker has died: then the group is
# ended, and the folder of the run removed, which nobody else would do.
SUPERVISOR = """
import os, shutil, signal, subprocess, sys, threading
folder, *command = sys.argv[1:]
child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
alone = threading.Event()
def watch():
    sys.stdin.buffer.read()
    if child.poll() is None:
        alone.set()
        os.killpg(child.pid, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
status = child.wait()
if alone.is_set():
    shutil.rmtree(folder, ignore_errors=True)
sys.stdout.flush()
os._exit(status if status >= 0 else 128 - status)
"""


class Busy(Exception):
    """Another run is going on, on this host."""


def identify() -> tuple[str, str]:
    """A key that all workers of this host share, and a label for it: never its name."""
    given = os.environ.get(LABEL, "")
    try:
        host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        host = f"{uuid.getnode():x}"
    key = hashlib.sha256(f"{host} {given}".encode()).hexdigest()[:16]
    return key, given or _processor()


def _processor() -> str:
    """The processor, as a label."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    brand = re.sub(r"\((R|TM)\)|CPU|Processor|\d+-Core|@.*", "", model, flags=re.IGNORECASE)
    return "-".join(re.findall(r"[a-z0-9]+", brand.lower())) or "machine"


def run_suite(sources: bytes, label: str, options: Sequence[str]) -> tuple[bytes | None, str]:
    """Unpack the sources, a zip, and run the suite in them: its file of results, and what went wrong.

    It is the task of a worker, which remembers it, for `stop`.
    """
    from distributed import get_worker

    worker = get_worker()
    key, _ = identify()
    with only_one(key), tempfile.TemporaryDirectory(prefix="autollm-") as folder:
        zipfile.ZipFile(io.BytesIO(sources)).extractall(folder)
        results = Path(folder, "results.json")
        command = [sys.executable, "-c", SUPERVISOR, folder, sys.executable, "-m", "pytest"]
        command += ["-p", "no:cacheprovider", "--benchmark", f"--benchmark-json={results}"]
        command += [f"--machine-label={label}", *options]
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            stdin=subprocess.PIPE,  # which ends with this process, whatever becomes of it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # or Ctrl-C at the worker's terminal would end it, and not the suite
        ) as process:
            worker.autollm_run = worker.get_current_task(), process
            assert process.stdout
            said = process.stdout.read()
            status = process.wait()
        lines = [line for line in said.splitlines() if line.strip()]
        told = f"exit status {status}: {' / '.join(lines[-3:])[-400:]}" if status else ""
        return (results.read_bytes() if results.exists() else None), told


def stop(worker: Any, tasks: Sequence[str]) -> None:
    """End the run that a worker remembers, if it is one of these tasks."""
    run = getattr(worker, "autollm_run", None)
    if run and run[0] in tasks:
        run[1].stdin.close()


@contextlib.contextmanager
def only_one(key: str) -> Iterator[None]:
    """Hold this host for oneself. Raises Busy if it is held already."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(Path(tempfile.gettempdir(), f"autollm-benchmark-{key}"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy("another run is going on, on this host") from None
        yield
