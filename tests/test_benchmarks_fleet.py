"""A fleet on this machine: a real scheduler, real workers, "hosts" that differ by label, a made-up suite."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import tempfile
import time
import zipfile
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import python
from made_up_fleet import begin, end, have_ended, interrupt_fleet, needs_fleet, run_fleet, wait_for_workers
from made_up_results import content

from autollm import cli
from autollm.errors import InputError
from autollm.remarks import Remarks
from benchmarks.compare.runs import load
from benchmarks.fleet import __main__ as command
from benchmarks.fleet import on_host

ROOT = Path(__file__).parent.parent
pytestmark = needs_fleet


# A scheduler and workers, in a session of their own, of a process that has imported Dask for them all.
CLUSTER = """
import os, sys
os.setsid()
import distributed
from distributed.cli import dask_scheduler, dask_worker

def fork(main, *options, **environment):
    if not os.fork():
        os.environ.update(environment)
        main([*options, "--no-dashboard"])

file, *labels = sys.argv[1:]
fork(dask_scheduler.main, "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file)
for label in labels:
    options = "--scheduler-file", file, "--nthreads", "1", "--no-nanny"
    fork(dask_worker.main, *options, AUTOLLM_MACHINE=label)
with distributed.Client(scheduler_file=file) as client:
    client.wait_for_workers(len(labels), timeout=60)
    print(client.scheduler.address, flush=True)
while True:
    os.wait()
"""


@pytest.fixture
def fleet(tmp_path):
    """Starts a scheduler and a worker for each label; everything has ended after the test."""
    started = []

    def start(labels):
        arguments = "-c", CLUSTER, str(tmp_path / "scheduler.json"), *labels
        cluster, address = begin(arguments, tmp_path, os.environ, cwd=tmp_path)
        started.append(cluster)
        return address

    yield start
    for cluster in started:
        end(cluster)


def assert_nothing_is_left(folder):
    """None of a run's files, which a supervisor removes after the run has ended."""
    deadline = time.monotonic() + 20
    while (left := [one for one in folder.glob("autollm-*") if one.is_dir()]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_every_host_once_and_those_that_fail_by_label(fleet, tmp_path):
    labels = ["alpha", "beta", "gamma", "delta", "epsilon"]
    address = fleet(["alpha", *labels])  # alpha has two workers
    options = ["--scheduler", address, "--base", "epsilon", "-k", "a or b"]
    done = run_fleet(tmp_path, labels, options)
    assert done.returncode == 1, done.stderr
    here = (f"{label} (127.0.0.1)" for label in sorted(labels))
    assert f"running on 5 hosts, each once: {', '.join(here)}\n" in done.stderr
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
    assert have_ended(int(pid) for _, pid, _ in log), "a run ends with its worker"
    assert_nothing_is_left(tmp_path)
    for file in (tmp_path / "results").iterdir():
        assert os.uname().nodename not in file.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_ends_the_runs_and_leaves_the_cluster(fleet, tmp_path):
    address = fleet(["sleepy"])
    done, suite = interrupt_fleet(tmp_path, ["--scheduler", address])
    assert (done.returncode, done.stdout) == (130, "")
    assert "sleepy: no results" in done.stderr and done.stderr.splitlines()[-1] == "autollm: interrupted"
    assert have_ended([suite])
    wait_for_workers(address, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_in_a_terminal_reaches_the_workers_too(tmp_path):
    told = {on_host.LABEL: "sleepy", "AUTOLLM_TEST_LOG": str(tmp_path / "log"), "TMPDIR": str(tmp_path)}
    with socket.socket() as taken:
        with suppress(OSError):  # somebody else has taken it
            taken.bind(("", 8787))  # the port of Dask's dashboards
            taken.listen()
        done, suite = interrupt_fleet(tmp_path, ["--local", "1"], kill=os.killpg, **told)
    assert (done.returncode, done.stdout) == (130, "")
    assert [line.split(":")[0] for line in done.stderr.splitlines()][1:] == ["sleepy", "autollm"]
    assert have_ended([suite])


def test_a_scheduler_that_is_not_there(tmp_path):
    code = (
        "import sys; from autollm import cli; from benchmarks.fleet import __main__ as command\n"
        "command.PATIENCE = 0.1; sys.exit(cli.run(lambda: command.main(sys.argv[1:])))"
    )
    arguments = ["--scheduler", "tcp://127.0.0.1:9", "--results", str(tmp_path)]
    done = python("-c", code, *arguments, warm="fleet", cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no cluster at tcp://127.0.0.1:9" in done.stderr


def test_never_two_at_once_on_one_host(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
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


def test_hosts_without_a_label_are_told_apart_by_what_is_theirs(monkeypatch):
    monkeypatch.delenv(on_host.LABEL, raising=False)
    keys = set()
    for boot in ("one\n", "two\n"):
        monkeypatch.setattr(on_host.Path, "read_text", lambda path, boot=boot: boot)
        keys |= {on_host.identify()[0] for _ in range(2)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("sent", "told", "is_kept", "has_failed"),
    [
        (json.dumps(content()).encode(), "", True, False),
        (json.dumps(content()).encode(), "exit status 1", True, True),
        (b"{}", "", False, True),
        (None, "its worker is gone", False, True),
    ],
    ids=["whole", "of a run that failed", "damaged", "none"],
)
def test_what_a_host_may_send(monkeypatch, tmp_path, sent, told, is_kept, has_failed):
    host = command.Host("mine", "tcp://127.0.0.1:1")
    client = SimpleNamespace(nthreads=lambda: {host.worker: 1})
    monkeypatch.setattr(command, "cluster", lambda *_: nullcontext(client))
    monkeypatch.setattr(command, "unlike", lambda _: {})
    monkeypatch.setattr(command, "hosts_of", lambda *_: [host])
    monkeypatch.setattr(command, "run_all", lambda *_: iter([(host, sent, told)]))
    options = command.build_parser().parse_args(["--local", "1", "--results", str(tmp_path)])
    kept, failed = command.collect(options, Remarks(quiet=True))
    assert (len(kept), failed) == (is_kept, ["mine"] if has_failed else [])


class Client:
    """A client of workers that say who they are."""

    def __init__(self, told):
        self.told = told

    def run(self, function, workers, on_error):
        return {worker: self.told[worker] for worker in workers}


def test_a_host_with_many_workers_is_one_host():
    epyc, other, m5, third = ("k1", "epyc"), ("k2", "epyc"), ("k3", "m5"), ("k5", "epyc")
    told = {"tcp://4": epyc, "tcp://1": epyc, "tcp://3": other, "tcp://2": m5, "tcp://6": third}
    hosts = command.hosts_of(Client(told | {"tcp://5": ("k4", "left out")}), list(told))
    assert [(host.label, host.worker) for host in hosts] == [
        ("epyc", "tcp://1"), ("epyc 2", "tcp://3"), ("epyc 3", "tcp://6"), ("m5", "tcp://2")
    ]  # fmt: skip
    assert str(command.Host("m5", "tcp://10.0.0.7:8786")) == "m5 (10.0.0.7)"


class Versions:
    """A client of workers with this software."""

    def __init__(self, **workers):
        self.workers = workers

    def get_versions(self):
        def packages(text):
            return {"packages": dict(zip(("python", "distributed"), text.split(), strict=True))}

        workers = {name: packages(text) for name, text in self.workers.items()}
        return {"client": packages("3.11.7.final.0 2026.8.0"), "workers": workers}


def test_workers_that_cannot_be_sent_functions():
    same = {"a": "3.11.9.final.0 2026.8.0", "b": "3.11.7.final.0 2026.8.0"}
    found = command.unlike(Versions(**same, c="3.12.1.final.0 2026.8.0", d="3.11.7.final.0 2025.1.0"))
    here = "this is Python 3.11 and distributed 2026.8.0"
    assert found == {
        "c": f"it has Python 3.12 and distributed 2026.8.0, {here}",
        "d": f"it has Python 3.11 and distributed 2025.1.0, {here}",
    }


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


def test_dask_is_named_where_it_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert cli.run(lambda: command.main(["--local", "1", "--results", str(tmp_path / "new")])) == 2
    assert "the fleet needs Dask: pip install -e '.[fleet]'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_dask_is_imported_by_nothing_else():
    code = "import sys, benchmarks.compare.__main__, benchmarks.duet, benchmarks.plugin, autollm.train\n"
    code += "print('distributed' in sys.modules)"
    done = python("-c", code, warm="pytest", cwd=ROOT)
    assert done.stdout == "False\n"
