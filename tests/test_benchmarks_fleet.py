"""A fleet on this machine: a real scheduler, real workers, "hosts" that differ by label, a made-up suite."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from made_up_results import content

pytest.importorskip("distributed", reason="the fleet extra is not installed")

from autollm import cli
from autollm.errors import InputError
from benchmarks.compare.runs import load
from benchmarks.fleet import __main__ as command
from benchmarks.fleet import on_host

ROOT = Path(__file__).parent.parent

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


@pytest.fixture
def fleet(tmp_path):
    """Starts a scheduler and a worker for each label; everything has ended after the test."""
    started = []

    def start(labels):
        module, file = [sys.executable, "-m"], tmp_path / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen([*module, "distributed.cli.dask_scheduler", *options], **quiet))
        deadline = time.monotonic() + 60
        while not (file.exists() and file.read_text().endswith("}")) and time.monotonic() < deadline:
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for label in labels:
            environment = os.environ | {on_host.LABEL: label, "AUTOLLM_TEST_LOG": str(tmp_path / "log")}
            options = [address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            worker = [*module, "distributed.cli.dask_worker", *options]
            started.append(subprocess.Popen(worker, env=environment, cwd=tmp_path, **quiet))
        return address

    yield start
    for process in started:
        process.kill()
    for process in started:
        process.wait(30)


def run_fleet(tmp_path, address, workers, labels, *options):
    """The command in a process of its own, once so many workers have come."""
    (tmp_path / "sources.zip").write_bytes(made_up_sources(labels))
    code = f"""
import sys, distributed
from pathlib import Path
from autollm import cli
from benchmarks.fleet import __main__ as command
with distributed.Client({address!r}) as client:
    client.wait_for_workers({workers}, timeout=60)
command.zipped = lambda: Path({str(tmp_path / "sources.zip")!r}).read_bytes()
sys.exit(cli.run(lambda: command.main(sys.argv[1:])))
"""
    arguments = ["--scheduler", address, "--results", str(tmp_path / "results"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_every_host_once_and_those_that_fail_by_label(fleet, tmp_path):
    labels = ["alpha", "beta", "gamma", "delta", "epsilon"]
    address = fleet(["alpha", *labels])  # alpha has two workers
    done = run_fleet(tmp_path, address, 6, labels, "--base", "epsilon", "-k", "a or b")
    assert done.returncode == 1, done.stderr
    assert "running on 5 hosts, each once: alpha, beta, delta, epsilon, gamma" in done.stderr
    told = {line.split(":")[0]: line for line in done.stderr.splitlines()}
    assert told["alpha"].startswith("alpha: done after")
    assert "no results" in told["beta"] and "its worker is gone" in told["beta"]
    assert "no results" in told["gamma"] and "exit status 3: something / went wrong" in told["gamma"]
    assert "failed, exit status 1" in told["delta"] and "; kept" in told["delta"]
    runs = [load(file) for file in sorted((tmp_path / "results").iterdir())]
    assert [run.label for run in runs] == ["alpha", "delta", "epsilon"]
    ranks = done.stdout.split("\n\n")[1].splitlines()[1:]
    assert [line.split()[1] for line in ranks] == ["epsilon", "delta", "alpha"], "the fastest first"
    assert ranks[0].split()[0] == "A", "the letters of the others say whose file was whole first"
    log = [line.split(maxsplit=2) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(label for label, _, _ in log) == sorted(labels), "each once"
    assert all("-k a or b" in arguments and "--benchmark " in arguments for _, _, arguments in log)
    deadline = time.monotonic() + 20
    while any(is_alive(int(pid)) for _, pid, _ in log) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(int(pid)) for _, pid, _ in log), "a run ends with its worker"
    for file in (tmp_path / "results").iterdir():
        assert os.uname().nodename not in file.read_text()


def test_a_scheduler_that_is_not_there(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "PATIENCE", 0.5)
    code = (
        "import sys; from autollm import cli; from benchmarks.fleet import __main__ as command\n"
        "command.PATIENCE = 0.5; sys.exit(cli.run(lambda: command.main(sys.argv[1:])))"
    )
    arguments = ["--scheduler", "tcp://127.0.0.1:9", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no cluster at tcp://127.0.0.1:9" in done.stderr


def test_never_two_at_once_on_one_host():
    with on_host.only_one("test"):
        with pytest.raises(on_host.Busy), on_host.only_one("test"):
            pass
        with on_host.only_one("another"):
            pass
    with on_host.only_one("test"):
        pass


def test_hosts_are_told_apart_by_machine_and_label(monkeypatch):
    monkeypatch.delenv(on_host.LABEL, raising=False)
    key, label = on_host.identify()
    assert on_host.identify() == (key, label)
    assert label and os.uname().nodename not in label and os.uname().nodename not in key
    monkeypatch.setenv(on_host.LABEL, "laptop")
    assert on_host.identify()[0] != key and on_host.identify()[1] == "laptop"


class Client:
    """A client of workers that say who they are."""

    def __init__(self, told):
        self.told = told

    def run(self, function, on_error):
        return self.told


def test_a_host_with_many_workers_is_one_host():
    epyc, other, m5 = ("k1", "epyc"), ("k2", "epyc"), ("k3", "m5")
    told = {"tcp://4": epyc, "tcp://1": epyc, "tcp://3": other, "tcp://2": m5}
    hosts = command.hosts_of(Client(told))
    assert [(host.label, host.worker) for host in hosts] == [
        ("epyc", "tcp://1"), ("epyc 2", "tcp://3"), ("m5", "tcp://2")
    ]  # fmt: skip


def test_the_sources_are_all_that_a_host_needs():
    names = set(zipfile.ZipFile(io.BytesIO(command.zipped())).namelist())
    needed = {"autollm/node.py", "kernels/kernel.py", "data/names-32k.txt", "benchmarks/plugin.py"}
    assert needed | {"conftest.py", "pyproject.toml"} <= names
    assert not any("__pycache__" in name or name.startswith(("results", ".git")) for name in names)


def test_results_that_are_none(tmp_path):
    with pytest.raises(InputError, match="damaged results"):
        command.keep(b"{}", tmp_path)
    kept = command.keep(json.dumps(content(label="../my laptop")).encode(), tmp_path)
    assert kept == tmp_path / "my-laptop-20260101-100000.json" and load(kept).label == "../my laptop"


def test_a_list_of_hosts(tmp_path):
    (tmp_path / "hosts").write_text("# mine\none\n\n two \n")
    assert command.hosts_in(tmp_path / "hosts") == ["one", "two"]
    (tmp_path / "none").write_text("# nobody\n")
    for name in ("none", "missing"):
        with pytest.raises(InputError, match="--hosts"):
            command.hosts_in(tmp_path / name)


def test_dask_is_named_where_it_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert cli.run(lambda: command.main(["--local", "1", "--results", str(tmp_path / "new")])) == 2
    assert "the fleet needs Dask: pip install -e '.[fleet]'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_dask_is_imported_by_nothing_else():
    code = "import sys, benchmarks.compare.__main__, benchmarks.duet, benchmarks.plugin, autollm.train\n"
    code += "print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n"
