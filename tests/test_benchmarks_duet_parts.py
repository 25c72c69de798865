"""The parts of a duet, over made-up processes and a made-up Git: who is asked for what, and what is told."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from autollm import cli
from autollm.errors import InputError
from benchmarks import duet
from benchmarks.compare.verdict import FASTER
from benchmarks.copies import ROOT
from benchmarks.workloads import RATED


class MadeUp:
    """A process whose speeds are told one after the other, the last for ever."""

    def __init__(self, *speeds, loss=2.0, log=None):
        self.speeds, self.loss, self.log = list(speeds), loss, [] if log is None else log

    def order(self, name, **amount):
        self.log.append((self, name, amount))

    def answer(self):
        return {"loss": self.loss}

    def speed(self, name, **amount):
        self.order(name, **amount)
        return self.speeds.pop(0) if len(self.speeds) > 1 else self.speeds[0]


def test_a_burst_is_as_long_as_it_takes_the_slower_one_undisturbed():
    """The best of five speeds of each; of 30 ms."""
    slower, quicker = MadeUp(100.0, 400.0, 1000.0, 300.0, 700.0, 9000.0), MadeUp(2000.0, 50.0, 1500.0)
    for both in ([slower, quicker], [quicker, slower]):
        slower.speeds[:] = [100.0, 400.0, 1000.0, 300.0, 700.0, 9000.0]
        quicker.speeds[:] = [2000.0, 50.0, 1500.0]
        assert duet.burst(both, "x") == 30
    assert {(name, *amount.items()) for _, name, amount in slower.log} == {("x", ("seconds", 0.03))}
    assert duet.burst([MadeUp(1.0), MadeUp(2.0)], "x") == 1, "one step at least"


def test_a_pair_is_the_speed_of_a_and_that_of_b_whoever_comes_first():
    log, rng = [], random.Random(0)
    a, b = MadeUp(10.0, log=log), MadeUp(20.0, log=log)
    assert {duet.pair([a, b], "x", 7, rng) for _ in range(20)} == {(10.0, 20.0)}
    assert [{one, other} for (one, *_), (other, *_) in zip(log[::2], log[1::2], strict=True)] == [{a, b}] * 20
    assert {one for one, *_ in log[::2]} == {a, b}
    assert all((name, amount) == ("x", {"steps": 7}) for _, name, amount in log)


@pytest.mark.parametrize(
    ("losses", "alike"),
    [((2.0, 2.0), True), ((2.0, 2.0019), True), ((2.0, 1.9981), True), ((2.0, 2.0021), False),
     ((2.0, 1.9979), False), ((float("nan"), 2.0), False), ((float("inf"), 2.0), False)],
)  # fmt: skip
def test_both_are_to_learn_alike(losses, alike):
    log = []
    why = duet.check([MadeUp(1.0, loss=loss, log=log) for loss in losses], "x")
    assert [(name, amount) for _, name, amount in log] == [("x", {"golden": 1})] * 2
    assert why == (
        "" if alike else f"the golden steps end with losses of {losses[0]:.6f} and {losses[1]:.6f}"
    )


class Process(MadeUp):
    """One that is started, with a clock that moves by 2 ms with every burst."""

    now, started, open_ = 0.0, [], 0

    def __init__(self, core, python, root):
        super().__init__(float(python))
        Process.started.append((core, python, root))
        Process.open_ += 1

    def speed(self, name, **amount):
        Process.now += 0.002
        wanders = name == "noisy" and self.speeds[0] > 1500
        return self.speeds[0] * (1 + (0.2 if wanders and len(Process.started) % 4 else 0))

    def close(self):
        Process.open_ -= 1


@pytest.fixture
def processes(monkeypatch):
    monkeypatch.setattr(duet, "Copy", Process)
    monkeypatch.setattr(duet, "cores", lambda: [3, 8])
    monkeypatch.setattr(duet.time, "perf_counter", lambda: Process.now)
    Process.now, Process.started, Process.open_ = 0.0, [], 0
    return Process


VERSIONS = [duet.Version("A", "1000", Path("/a")), duet.Version("B", "2000")]


def test_both_run_on_one_core_each_as_its_version(processes):
    duet.measure(VERSIONS, ["x"], seconds=5, width=0.1)
    starts = [(8, "1000", Path("/a")), (8, "2000", None)]
    assert processes.started == starts * (len(processes.started) // 2) and processes.open_ == 0


@pytest.mark.parametrize(("seconds", "lives"), [(6, 12), (96, 12), (120, 15)])
def test_a_life_is_a_twelfth_of_the_time_and_eight_seconds_at_most(processes, seconds, lives):
    found = duet.measure(VERSIONS, ["x"], seconds=seconds, width=-1.0)
    assert lives - 1 <= len(set(found["x"].lives)) <= lives
    assert sorted(found["x"].lives) == found["x"].lives
    assert Process.now < seconds + 2


def test_it_goes_on_until_every_interval_is_narrow(processes):
    """One workload settles at once; the other, whose lives differ, takes all of the time."""
    both = duet.measure(VERSIONS, ["x", "noisy"], seconds=24, width=0.001)
    assert len(set(both["x"].lives)) > duet.LEAST_LIVES and processes.now > 20
    processes.now = 0.0
    duet.measure(VERSIONS, ["x"], seconds=24, width=0.001)
    assert processes.now < 15


def test_what_cannot_be_compared_takes_no_time_from_the_others(processes, monkeypatch):
    monkeypatch.setattr(duet, "check", lambda both, name: "why" if name == "y" else "")
    found = duet.measure(VERSIONS, ["x", "y"], seconds=6, width=-1.0)
    assert found["y"].speeds == [] and found["y"].reason == "why" and found["x"].verdict().word == FASTER
    processes.started.clear()
    assert duet.measure(VERSIONS, ["y"], seconds=6, width=1e-12)["y"].speeds == []
    assert len(processes.started) == 2, "with nothing to measure it ends at once"


def test_ctrl_c_ends_the_measuring_with_what_was_found(processes, monkeypatch):
    monkeypatch.setattr(duet, "interrupts", interrupted := SimpleNamespace(came=0))
    pair, made = duet.pair, []

    def fifth(*arguments):
        made.append(pair(*arguments))
        interrupted.came = len(made) == 5
        return made[-1]

    monkeypatch.setattr(duet, "pair", fifth)
    found = duet.measure(VERSIONS, ["x"], seconds=60, width=1e-12)
    assert len(found["x"].speeds) == 5 and processes.open_ == 0
    assert len(processes.started) == 2, "and nobody is started afresh"


def test_processes_are_closed_when_something_goes_wrong(processes, monkeypatch):
    monkeypatch.setattr(duet, "check", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        duet.measure(VERSIONS, ["x"], seconds=60, width=1e-12)
    assert processes.open_ == 0


# --- what names a version ---------------------------------------------------------------------------


@pytest.fixture
def git(monkeypatch):
    """A Git that knows the commit `good`, and makes worktrees; what it was asked for."""
    asked = []

    def answer(*arguments):
        asked.append(arguments)
        if arguments[0] == "rev-parse":
            return ["abc123"] if arguments[3] in ("good^{commit}", "empty^{commit}") else []
        if arguments[:2] == ("worktree", "add"):
            (Path(arguments[4]) / "autollm").mkdir(parents=True)
            if "empty" not in str(asked[0]):
                (Path(arguments[4]) / "autollm" / "node.py").touch()
        return []

    monkeypatch.setattr(duet, "_git", answer)
    return asked


def test_a_commit_has_a_worktree_for_the_time(git):
    with duet.version("good") as found:
        assert (found.name, found.python) == ("good", sys.executable) and (found.root / "autollm").is_dir()
        tree = str(found.root)
        assert git == [
            ("rev-parse", "--verify", "--quiet", "good^{commit}", "--"),
            ("worktree", "add", "--detach", "--quiet", tree, "abc123"),
        ]
    assert git[2:] == [("worktree", "remove", "--force", tree)] and not Path(tree).exists()


def test_a_worktree_is_taken_away_whatever_happens(git):
    with pytest.raises(ZeroDivisionError), duet.version("good"):
        raise ZeroDivisionError
    assert git[-1][:2] == ("worktree", "remove")
    git.clear()
    with pytest.raises(InputError, match="empty: there is no autollm in this commit"), duet.version("empty"):
        pass
    assert git[-1][:2] == ("worktree", "remove")


def test_git_is_needed_for_a_commit_alone(monkeypatch, tmp_path):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(duet.subprocess, "run", missing)
    with pytest.raises(InputError, match="a commit needs Git, which is not installed"), duet.version("HEAD"):
        pass
    with duet.version(str(ROOT)):
        pass


def test_the_python_of_a_virtual_environment_is_taken_as_it_is_named(tmp_path, monkeypatch):
    """It is a link, and what it links to knows nothing of the environment."""
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    with duet.version("python") as found:
        assert (found.name, found.python, found.root) == ("python", str(tmp_path / "python"), None)
    (tmp_path / "clone" / "autollm").mkdir(parents=True)
    (tmp_path / "clone" / "autollm" / "node.py").touch()
    with duet.version("clone") as found:
        assert (found.name, found.python, found.root) == ("clone", sys.executable, tmp_path / "clone")


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch):
    """In place of measuring: 6 lives of two pairs, B twice as fast; what was asked for."""
    asked = []

    def measure(*arguments):
        asked.append(arguments)
        speeds = [(1000.0, 2000.0 + life) for life in range(6) for _ in range(2)]
        lives = [life for life in range(6) for _ in range(2)]
        return {name: duet.Pairs(list(speeds), list(lives)) for name in arguments[1]}

    monkeypatch.setattr(duet, "measure", measure)
    return asked


def command(*arguments):
    return cli.run(lambda: duet.main([str(ROOT), sys.executable, *arguments]))


def test_what_is_measured_by_default_and_otherwise(measured, capfd):
    assert command() == 0 and command("--workloads", "64x3x32", "--seconds", "7", "--width", "0.5") == 0
    (versions, workloads, seconds, width), (_, *others) = measured
    assert [(one.name, one.python, one.root) for one in versions] == [
        (str(ROOT), sys.executable, ROOT), (sys.executable, sys.executable, None)
    ]  # fmt: skip
    assert (workloads, seconds, width) == (list(RATED), 120.0, 0.006)
    assert others == [["64x3x32"], 7.0, 0.5]
    out, err = capfd.readouterr()
    assert "measuring for 120 s at most" in err and "99.5% interval" in out and "95%" not in out


def test_the_same_as_json_or_markdown(measured, capfd):
    assert command("--json", "--workloads", "64x3x32,256x8x64") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["versions"] == [str(ROOT), sys.executable] and told["pairs"] == {
        "64x3x32": 12,
        "256x8x64": 12,
    }
    assert [row["name"] for row in told["rows"]] == ["step[64x3x32]", "step[256x8x64]"]
    assert told["rows"][0]["medians"] == [1000.0, 2002.5]
    assert command("--markdown", "--workloads", "64x3x32") == 0
    assert re.search(r"^\| step\[64x3x32\] +\| steps/s \|", capfd.readouterr().out, re.MULTILINE)


def test_the_picture_says_which_is_which(measured, monkeypatch, tmp_path, capfd):
    drawn = []
    monkeypatch.setattr(duet, "draw", lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(duet, "check_installed", lambda options: None)
    target = tmp_path / "chart.svg"
    assert command("--plot", str(target), "--workloads", "64x3x32") == 0
    ((title, lines, where),) = drawn
    assert title == f"B: {sys.executable}\nrelative to A: {ROOT}" and where == target
    assert [name for name, _ in lines] == ["step[64x3x32]"] and "step[64x3x32]" in capfd.readouterr().out
    assert command("--plot", str(tmp_path / "no" / "chart.svg")) == 2
    assert len(measured) == 1, "a picture that cannot be saved is told before anything is measured"


def test_what_is_missing_is_named_before_anything_is_measured(measured, monkeypatch, capfd):
    import benchmarks.compare.__main__ as comparing

    monkeypatch.setattr(comparing, "find_spec", lambda name: None)
    assert command() == 2 and "comparing needs scipy" in capfd.readouterr().err and measured == []


def test_ctrl_c_is_for_the_measuring_once_it_has_begun(measured, monkeypatch, capfd):
    learning = []
    monkeypatch.setattr(duet.interrupts, "start_learning", lambda: learning.append(len(measured)))
    assert command() == 0 and learning == [0]
