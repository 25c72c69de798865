"""Hosts that are reached by SSH: servers on this machine, a user's configuration, real connections."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from made_up_fleet import begin, end, have_ended, interrupt_fleet, needs_fleet, run_fleet

from autollm.errors import InputError
from benchmarks.compare.runs import load
from benchmarks.fleet import by_ssh

SERVERS = str(Path(__file__).with_name("ssh_servers.py"))
pytestmark = needs_fleet
in_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """Starts servers of these names and writes the file of hosts; gives a function that says which processes
    they have running. All have ended after the test."""
    started = []
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()

    def start(*names):
        (tmp_path / "hosts").write_text("# mine\n\n" + "".join(f"{name}\n" for name in names))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        arguments = SERVERS, str(tmp_path / ".ssh"), *names
        # Not in this folder: a host has none of our modules.
        process, said = begin(arguments, tmp_path, environment, cwd=tmp_path)
        started.append(process)
        assert said == "ready"
        ready = in_session(process.pid)
        return lambda: in_session(process.pid) - ready

    yield start
    for process in started:
        end(process)


def in_session(session):
    """The processes of a session, from proc(5)."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == session and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


@in_proc
def test_hosts_that_can_take_part_do_and_the_others_are_named(servers, tmp_path):
    running = servers("down", "one", "bare", "stranger", "two")
    done = run_fleet(tmp_path, ["one", "two"], ["--hosts", tmp_path / "hosts"])
    assert done.returncode == 1, done.stderr
    told = {line.split(":")[0]: line for line in done.stderr.splitlines()}
    assert "down: left out: " in told["down"]
    assert f"bare: left out: {by_ssh.PYTHON} cannot import Dask: " in told["bare"]
    assert "/no/python" in told["bare"]
    assert "stranger: left out: Host key is not trusted" in told["stranger"]
    assert "running on 2 hosts, each once: one (" in done.stderr
    assert told["one"].startswith("one: done") and told["two"].startswith("two: done")
    assert "step[64x3x32]" in done.stdout
    assert [load(file).label for file in sorted((tmp_path / "results").iterdir())] == ["one", "two"]
    assert have_ended(running()), "no process is left on a host"


@in_proc
def test_ctrl_c_ends_all_on_the_hosts(servers, tmp_path):
    running = servers("sleepy")
    done, suite = interrupt_fleet(tmp_path, ["--hosts", tmp_path / "hosts"])
    assert (done.returncode, done.stdout) == (130, "")
    assert "sleepy: no results" in done.stderr and done.stderr.splitlines()[-1] == "autollm: interrupted"
    assert have_ended({suite} | running())


@in_proc
def test_none_of_the_hosts(servers, tmp_path):
    servers("bare")
    done = run_fleet(tmp_path, [], ["--hosts", tmp_path / "hosts"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "autollm: error: none of the hosts can take part"


@in_proc
def test_a_cluster_that_does_not_start(servers, tmp_path):
    servers("broken")
    done = run_fleet(tmp_path, [], ["--hosts", tmp_path / "hosts"])
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 2), done.stderr
    assert f"autollm: error: no cluster at {tmp_path / 'hosts'}: " in done.stderr


def test_a_list_of_hosts(tmp_path):
    (tmp_path / "hosts").write_bytes(
        b"\xef\xbb\xbf# mine\r\none\r\n\r\n two # the fast one\r\none\r\nme@three"
    )
    found = by_ssh.logins_in(tmp_path / "hosts")
    assert [login.host for login in found] == ["one", "two", "three"]
    assert [login.options.get("username") for login in found] == [None, None, "me"]
    (tmp_path / "none").write_text("# nobody\n")
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    for name in ("none", "missing", "binary"):
        with pytest.raises(InputError, match="--hosts"):
            by_ssh.logins_in(tmp_path / name)
