"""The fleet's command over a made-up suite, and what its hosts did."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from commands import Running, python
from made_up_results import content

ROOT = Path(__file__).parent.parent

# Whoever collects the tests need not import them, which takes half a second.
needs_fleet = pytest.mark.skipif(
    not all(map(find_spec, ("distributed", "asyncssh"))), reason="the fleet extra is not installed"
)

# Stands for pytest on the hosts. What it does depends on the label of the host.
SUITE = """
import json, os, pathlib, shutil, signal, sys, time
def option(name):
    return next(one.partition("=")[2] for one in sys.argv if one.startswith(name + "="))
label, here = option("--machine-label"), pathlib.Path(__file__).parent
with open(os.environ["AUTOLLM_TEST_LOG"], "a") as log:
    log.write(f"{label} {os.getpid()} {' '.join(sys.argv[1:])}\\n")
if label == "beta":  # its worker dies in the middle
    supervisor = os.getppid()
    worker = int(pathlib.Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(worker, signal.SIGKILL)
    time.sleep(600)
if label == "sleepy":
    time.sleep(600)
if label == "gamma":
    print("something\\nwent wrong")
    sys.exit(3)
shutil.copy(here / f"{label}.json", option("--benchmark-json"))
sys.exit(1 if label == "delta" else 0)
"""


def made_up_sources(labels):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pytest.py", SUITE)
        for seed, label in enumerate(labels):
            file.writestr(f"{label}.json", json.dumps(content(seed, 1000.0 * (seed + 1), label=label)))
    return archive.getvalue()


COMMAND = """
import os, sys
os.setsid()
from pathlib import Path
from autollm import cli
from benchmarks.fleet import __main__ as command
assert command.PAUSE <= 1
command.PAUSE = 0.02
command.zipped = Path(sys.argv.pop(1)).read_bytes
sys.exit(cli.run(lambda: command.main(sys.argv[1:])))
"""


def command(tmp_path, labels, options):
    """Arguments of Python for the command in a session of its own, with results going to a folder, and the
    made-up suite."""
    sources = tmp_path / "sources.zip"
    sources.write_bytes(made_up_sources(labels))
    return "-c", COMMAND, str(sources), "--results", str(tmp_path / "results"), *map(str, options)


def run_fleet(tmp_path, labels, options):
    """The command from start to end."""
    return python(*command(tmp_path, labels, options), warm="fleet", cwd=ROOT)


def interrupt_fleet(tmp_path, options, kill=os.kill, **environment):
    """The command until a suite has begun, and then Ctrl-C; also the process of that suite."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err, open(os.devnull) as nothing:
        arguments, env = command(tmp_path, [], options), os.environ | environment
        run = Running(arguments, nothing, out, err, ROOT, env, warm="fleet")
        suite = wait_for_pid(tmp_path / "log")
        kill(run.pid, signal.SIGINT)
        status = run.wait()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(options, status, out.read(), err.read()), suite


def begin(arguments, folder, environment, cwd=None):
    """Python in the background, in a session that it has to make itself, with temporary files and the suites'
    log in a folder: the run, and the first line that it says."""
    environment = environment | {"AUTOLLM_TEST_LOG": str(folder / "log"), "TMPDIR": str(folder)}
    reading, writing = os.pipe()
    with open(reading) as said, open(os.devnull, "r+") as nothing:
        with open(writing, "w") as out:
            run = Running(arguments, nothing, out, nothing, cwd, environment, warm="fleet")
        return run, said.readline().strip()


def end(run):
    """The whole session."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def wait_for_workers(address, count):
    """Until so many have come to a scheduler."""
    code = f"""
import distributed
with distributed.Client({address!r}) as client:
    client.wait_for_workers({count}, timeout=60)
"""
    done = python("-c", code, warm="fleet")
    assert done.returncode == 0, done.stderr


def wait_for_pid(log):
    """The process of the first suite that has begun."""
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")) and time.monotonic() < deadline:
        time.sleep(0.05)
    return int(log.read_text().split()[1])


def have_ended(pids):
    """Whether these processes end within 20 seconds."""
    pids, deadline = list(pids), time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
