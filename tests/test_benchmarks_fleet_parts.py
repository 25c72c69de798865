"""The parts of a fleet, over a made-up Dask: what its hosts are asked, and what becomes of their answers."""

from __future__ import annotations

import io
import json
import signal
import sys
import zipfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_fleet import needs_fleet
from made_up_results import content, write

from autollm import cli
from autollm.errors import InputError
from benchmarks.fleet import __main__ as command
from benchmarks.fleet import by_ssh, on_host

pytestmark = needs_fleet

EPYC, M5 = command.Host("epyc", "tcp://10.0.0.1:1"), command.Host("m5", "tcp://10.0.0.2:2")


@pytest.fixture
def no_signal(monkeypatch):
    """Nobody interrupts, until a test says so."""
    found = SimpleNamespace(came=0, start_learning=lambda: None)
    monkeypatch.setattr(command, "interrupts", found)
    monkeypatch.setattr(command.time, "sleep", lambda seconds: None)
    return found


# --- runs on all hosts ------------------------------------------------------------------------------


class Future:
    """A task that ends after so many looks, in this way."""

    def __init__(self, key, looks=1, result=None, error=None):
        self.key, self.looks, self._result, self.error, self.cancelled = key, looks, result, error, False
        self.status = "pending"

    def done(self):
        self.looks -= 1
        if self.looks <= 0:
            self.status = "error" if self.error else "finished"
        return self.looks <= 0

    def result(self):
        return self._result

    def exception(self):
        return self.error

    def cancel(self):
        self.cancelled = True


class Client:
    """A cluster whose tasks end as they are told to, and which loses workers after so many questions."""

    def __init__(self, futures, alive=None):
        self.futures, self.alive = futures, alive or (lambda asked: [EPYC.worker, M5.worker])
        self.asked, self.submitted, self.ran = 0, [], []

    def scatter(self, content, broadcast, hash):
        assert broadcast and not hash
        return ("scattered", content)

    def submit(self, task, *arguments, **options):
        self.submitted.append((arguments, options))
        return self.futures[len(self.submitted) - 1]

    def nthreads(self):
        self.asked += 1
        return dict.fromkeys(self.alive(self.asked), 1)

    def run(self, function, workers, on_error):
        self.ran.append((workers, on_error))


def outcomes(client, monkeypatch):
    monkeypatch.setattr(command, "zipped", lambda: b"sources")
    return list(command.run_all(client, [EPYC, M5], ["-k", "x"]))


def test_what_came_of_each_is_told_as_soon_as_it_has_ended(no_signal, monkeypatch):
    client = Client([Future("a", 3, (b"one", "")), Future("b", 2, (b"two", "exit status 1"))])
    assert outcomes(client, monkeypatch) == [(M5, b"two", "exit status 1"), (EPYC, b"one", "")]
    assert client.submitted == [
        ((("scattered", b"sources"), host.label, ["-k", "x"]),
         {"workers": [host.worker], "pure": False, "retries": 0})
        for host in (EPYC, M5)
    ]  # fmt: skip
    assert client.ran == []


def test_a_run_that_fails_and_a_worker_that_dies_are_told(no_signal, monkeypatch):
    busy = Future("a", 1, error=on_host.Busy("another run is\ngoing on"))
    lost = Future("b", 10**6)
    client = Client([busy, lost], alive=lambda asked: [EPYC.worker] + [M5.worker] * (asked < 3))
    assert outcomes(client, monkeypatch) == [
        (EPYC, None, "another run is going on"), (M5, None, "its worker is gone")
    ]  # fmt: skip
    assert lost.cancelled and client.asked == 3
    silent = Client([Future("a", 1, error=ValueError()), Future("b", 1, (b"two", ""))])
    assert outcomes(silent, monkeypatch)[0] == (EPYC, None, "error")


def test_without_its_scheduler_nothing_more_comes(no_signal, monkeypatch):
    def gone(asked):
        if asked > 2:
            raise OSError
        return [EPYC.worker, M5.worker]

    futures = [Future("a", 1, (b"one", "")), Future("b", 10**6)]
    assert outcomes(Client(futures, gone), monkeypatch) == [
        (EPYC, b"one", ""), (M5, None, "the scheduler is gone")
    ]  # fmt: skip
    assert futures[1].cancelled


def test_ctrl_c_stops_what_still_runs(no_signal, monkeypatch):
    stopped = []
    monkeypatch.setattr(command, "stop", lambda client, *what: stopped.append(what))

    def interrupt(asked):
        no_signal.came = int(asked == 2) * signal.SIGINT
        return [EPYC.worker, M5.worker]

    futures = [Future("a", 1, (b"one", "")), Future("b", 10**6)]
    assert outcomes(Client(futures, interrupt), monkeypatch)[1] == (M5, None, "interrupted")
    assert stopped == [([M5], ["b"])] and futures[1].cancelled and not futures[0].cancelled


def test_workers_of_this_machine_leave_ctrl_c_to_the_command(monkeypatch):
    """They inherit what is set while they are started; a terminal's Ctrl-C may come to them first."""
    during = []

    def start(**_):
        during.append(signal.getsignal(signal.SIGINT))
        return nullcontext("tcp://127.0.0.1:1")

    client = SimpleNamespace(wait_for_workers=lambda *_, **__: None)
    dask = SimpleNamespace(LocalCluster=start, Client=lambda *_, **__: nullcontext(client))
    monkeypatch.setitem(sys.modules, "distributed", dask)
    before = signal.getsignal(signal.SIGINT)
    with command.cluster(command.build_parser().parse_args(["--local", "1"]), []):
        assert during == [signal.SIG_IGN]
        assert signal.getsignal(signal.SIGINT) == before


def test_runs_are_stopped_on_their_own_hosts(no_signal):
    client = Client([])
    command.stop(client, [EPYC, M5], ["a", "b"])
    assert client.ran == [([EPYC.worker, M5.worker], "ignore")]
    client.run = lambda *_, **__: (_ for _ in ()).throw(OSError)
    command.stop(client, [EPYC], ["a"])  # nobody is there any more


def test_who_still_runs_is_named_once_a_minute(no_signal, monkeypatch, capsys):
    now = iter(range(0, 10**6, 25))
    monkeypatch.setattr(command.time, "perf_counter", lambda: next(now))
    outcomes(Client([Future("a", 4, (b"", "")), Future("b", 8, (b"", ""))]), monkeypatch)
    both, one, *more = capsys.readouterr().err.splitlines()
    assert (both, one) == ("still running: epyc, m5", "still running: m5") and len(more) < 3


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def fleet(no_signal, monkeypatch, tmp_path):
    """A cluster of made-up hosts: `fleet.outcomes` is what comes of them, `fleet.options` what they were
    asked; `fleet(...)` is the command."""
    found = SimpleNamespace(
        outcomes=[],
        options=None,
        logins=None,
        strange={},
        workers={"tcp://10.0.0.1:1": 1, "tcp://10.0.0.2:2": 1},
    )

    def run_all(client, hosts, options):
        found.options, found.ran_on = options, hosts
        return iter(found.outcomes)

    def cluster(options, logins):
        found.logins = logins
        return nullcontext(SimpleNamespace(nthreads=lambda: found.workers))

    def hosts_of(client, workers):
        return [host for host in (EPYC, M5) if host.worker in workers]

    monkeypatch.setattr(command, "cluster", cluster)
    monkeypatch.setattr(command, "unlike", lambda client: found.strange)
    monkeypatch.setattr(command, "hosts_of", hosts_of)
    monkeypatch.setattr(command, "run_all", run_all)

    def run(*arguments):
        where = [] if "--hosts" in arguments else ["--local", "2"]
        return cli.run(lambda: command.main([*where, "--results", str(tmp_path / "new" / "r"), *arguments]))

    found.run, found.folder = run, tmp_path / "new" / "r"
    return found


def results(seed=0, **changes):
    return json.dumps(content(seed, 1000.0 * (seed + 1), **changes)).encode()


def test_what_has_come_is_kept_and_compared(fleet, capsys):
    fleet.outcomes = [(EPYC, results(0, label="epyc"), ""), (M5, results(1, label="m5"), "")]
    assert fleet.run() == 0
    out, err = capsys.readouterr()
    assert sorted(path.name for path in fleet.folder.iterdir()) == [
        "epyc-20260101-100000.json", "m5-20260102-100000.json"
    ]  # fmt: skip
    assert (fleet.folder / "epyc-20260101-100000.json").read_bytes() == results(0, label="epyc")
    assert "running on 2 hosts, each once: epyc (10.0.0.1), m5 (10.0.0.2)" in err
    assert "epyc: done after" in err and "m5: done after" in err and fleet.options == []
    assert "2.0" in out.split("step[64x3x32]")[1].splitlines()[0] and "faster" in out
    assert fleet.run("--smoke", "-k", "step", "--markdown", "--base", "m5") == 0
    assert fleet.options == ["--smoke", "-k", "step"]
    first = capsys.readouterr().out.splitlines()[2]
    assert first.startswith("| A ") and "m5" in first


def test_a_fleet_of_which_one_failed_has_failed(fleet, capsys):
    fleet.outcomes = [(EPYC, results(0, label="epyc"), ""), (M5, results(1, label="m5"), "exit status 1: oh")]
    assert fleet.run() == 1
    out, err = capsys.readouterr()
    assert "m5: failed, exit status 1: oh; kept after" in err and "m5" in out


def test_one_run_cannot_be_compared_and_none_is_an_error(fleet, no_signal, capsys):
    fleet.outcomes = [(EPYC, results(0, label="epyc"), ""), (M5, None, "its worker is gone")]
    assert fleet.run() == 1
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1] == "one run cannot be compared: epyc"
    assert "m5: no results after 0 s: its worker is gone" in err
    fleet.outcomes = fleet.outcomes[:1]
    assert fleet.run() == 0
    fleet.outcomes = [(EPYC, b"{", ""), (M5, None, "why")]
    assert fleet.run() == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error == "autollm: error: no host has sent results"
    no_signal.came = signal.SIGINT
    assert fleet.run() == 130


def test_workers_that_do_not_understand_us_are_left_out_and_named(fleet, capsys):
    fleet.strange = {M5.worker: "it has Python 3.12"}
    fleet.outcomes = [(EPYC, results(0, label="epyc"), "")]
    assert fleet.run() == 1 and fleet.ran_on == [EPYC]
    assert "10.0.0.2: left out: it has Python 3.12" in capsys.readouterr().err
    fleet.workers = {M5.worker: 1}
    assert fleet.run() == 2
    assert "no worker that can take part" in capsys.readouterr().err


def test_hosts_that_are_listed_are_looked_at_first(fleet, monkeypatch, capsys, tmp_path, no_signal):
    (tmp_path / "hosts").write_text("one\nme@two\nthree\n")
    told = {"one": "", "me@two": "no answer in 20 s", "three": ""}
    monkeypatch.setattr(by_ssh, "obstacles", lambda logins: [told[login.text] for login in logins])
    fleet.outcomes = [(EPYC, results(0, label="epyc"), ""), (M5, results(1, label="m5"), "")]
    assert fleet.run("--hosts", str(tmp_path / "hosts")) == 1, "one of them could not take part"
    err = capsys.readouterr().err
    assert "looking for Dask on 3 hosts" in err and "me@two: left out: no answer in 20 s" in err
    assert [login.text for login in fleet.logins] == ["one", "three"] and "reached the scheduler" not in err
    told["me@two"] = ""
    assert fleet.run("--hosts", str(tmp_path / "hosts")) == 1
    assert "1 of 3 hosts have not reached the scheduler, which is on one" in capsys.readouterr().err
    (tmp_path / "hosts").write_text("one\nthree\n")
    assert fleet.run("--hosts", str(tmp_path / "hosts")) == 0
    told.update(dict.fromkeys(told, "down"))
    assert fleet.run("--hosts", str(tmp_path / "hosts")) == 2
    no_signal.came = signal.SIGINT
    assert fleet.run("--hosts", str(tmp_path / "hosts")) == 130


def test_a_picture_is_drawn_of_all_and_checked_first(fleet, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(command, "draw", lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(command, "check_installed", lambda options: None)
    fleet.outcomes = [(EPYC, results(0, label="epyc"), ""), (M5, results(1, label="m5"), "")]
    assert fleet.run("--plot", str(tmp_path / "no" / "x.svg")) == 2 and fleet.options is None
    assert fleet.run("--plot", str(tmp_path / "x.svg")) == 0
    ((title, _, target),) = drawn
    assert title.startswith("m5, ") and "relative to epyc" in title and target == tmp_path / "x.svg"


def test_what_is_left_out_of_a_comparison_is_named(capsys, tmp_path):
    other = {"configuration": "c", "data": "d", "source": "other", "digest": "y"}
    files = [Path(write(tmp_path / f"{seed}.json", seed)) for seed in range(2)]
    options = SimpleNamespace(base=None, plot=None, markdown=False)
    command.show(files, options)
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match="another source"):
        command.show([files[0], Path(write(tmp_path / "9.json", 2, fingerprint=other))], options)
    command.show([*files, tmp_path / "9.json"], options)
    assert capsys.readouterr().err.startswith(f"left out: {tmp_path / '9.json'}: ")


def test_a_smoke_runs_file_says_so(tmp_path):
    assert command.keep(results(label="m5", smoke=True), tmp_path).name == "m5-20260101-100000-smoke.json"


def test_the_settings_of_the_tests_are_sent_too():
    """For pyproject.toml names their folder."""
    assert "tests/conftest.py" in zipfile.ZipFile(io.BytesIO(command.zipped())).namelist()
