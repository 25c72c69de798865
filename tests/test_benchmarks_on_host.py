"""What a host of the fleet does, and how it is reached, over a made-up Dask and made-up connections."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.fleet import by_ssh, on_host

PYTEST = """
import json, os, pathlib, sys
out = next(one.partition("=")[2] for one in sys.argv if one.startswith("--benchmark-json="))
print("first\\n\\nsecond\\nthird", flush=True)
print("x" * 500 if "long" in sys.argv else "fourth", file=sys.stderr)
if "none" not in sys.argv:
    told = {"arguments": sys.argv[1:], "folder": os.getcwd(), "path": os.environ["PYTHONPATH"]}
    pathlib.Path(out).write_text(json.dumps(told))
sys.exit(int(sys.argv[-1]))
"""


@pytest.fixture
def worker(monkeypatch, tmp_path):
    """A worker of Dask on this host, whose task is called `mine`."""
    found = SimpleNamespace(get_current_task=lambda: "mine")
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(get_worker=lambda: found))
    monkeypatch.setattr(on_host, "identify", lambda: ("key-of-a-test", "label"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return found


def sources(**files):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in files.items():
            file.writestr(f"{name}.py", text)
    return archive.getvalue()


def test_the_suite_runs_in_the_sources_under_the_label(worker):
    found, told = on_host.run_suite(sources(pytest=PYTEST), "my laptop", ["-k", "a b", "0"])
    run = json.loads(found)
    assert told == "" and run["path"] == run["folder"] and not Path(run["folder"]).exists()
    assert run["arguments"] == [
        "-p", "no:cacheprovider", "--benchmark", f"--benchmark-json={run['folder']}/results.json",
        "--machine-label=my laptop", "-k", "a b", "0",
    ]  # fmt: skip
    assert worker.autollm_run[0] == "mine"


@pytest.mark.parametrize(
    ("options", "kept", "told"),
    [
        (["3"], True, "exit status 3: second / third / fourth"),
        (["none", "2"], False, "exit status 2: second / third / fourth"),
        (["long", "1"], True, f"exit status 1: {'x' * 400}"),
    ],
)
def test_a_suite_that_fails_says_why_and_what_it_left_is_sent(worker, options, kept, told):
    found, said = on_host.run_suite(sources(pytest=PYTEST), "label", options)
    assert (found is not None, said) == (kept, told)


def test_a_host_that_is_busy_runs_nothing(worker):
    with on_host.only_one("key-of-a-test"), pytest.raises(on_host.Busy, match="another run is going on"):
        on_host.run_suite(sources(pytest=PYTEST), "label", ["0"])
    assert not hasattr(worker, "autollm_run")


def test_a_run_is_stopped_by_its_own_task_alone():
    stdin = io.BytesIO()
    worker = SimpleNamespace(autollm_run=("mine", SimpleNamespace(stdin=stdin)))
    on_host.stop(worker, ["another"])
    on_host.stop(SimpleNamespace(), ["mine"])
    assert not stdin.closed
    on_host.stop(worker, ["another", "mine"])
    assert stdin.closed


@pytest.mark.parametrize(
    ("code", "status"), [("pass", 0), ("raise SystemExit(7)", 7), ("os.kill(os.getpid(), 9)", 137)]
)
def test_a_supervisor_ends_as_its_command_does(tmp_path, code, status):
    with supervise(tmp_path, f"import os; {code}") as process:
        assert process.wait(60) == status
    assert tmp_path.exists(), "it is the worker's"


def supervise(folder, code, **streams):
    command = [sys.executable, "-c", on_host.SUPERVISOR, str(folder), sys.executable, "-S", "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, **streams)


def test_a_supervisor_ends_its_command_when_nobody_holds_its_input(tmp_path):
    """With all that the command has started, and what it has written."""
    code = (
        "import subprocess; one = subprocess.Popen(['sleep', '600']); print(one.pid, flush=True); one.wait()"
    )
    run = tmp_path / "run"
    run.mkdir()
    (run / "file").touch()
    with supervise(run, code, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        process.stdin.close()
        assert process.wait(60) == 137
        ended, _, _ = select.select([process.stdout], [], [], 20)
        if not ended:
            os.kill(child, signal.SIGKILL)
        assert ended and process.stdout.read() == b"", "nobody is left who holds it"
    assert tmp_path.exists() and not run.exists()


@pytest.mark.parametrize(
    ("told", "label"),
    [
        (
            "processor : 0\nmodel name\t: Intel(R) Core(TM) i7-12700H CPU @ 2.30GHz\nflags: x\n",
            "intel-core-i7-12700h",
        ),
        ("model name : AMD EPYC 9554 64-Core Processor\n", "amd-epyc-9554"),
        ("processor : 0\n", "riscv"),
        (None, "riscv"),
    ],
)
def test_a_host_without_a_label_is_its_processor(monkeypatch, told, label):
    def read(path):
        if told is None or str(path) != "/proc/cpuinfo":
            raise OSError
        return told

    monkeypatch.setattr(on_host.Path, "read_text", read)
    monkeypatch.setattr(on_host.platform, "processor", lambda: "")
    monkeypatch.setattr(on_host.platform, "machine", lambda: "RISCV")
    monkeypatch.delenv(on_host.LABEL, raising=False)
    key, found = on_host.identify()
    assert found == label
    monkeypatch.setattr(on_host.uuid, "getnode", lambda: 0xABC)
    assert on_host.identify()[0] != key, "where nothing else tells hosts apart, their network cards do"


# --- by SSH -----------------------------------------------------------------------------------------


class Connection:
    """A host that answers so, or not at all."""

    def __init__(self, status=0, said="", error=None):
        self.status, self.said, self.error = status, said, error

    async def __aenter__(self):
        if self.error:
            raise self.error
        return self

    async def __aexit__(self, *_):
        pass

    async def run(self, line, errors):
        self.line = line
        return SimpleNamespace(exit_status=self.status, stderr=self.said)


def test_what_keeps_a_host_from_taking_part(monkeypatch):
    class Refused(Exception):
        pass

    hosts = {
        "good": Connection(said="a warning\n"),
        "slow": Connection(error=TimeoutError()),
        "closed": Connection(error=OSError("no\nroute")),
        "silent": Connection(error=OSError()),
        "strange": Connection(error=Refused("Host key is not trusted")),
        "bare": Connection(1, "Traceback\n\nNo module named 'distributed'\n"),
    }
    asked = {}

    def connect(host, **options):
        asked[host] = options
        return hosts[host]

    monkeypatch.setitem(sys.modules, "asyncssh", SimpleNamespace(connect=connect, Error=Refused))
    logins = [by_ssh.Login(f"me@{name}" if name == "good" else name) for name in hosts]
    assert by_ssh.obstacles(logins) == [
        "", "no answer in 20 s", "no route", "OSError", "Host key is not trusted",
        f"{by_ssh.PYTHON} cannot import Dask: No module named 'distributed'",
    ]  # fmt: skip
    assert hosts["good"].line == f"{by_ssh.PYTHON} -c 'import distributed'"
    patience = {"connect_timeout": 20, "login_timeout": 20}
    assert asked["good"] == patience | {"username": "me"} and asked["bare"] == patience


def test_the_first_host_has_the_scheduler_and_a_worker_too(monkeypatch):
    started = []
    monkeypatch.setitem(
        sys.modules,
        "distributed",
        SimpleNamespace(SSHCluster=lambda *given, **more: started.append((given, more))),
    )
    logins = [by_ssh.Login("me@one"), by_ssh.Login("two")]
    by_ssh.start(logins)
    (((hosts,), options),) = started
    assert hosts == ["one", "one", "two"]
    assert [one.get("username") for one in options["connect_options"]] == ["me", "me", None]
    assert options["remote_python"] == by_ssh.PYTHON
    assert options["worker_class"] == "distributed.Worker"
    assert options["scheduler_options"] == {"idle_timeout": "60 s"}
    monkeypatch.setattr(sys.modules["distributed"], "SSHCluster", lambda *_, **__: 1 / 0)
    with pytest.raises(RuntimeError, match="division by zero"):
        by_ssh.start(logins)
