"""Two versions in turn: verdicts over simulated pairs, what names a version, and real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from commands import Running

from autollm import cli
from autollm.errors import InputError
from benchmarks import copies, duet
from benchmarks.compare.verdict import FASTER, NOT_COMPARABLE, SAME, SLOWER, Verdict
from benchmarks.copies import ROOT

LIVES = 10


def pairs(ratio, seed, count=1000, noise=0.03, life=0.007):
    """Simulated pairs on a machine whose speed halves and doubles, with bursts that neighbours disturb, and
    processes that differ from one life to the next: ratios then by 1 %, as they were seen to."""
    rng = np.random.default_rng(seed)
    machine = 1000.0 * 2 ** np.sin(np.linspace(0, 9, count) + rng.random())
    lives = np.arange(count) * LIVES // count
    luck = np.exp(life * rng.standard_normal((LIVES, 2)))[lives]
    disturbed = np.where(rng.random((count, 2)) < 0.1, rng.uniform(0.3, 1, (count, 2)), 1)
    disturbed *= np.exp(noise * rng.standard_normal((count, 2)))
    speeds = machine[:, None] * luck * disturbed * [1, ratio]
    return duet.Pairs([tuple(one) for one in speeds.tolist()], lives.tolist())


def test_a_version_against_itself_is_not_told_apart():
    """Of 100 rows at most one is called different, also where the lives of the processes differ much more."""
    for life in (0.007, 0.03):
        words = [pairs(1.0, seed, life=life).verdict().word for seed in range(100)]
        assert words.count(SAME) >= 99


@pytest.mark.parametrize(("ratio", "word"), [(0.97, SLOWER), (1.03, FASTER)])
def test_three_percent_are_found(ratio, word):
    found = [pairs(ratio, seed).verdict() for seed in range(300)]
    words = [one.word for one in found]
    assert words.count(word) >= 270 and set(words) <= {word, SAME}
    held = sum(one.low <= ratio <= one.high for one in found)
    assert 294 <= held < 300, "a 99.5 % interval"
    assert np.mean([one.high - one.low for one in found]) < 0.03


def test_what_shows_in_one_life_only_is_not_shown():
    one = pairs(1.0, 1)
    one.speeds = [
        (a, 1.5 * b if life == 1 else b) for (a, b), life in zip(one.speeds, one.lives, strict=True)
    ]
    assert one.verdict().ratio > 1.03 and one.verdict().word == SAME


def keep_lives(one, count):
    """Only the pairs of the first lives."""
    number = sum(life < count for life in one.lives)
    del one.speeds[number:], one.lives[number:]


def test_what_was_seen_in_few_lives_is_not_shown():
    one = pairs(1.5, 1)
    assert one.verdict().word == FASTER
    keep_lives(one, 5)
    assert one.verdict().word == FASTER
    keep_lives(one, 4)
    assert one.verdict().word == SAME and one.verdict().low > 1.3
    keep_lives(one, 1)
    assert one.verdict() == Verdict(NOT_COMPARABLE, reason="too few pairs in this time")


def test_a_life_that_was_cut_short_does_not_count():
    one = pairs(1.0, 1, life=0)
    whole = one.verdict()
    one.speeds.append((1.0, 2.0))
    one.lives.append(LIVES)
    assert one.verdict() == whole


def test_b_to_a_is_the_inverse_of_a_to_b():
    one = pairs(1.1, 1)
    other = duet.Pairs([(b, a) for a, b in one.speeds], one.lives).verdict()
    there = one.verdict()
    assert (other.ratio, other.low, other.high) == pytest.approx(
        (1 / there.ratio, 1 / there.high, 1 / there.low)
    )
    assert (there.word, other.word) == (FASTER, SLOWER)


def test_less_than_one_percent_is_never_a_difference():
    assert pairs(1.008, 0, noise=1e-6, life=0).verdict().word == SAME
    assert pairs(1.012, 0, noise=1e-6, life=0).verdict().word == FASTER
    assert pairs(1 / 1.012, 0, noise=1e-6, life=0).verdict().word == SLOWER


def test_when_there_is_no_more_to_be_learned():
    narrow = pairs(1.0, 0, noise=1e-4, life=0)
    assert narrow.is_narrow(0.01) and not narrow.is_narrow(1e-9)
    keep_lives(narrow, 4)
    assert not narrow.is_narrow(0.01), "too few lives"
    assert not duet.Pairs().is_narrow(1.0) and duet.Pairs(reason="no golden loss").is_narrow(1e-9)


def test_a_row_of_known_pairs():
    ratios = [0.5, 0.54, 9.0, 0.5, 0.5, 0.54]  # medians of the lives: 0.54, 0.5, and their geometric mean
    row = duet.Pairs([(100.0, 100 * ratio) for ratio in ratios], [0, 0, 0, 1, 1, 1]).row("64x3x32")
    assert (row.name, row.unit) == ("step[64x3x32]", "steps/s")
    assert row.medians == pytest.approx([100.0, 52.0])
    (verdict,) = row.verdicts
    assert verdict.ratio == pytest.approx((0.54 * 0.5) ** 0.5)
    error = np.log(0.54 / 0.5) / 2  # of two numbers, the standard error of their mean
    t = 127.32  # the 99.75 % quantile of Student's distribution with one degree of freedom, from a table
    assert np.log([verdict.low, verdict.high]) == pytest.approx(
        np.log(verdict.ratio) + np.array([-t, t]) * error, rel=1e-4
    )
    assert duet.Pairs().row("x").medians == [None, None]


# --- measuring, over made-up processes --------------------------------------------------------------


class MadeUp:
    """A process of a version that makes so many steps a second; all that was ordered is noted."""

    orders, alive = [], 0

    def __init__(self, core, python, root):
        self.steps_per_second = float(python)
        MadeUp.alive += 1

    def order(self, name, **amount):
        MadeUp.orders.append((self.steps_per_second, name, amount))

    def answer(self):
        return {"loss": 2.0 + (self.steps_per_second == 66.0)}

    def speed(self, name, **amount):
        self.order(name, **amount)
        return self.steps_per_second

    def close(self):
        MadeUp.alive -= 1


@pytest.fixture
def made_up(monkeypatch):
    now = iter(np.arange(0, 1000, 0.01))
    monkeypatch.setattr(duet, "Copy", MadeUp)
    monkeypatch.setattr(duet.time, "perf_counter", lambda: float(next(now)))
    MadeUp.orders, MadeUp.alive = [], 0
    return MadeUp


def versions(a, b):
    return [duet.Version("A", python=str(a)), duet.Version("B", python=str(b))]


def test_both_take_turns_in_an_order_that_is_drawn(made_up, monkeypatch):
    monkeypatch.setattr(duet, "LIFE", 0.5)
    found = duet.measure(versions(1000, 2000), ["x", "y"], seconds=10, width=0.1)
    assert made_up.alive == 0, "every process is closed"
    assert set(found["x"].lives) == set(range(duet.LEAST_LIVES)), "and no more than are needed"
    assert set(found["x"].speeds) == set(found["y"].speeds) == {(1000.0, 2000.0)}
    bursts = [(speed, name) for speed, name, amount in made_up.orders if "steps" in amount]
    assert {amount["steps"] for _, _, amount in made_up.orders if "steps" in amount} == {
        30
    }  # 30 ms of the slower
    together = [set(bursts[i : i + 2]) for i in range(0, len(bursts), 2)]
    assert all(one in ({(1000.0, n), (2000.0, n)} for n in "xy") for one in together)
    first = [bursts[i][0] for i in range(0, len(bursts), 2)]
    assert 0.3 < first.count(1000.0) / len(first) < 0.7
    names = [bursts[i][1] for i in range(0, len(bursts), 4)]
    assert {"x", "y"} == set(names)


def test_a_short_time_is_enough_for_all_lives(made_up):
    found = duet.measure(versions(1000, 2000), ["x"], seconds=5, width=1e-12)
    assert len(set(found["x"].lives)) >= duet.LEAST_LIVES and found["x"].verdict().word == FASTER


def test_what_is_compiled_first_takes_nothing_from_the_time(made_up, monkeypatch):
    check = duet.check
    waited = []

    def compile_first(*arguments):
        waited.extend(duet.time.perf_counter() for _ in range(10_000))  # 100 s
        return check(*arguments)

    monkeypatch.setattr(duet, "check", compile_first)
    found = duet.measure(versions(1000, 2000), ["x"], seconds=5, width=1e-12)
    assert waited and found["x"].verdict().word == FASTER


def test_the_time_is_kept(made_up, monkeypatch):
    monkeypatch.setattr(duet, "LIFE", 0.5)
    found = duet.measure(versions(1000, 2000), ["x"], seconds=2, width=1e-12)
    assert len(found["x"].speeds) < 200


def test_a_version_whose_loss_is_no_number_is_not_timed(made_up, monkeypatch):
    monkeypatch.setattr(MadeUp, "answer", lambda self: {"loss": float("nan")})
    found = duet.measure(versions(1000, 1000), ["x"], seconds=10, width=0.1)["x"]
    assert found.verdict().word == NOT_COMPARABLE


def test_a_version_that_learns_something_else_is_not_timed(made_up):
    found = duet.measure(versions(66, 1000), ["x"], seconds=10, width=0.1)["x"]
    assert (found.speeds, found.verdict().word) == ([], NOT_COMPARABLE)
    assert "losses of 3.000000 and 2.000000" in found.verdict().reason


# --- real ones --------------------------------------------------------------------------------------


def test_what_names_a_version(tmp_path):
    with duet.version(str(ROOT)) as found:
        assert (found.python, found.root) == (sys.executable, ROOT)
    with duet.version(sys.executable) as found:
        assert (found.python, found.root) == (sys.executable, None)
    for text, said in (("no-such-commit", "neither a folder"), (str(tmp_path), "no autollm in this folder")):
        with pytest.raises(InputError, match=said), duet.version(text):
            pass


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(not git("rev-parse", "HEAD"), reason="not a clone")
def test_a_commit_is_set_up_and_taken_away():
    before = git("worktree", "list")
    with duet.version("HEAD") as found:
        assert (found.root / "autollm" / "node.py").read_text() == git("show", "HEAD:autollm/node.py") + "\n"
        assert found.root != ROOT
    assert not found.root.exists() and git("worktree", "list") == before


def warm(command, env, **_):
    """What a Copy asks of subprocess.Popen, with a process that need not load the kernels first."""
    (orders, to_it), (from_it, answers) = os.pipe(), os.pipe()
    with open(orders) as given, open(answers, "w") as told:
        run = Running([word for word in command[1:] if word != "-P"], given, told, sys.__stderr__, env=env)
    return SimpleNamespace(stdin=open(to_it, "w"), stdout=open(from_it), wait=lambda seconds: run.wait())


def test_the_command(capfd, monkeypatch):
    if hasattr(os, "fork"):
        monkeypatch.setattr(copies, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": warm}))
    monkeypatch.setattr(duet, "LIVES", 10)
    monkeypatch.setattr(duet, "BURST", 0.002)
    options = ["--seconds", "0.3", "--workloads", "64x3x32", str(ROOT), str(ROOT)]
    assert cli.run(lambda: duet.main([*options, "--json"])) == 0
    told = json.loads(capfd.readouterr().out)
    (row,), pairs = told["rows"], told["pairs"]["64x3x32"]
    assert (row["name"], row["unit"], told["versions"]) == ("step[64x3x32]", "steps/s", [str(ROOT)] * 2)
    (verdict,) = row["verdicts"]  # how many pairs there were, and so which, is for the machine to say
    assert pairs > 0 or (verdict["ratio"] is None and row["medians"] == [None, None])
    assert verdict["ratio"] is None or verdict["low"] <= verdict["ratio"] <= verdict["high"]


def test_the_table(capfd, monkeypatch):
    found = {"64x3x32": pairs(1.5, 1), "256x8x64": duet.Pairs(reason="why")}
    monkeypatch.setattr(duet, "measure", lambda *_: found)
    status = cli.run(lambda: duet.main(["--workloads", "64x3x32,256x8x64", str(ROOT), sys.executable]))
    out, err = capfd.readouterr()
    assert status == 0 and "Ctrl-C" in err
    assert f"A: {ROOT}\nB: {sys.executable}\n" in out
    lines = [line.split() for line in out.splitlines()]
    assert [line[-1] for line in lines if line and line[0] == "step[64x3x32]"] == ["faster"]
    assert "not comparable: why" in out


@pytest.mark.parametrize("arguments", [["."], [".", "."], [".", ".", "--workloads", "wings"]])
def test_options_that_make_no_sense(capfd, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    assert cli.run(lambda: duet.main(arguments)) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("autollm: error") == 1 and "Traceback" not in err
