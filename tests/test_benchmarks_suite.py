"""The suite as pytest runs it: visits, files of results, options."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import python

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")


from benchmarks import (
    plugin,
)
from benchmarks.compare.runs import OF_KERNELS, load
from benchmarks.workloads import WORKLOADS, block_of

ROOT = Path(__file__).parent.parent
HOST = "host-with-a-name-of-its-own"
SIZE = "64x3x32"
NAMED = "--machine-label=here"  # or the processor is asked for its name, which takes longest


# --- visits -----------------------------------------------------------------------------------------


def visit(name, number, durations, failed=False, **facts):
    """A benchmark of pytest-benchmark as it stands after one visit."""
    full = f"test_{name}[visit{number}]" if "[" not in name else f"test_{name[:-1]}-visit{number}]"
    size = re.findall(r"\[(.*)\]", name)
    return SimpleNamespace(
        name=full,
        fullname=f"benchmarks/test_x.py::{full}",
        params={"visit": number / 8} | ({"size": size[0]} if size else {}),
        param="",
        has_error=failed,
        stats=SimpleNamespace(data=list(durations)),
        extra_info={"unit": "steps/s", **facts},
    )


def test_the_visits_to_a_benchmark_become_one():
    one, other, two = (
        visit("step[a]", 0, [1.0, 2.0], work=[10, 10], loss=[0.5], words=7),
        visit("fma", 0, [9.0], work=[3]),
        visit("step[a]", 1, [3.0, 4.0], work=[20, 20], loss=[0.6], words=7),
    )
    step, fma = plugin.merge_visits([one, other, two])
    assert (step.name, step.fullname) == ("test_step[a]", "benchmarks/test_x.py::test_step[a]")
    assert (step.params, step.param) == ({"size": "a"}, "a")
    assert step.stats.data == [1.0, 2.0, 3.0, 4.0], "in the order of the visits"
    facts = step.extra_info
    assert (facts["work"], facts["loss"]) == ([10, 10, 20, 20], [0.5, 0.6])
    assert (facts["visits"], facts["words"]) == (2, 7)
    assert (fma.name, fma.params, fma.param, fma.extra_info["visits"]) == ("test_fma", None, None, 1)


def test_merging_again_changes_nothing():
    merged = plugin.merge_visits([visit("step[a]", i, [1.0], work=[10]) for i in range(3)])
    before = json.dumps([vars(one) | {"stats": one.stats.data} for one in merged])
    again = plugin.merge_visits(merged)
    assert json.dumps([vars(one) | {"stats": one.stats.data} for one in again]) == before


def test_visits_that_failed_or_were_cut_short_are_left_out():
    visits = [
        visit("step[a]", 0, [1.0, 1.0], work=[10, 10]),
        visit("step[a]", 1, [7.0, 7.0], failed=True, work=[10, 10]),
        visit("step[a]", 2, [7.0], work=[10, 10]),
        visit("step[a]", 3, [7.0]),
        visit("fma", 0, []),
    ]
    (step,) = plugin.merge_visits(visits)
    assert (step.stats.data, step.extra_info["visits"]) == ([1.0, 1.0], 1)


@pytest.fixture
def suite(monkeypatch):
    """The plugin in the midst of a run of which nothing was left out."""
    monkeypatch.setattr(plugin, "golden_loss", lambda name: 1.0)
    suite = object.__new__(plugin.Suite)
    vars(suite).update(facts={}, output={}, label="mine", pace=plugin.FULL, everything=True, done=3, to_do=3)
    vars(suite).update(probe={}, activity=SimpleNamespace(so_far=dict))
    return suite


@pytest.mark.parametrize(
    ("everything", "done", "complete"),
    [(True, 3, True), (True, 2, False), (False, 3, False), (False, 2, False)],
)
def test_a_run_is_complete_if_nothing_was_left_out_and_every_visit_made(suite, everything, done, complete):
    suite.everything, suite.done = everything, done
    told = {"benchmarks": []}
    suite.pytest_benchmark_update_json(told)
    assert told["autollm"]["complete"] is complete


def test_a_smoke_run_is_called_one(suite):
    for pace, end in ((plugin.SMOKE, "-smoke.json"), (plugin.FULL, ".json")):
        suite.pace = pace
        assert re.fullmatch(rf"mine-\d{{8}}-\d{{6}}-[0-9a-f]{{8}}{re.escape(end)}", suite._new_file().name)


def test_a_visit_is_made_when_its_test_has_passed(suite):
    suite.done = 0
    for when, passed in (("setup", True), ("call", False), ("call", True), ("teardown", True)):
        suite.pytest_runtest_logreport(SimpleNamespace(when=when, passed=passed))
    assert suite.done == 1


def test_a_round_is_made_as_long_as_asked(monkeypatch):
    """With a clock that moves by a millisecond for each unit of work, 50 ms are 50 units."""
    now = [0.0]
    monkeypatch.setattr(plugin.time, "perf_counter", lambda: now[0])

    def run(n, state):
        assert state == "fresh"
        now[0] += n / 1000

    assert plugin._units(run, lambda: ("fresh",), 0.05) == 50
    assert plugin._units(run, lambda: ("fresh",), 0.0001) == 1, "one at least"


# --- pytest -----------------------------------------------------------------------------------------


warm = partial(python, warm="pytest")


def pytest_in_the_repository(*arguments, env=None):
    return warm("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, cwd=ROOT, env=env)


@pytest.fixture
def host(tmp_path):
    """The environment of a process whose host has a name that can be found again, and so has its user, with
    `-p named`."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "named.py").write_text(
        "import getpass, os, platform, socket\n"
        f"platform.node = socket.gethostname = socket.getfqdn = lambda *_: {HOST!r}\n"
        f"uname = os.uname(); os.uname = lambda: type(uname)((uname[0], {HOST!r}, *uname[2:]))\n"
        f"getpass.getuser = lambda: {HOST!r}\n"
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HOSTNAME": HOST, "USER": HOST}


def test_a_run_of_a_part_leaves_its_files_without_the_name_of_the_host(tmp_path, host):
    """Nor does one that pytest-benchmark itself is asked for; and both say that the run is not whole."""
    done = pytest_in_the_repository(
        *("--benchmark", "--smoke"),
        # All of test_step.py but the ceiling, which takes longest to compile.
        *("-k", "interpreter or ((test_step or test_product) and 64x3x32 and not (reordered or ceiling))"),
        *("--benchmark-json", str(tmp_path / "ours.json"), "--benchmark-save=mine", "--benchmark-save-data"),
        *("--benchmark-storage", f"file://{tmp_path}/saved", "-p", "named"),
        env=host,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smoke run" in done.stdout
    files = [tmp_path / "ours.json", *(tmp_path / "saved").rglob("*.json")]
    assert len(files) == 2
    for file in files:
        run = load(file)
        kinds = "step", "forward", "forward_backward", "update", "draw"
        products = {f"product[64x3x32-{factors}]" for factors in ("h@W.T", "g.T@h", "g@W")}
        assert set(run.series) == {"interpreter", *(f"{kind}[64x3x32]" for kind in kinds), *products}
        assert all(len(run.series[one].facts[fact]) == 1 for one in products for fact in OF_KERNELS)
        facts = run.series["step[64x3x32]"].facts
        assert len(facts["interpreter"]) == len(facts["fma"]) == 1, "calibrators beside its only visit"
        assert "will not show" in run.probe
        assert not any(work % block_of(WORKLOADS[SIZE]) for work in run.series[f"draw[{SIZE}]"].facts["work"])
        assert run.smoke and not run.complete
        assert HOST not in str(file) and HOST.encode() not in file.read_bytes()
        assert str(ROOT).encode() not in file.read_bytes()
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal")
def test_ctrl_c_leaves_a_file_that_says_it_is_incomplete(tmp_path):
    interrupting = tmp_path / "interrupting.py"
    interrupting.write_text(
        "import os, signal, pytest\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtest_call(item):\n"
        "    item.module.BUDGET = 0.02\n"
        "    if 'one_second' in item.name and '256x8x64' in item.name:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return (yield)\n"
    )
    done = pytest_in_the_repository(
        *("--benchmark", "--smoke", "--benchmark-json", str(tmp_path / "ours.json"), "-p", "interrupting"),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "INTERNALERROR" not in done.stdout and "Traceback" not in done.stderr
    run = load(tmp_path / "ours.json")
    assert set(run.series) == {"one_second[64x3x32]"}
    assert not run.complete


def test_pytest_runs_tests_and_pytest_benchmark_runs_benchmarks(tmp_path):
    most = "test_[!bn]*", "test_b[!e]*", "test_benchmarks_[!r]*"  # which take long to import
    ignored = [f"--ignore-glob={ROOT}/tests/{names}" for names in most]
    tests = pytest_in_the_repository("--collect-only", *ignored).stdout
    assert "tests/test_node.py" in tests and "benchmarks/" not in tests.replace("tests/test_benchmarks", "")
    suite = pytest_in_the_repository(
        "--collect-only", "--benchmark", NAMED, f"--benchmark-json={tmp_path / 'x.json'}"
    )
    assert "benchmarks/test_step.py" in suite.stdout and "tests/" not in suite.stdout


def test_every_benchmark_is_visited_before_any_is_visited_again(tmp_path):
    chosen = "interpreter or dispatch or default_run"
    found = pytest_in_the_repository(
        "--collect-only", "--benchmark", NAMED, "-k", chosen, f"--benchmark-json={tmp_path / 'x.json'}"
    ).stdout
    visits = re.findall(r"::test_(\w+)\[visit(\d)\]", found)
    assert [visit for visit in visits if visit[0] == "fma"] == []
    for name, count in (("interpreter", 8), ("dispatch", 8), ("default_run", 3)):
        assert [int(number) for which, number in visits if which == name] == list(range(count))
    order = [(int(number) + 0.5) / (3 if name == "default_run" else 8) for name, number in visits]
    assert order == sorted(order)


def test_a_suite_of_which_nothing_is_chosen_ends_quietly(tmp_path):
    chosen = "--benchmark", NAMED, "-k", "no_such_benchmark", f"--benchmark-json={tmp_path / 'x.json'}"
    done = pytest_in_the_repository("--collect-only", *chosen)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("given", [None, "2"])
def test_how_many_threads_are_asked_for_is_as_before(monkeypatch, pytestconfig, given):
    one_thread = pytestconfig.pluginmanager.get_plugin(str(ROOT / "conftest.py")).one_thread
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    if given:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
    with one_thread():
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ.get("OPENBLAS_NUM_THREADS") == given


def test_options_of_the_suite_go_with_benchmark():
    done = pytest_in_the_repository("--collect-only", "--smoke")
    assert done.returncode != 0
    assert "--smoke goes with --benchmark" in done.stderr + done.stdout
