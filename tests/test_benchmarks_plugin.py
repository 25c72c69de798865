"""The suite's plugin over a made-up pytest: what it is told, what it measures, what it leaves in the file."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from made_up_results import content, entry

from benchmarks import calibrators, plugin
from benchmarks.compare.runs import SCHEMA, parse
from benchmarks.fingerprint import fingerprint
from benchmarks.workloads import SIZES, WORKLOADS

SOURCE = pytest.Config.ArgsSource


def config(source=SOURCE.TESTPATHS, **options):
    """pytest's settings, with these options of the command line."""
    given = {"smoke": False, "machine_label": None, "benchmark_json": None, "benchmark_verbose": False}
    return SimpleNamespace(
        option=SimpleNamespace(**given | options), args_source=source, addinivalue_line=lambda *_: None
    )


@pytest.fixture(autouse=True)
def results(monkeypatch, tmp_path):
    """The folder for results."""
    monkeypatch.setattr(plugin, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(plugin.machine, "label", lambda: "made-up-machine")
    return tmp_path / "results"


# --- what it is told --------------------------------------------------------------------------------


def test_a_run_has_the_label_that_was_given_or_else_the_machines(results):
    for given, label, name in ((None, "made-up-machine", "made-up-machine-"), ("My PC", "My PC", "my-pc-")):
        suite = plugin.Suite(config(machine_label=given))
        assert suite.label == label
        assert suite.target.parent == results and suite.target.name.startswith(name)
        assert fingerprint()["digest"][:8] in suite.target.name
    assert results.is_dir()


def test_results_go_where_they_are_asked_to_go_when_they_are_whole(tmp_path):
    """Until then they have a hidden name beside that."""
    given = config(benchmark_json=tmp_path / "new" / "mine.json")
    suite = plugin.Suite(given)
    suite.pytest_sessionfinish()
    assert list((tmp_path / "new").iterdir()) == []
    given.option.benchmark_json.write_text("results")
    assert given.option.benchmark_json.name.startswith(".")
    suite.pytest_sessionfinish()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["mine.json"]
    assert (tmp_path / "new" / "mine.json").read_text() == "results"


@pytest.mark.parametrize("setting", ["DISABLE_JIT", "BOUNDSCHECK"])
def test_what_is_not_compiled_as_users_have_it_is_not_measured(monkeypatch, setting):
    monkeypatch.setattr(plugin.numba.config, setting, 1)
    with pytest.raises(pytest.UsageError, match=f"unset .*NUMBA_{setting}"):
        plugin.Suite(config())


def test_the_table_of_pytest_benchmark_is_for_those_who_ask():
    for verbose in (False, True):
        given = config(benchmark_verbose=verbose)
        plugin.Suite(given)
        assert given.option.benchmark_quiet is not verbose


@pytest.mark.parametrize(("source", "everything"), [(SOURCE.TESTPATHS, True), (SOURCE.ARGS, False)])
def test_a_run_of_named_files_or_of_some_rows_is_not_of_everything(source, everything):
    suite = plugin.Suite(config(source))
    assert suite.everything is everything
    suite.pytest_deselected([])
    assert not suite.everything


@pytest.mark.parametrize(
    ("smoke", "marked", "count"),
    [(False, None, 8), (False, 3, 3), (False, 20, 8), (True, None, 1), (True, 3, 1)],
)
def test_visits_are_spread_evenly_and_no_more_than_a_row_wants(smoke, marked, count):
    suite, told = plugin.Suite(config(smoke=smoke)), {}
    marker = marked and SimpleNamespace(args=[marked])
    suite.pytest_generate_tests(
        SimpleNamespace(
            fixturenames=["visit"],
            definition=SimpleNamespace(get_closest_marker=lambda name: {"visits": marker}[name]),
            parametrize=lambda name, places, ids: told.update(places=places, ids=ids),
        )
    )
    assert told["places"] == pytest.approx([(i + 0.5) / count for i in range(count)])
    assert told["ids"] == [f"visit{i}" for i in range(count)]


def test_rows_are_taken_in_turn_and_all_are_to_be_done():
    items = [
        SimpleNamespace(name=name, callspec=SimpleNamespace(params={"visit": visit}))
        for name in "ab"
        for visit in (0.25, 0.75)
    ]
    suite = plugin.Suite(config())
    suite.pytest_collection_modifyitems(items)
    assert [item.name for item in items] == ["a", "b", "a", "b"] and suite.to_do == 4


@pytest.mark.parametrize(("smoke", "seconds"), [(False, 10.0), (True, 0.05)])
def test_the_machine_is_looked_at_before_anything_is_measured(monkeypatch, smoke, seconds):
    looked, said = [], []
    monkeypatch.setattr(plugin.probe, "probe", lambda how_long: looked.append(how_long) or {"told": "quiet"})
    suite = plugin.Suite(config(smoke=smoke))
    reporter = SimpleNamespace(write_line=said.append)
    manager = SimpleNamespace(get_plugin={"terminalreporter": reporter}.__getitem__)

    def loop(items, collectonly):
        settings = SimpleNamespace(option=SimpleNamespace(collectonly=collectonly), pluginmanager=manager)
        suite.pytest_runtestloop(SimpleNamespace(items=items, config=settings))

    loop([], False)
    loop(["a row"], True)
    assert (looked, said, suite.probe) == ([], [], {}), "nothing will be measured"
    loop(["a row"], False)
    assert looked == [seconds] and suite.probe == {"told": "quiet"}
    assert said == [f"looking for {seconds:g} s how quiet this machine is", "quiet"]


# --- what it measures -------------------------------------------------------------------------------


class Benchmark:
    """pytest-benchmark's fixture: runs what it is given, and notes it."""

    def __init__(self):
        self.extra_info, self.rounds = {}, []

    def pedantic(self, run, setup=lambda: ((), {}), rounds=1):
        for _ in range(rounds):
            arguments, named = setup()
            self.rounds.append(arguments)
            result = run(*arguments, **named)
        return result


class Machine:
    """On which a turn takes a millisecond by every clock, half of it somebody else's."""

    def __init__(self, monkeypatch):
        self.now, self.turns = 0.0, []
        monkeypatch.setattr(plugin.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(calibrators, "worked", lambda: self.now / 2)

    def run(self, n, *state):
        self.turns.append((n, *state))
        self.now += n / 1000


def measure_of(suite, benchmark, visit=0, name="test_step[a]"):
    node = SimpleNamespace(nodeid=f"benchmarks/test_x.py::{name[:-1]}-visit{visit}]")
    fixture = vars(plugin.Suite)["measure"].__wrapped__
    return next(fixture(suite, benchmark, SimpleNamespace(node=node), visit / 8))


@pytest.mark.parametrize(("smoke", "length"), [(False, 50), (True, 2)])
def test_a_visit_is_rounds_of_the_length_that_is_asked(monkeypatch, smoke, length):
    """Each from a fresh state; what they count is kept."""
    made_up, benchmark, states = Machine(monkeypatch), Benchmark(), itertools.count()
    suite = plugin.Suite(config(smoke=smoke))
    measure = measure_of(suite, benchmark)
    measure(made_up.run, lambda: (next(states),), "GB/s", per_call=2.5, words=7)
    assert [n for n, _ in benchmark.rounds] == [length] * 2
    seen = [state for _, state in made_up.turns]
    assert len(set(seen)) == len(seen), "no state is used twice"
    assert benchmark.extra_info == {"unit": "GB/s", "work": [2.5 * length] * 2, "words": 7}


def test_a_round_may_be_longer_than_those_of_others_and_is_as_long_at_the_next_visit(monkeypatch):
    made_up, suite = Machine(monkeypatch), plugin.Suite(config())
    lengths = []
    for visit, speed in enumerate((1, 1, 3)):
        benchmark = Benchmark()
        measure_of(suite, benchmark, visit)(
            lambda n, speed=speed: made_up.run(n * speed), tuple, "steps/s", seconds=3.0
        )
        lengths.append({n for (n,) in benchmark.rounds})
    assert lengths == [{150}] * 3


def test_what_runs_beside_a_visit_is_kept_with_it(monkeypatch):
    """A turn of ours takes 1 ms, a turn of each loop as long; the one counts 1, the other 4."""
    made_up, benchmark = Machine(monkeypatch), Benchmark()
    measure = measure_of(plugin.Suite(config()), benchmark)
    around = calibrators.around
    looked = []

    def noted(loops, seconds, clock=lambda: made_up.now):
        looked.append((sorted(loops), seconds))
        return around(loops, seconds, clock)

    monkeypatch.setattr(calibrators, "around", noted)
    measure(
        *(made_up.run, tuple, "steps/s"),
        per_call=2.0,
        beside={"interpreter": (made_up.run, 1.0)},
        relative_to={"of_peak": (made_up.run, 4.0)},
    )
    assert looked == [(["interpreter"], 0.01), (["of_peak"], 0.01)], "for a fifth of a round"
    assert benchmark.extra_info["interpreter"] == [pytest.approx(1000.0)]
    assert benchmark.extra_info["of_peak"] == [pytest.approx(0.5)], "both by the time that was worked"


def test_what_is_measured_once_keeps_its_own_facts():
    benchmark = Benchmark()
    once = vars(plugin.Suite)["measure_once"].__wrapped__(plugin.Suite(config()), benchmark, 0.5)
    made = []
    once(lambda: made.append(7), "ms")
    assert benchmark.extra_info == {"unit": "ms", "work": [1]} and benchmark.rounds == [()]
    assert made == [7], "once"
    once(lambda: 7, "steps/s", lambda found: {"work": [found], "loss": [2.0]})
    assert benchmark.extra_info == {"unit": "steps/s", "work": [7], "loss": [2.0]}


@pytest.mark.parametrize(("smoke", "seconds"), [(False, 0.05), (True, 0.002)])
def test_a_row_may_ask_how_long_a_round_is(smoke, seconds):
    assert vars(plugin.Suite)["round_seconds"].__wrapped__(plugin.Suite(config(smoke=smoke))) == seconds


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("test_fma[visit0]", "test_fma"),
        ("test_fma[visit12]", "test_fma"),
        ("test_step[a-visit7]", "test_step[a]"),
        ("test_step[visit10-a]", "test_step[a]"),
        ("test_step[a-visit10-b]", "test_step[a-b]"),
    ],
)
def test_the_name_of_a_row_is_without_the_visit(name, row):
    assert plugin._without_visit(name) == row


# --- what it leaves ---------------------------------------------------------------------------------


def test_what_the_file_says_of_a_run(monkeypatch):
    """Told to every file that pytest-benchmark writes, and worked out once."""
    monkeypatch.setattr(plugin, "golden_loss", lambda name: len(name))
    suite = plugin.Suite(config(machine_label="mine"))
    suite.probe, suite.done, suite.to_do = {"told": "quiet"}, 2, 2
    suite.activity = SimpleNamespace(so_far=lambda: {"others_busy_cores": 0.7})
    rows = [entry("step[64x3x32]", [1.0] * 8) | {"name": "test_step[64x3x32]"}]
    rows[0]["extra_info"] |= {"spread": 0.01, "drift": 0.0}
    first, second = content() | {"benchmarks": rows}, content() | {"benchmarks": rows}
    suite.pytest_benchmark_update_json(first)
    told = first["autollm"]
    assert told["golden"] == {name: len(name) for name in WORKLOADS}
    assert told["optimum"] == {name: WORKLOADS[name].least for name in SIZES}
    assert told["fingerprint"] == fingerprint() and told["schema"] == SCHEMA
    assert (told["label"], told["smoke"], told["complete"]) == ("mine", False, True)
    assert told["probe"] == {"told": "quiet"}
    assert told["noise"]["why"] == ["other programs kept 0.7 cores busy"]
    suite.done = 3
    suite.pytest_benchmark_update_json(second)
    assert second["autollm"] == told
    assert parse(first, Path("x")).label == "mine"


def test_a_smoke_run_is_marked_as_one(monkeypatch):
    monkeypatch.setattr(plugin, "golden_loss", lambda name: 1.0)
    for smoke in (False, True):
        told = {"benchmarks": []}
        plugin.Suite(config(smoke=smoke)).pytest_benchmark_update_json(told)
        assert told["autollm"]["smoke"] is smoke


def test_the_visits_are_merged_before_a_file_is_written_and_judged_by_their_work():
    """Rounds of 1 and 2 s for 10 and 20 units are alike; of 1 and 2 s for as much they are not."""
    for work, spread in (([10, 20], 0.0), ([10, 10], pytest.approx(1 / 3, abs=1e-3))):
        visits = [
            SimpleNamespace(
                name=f"test_step[visit{i}]", fullname=f"x::test_step[visit{i}]",
                params={"visit": i}, param="", has_error=False,
                stats=SimpleNamespace(data=[seconds]), extra_info={"work": [amount]},
            )
            for i, (seconds, amount) in enumerate(zip((1.0, 2.0), work, strict=True))
        ]  # fmt: skip
        writing = vars(plugin.Suite)["pytest_benchmark_generate_json"](plugin.Suite(config()), visits)
        next(writing)
        (one,) = visits
        assert one.stats.data == [1.0, 2.0] and one.extra_info["spread"] == spread


def test_a_run_is_summed_up_at_its_end(monkeypatch):
    monkeypatch.setattr(plugin, "golden_loss", lambda name: 3.0)
    said = []
    screen = SimpleNamespace(section=said.append, write_line=said.append)
    suite = plugin.Suite(config(machine_label="mine"))
    suite.pytest_terminal_summary(screen)
    empty = {"benchmarks": []}
    suite.pytest_benchmark_update_json(empty)
    suite.pytest_terminal_summary(screen)
    assert said == [], "nothing was measured"
    suite.probe, suite.facts = {"told": "quiet"}, {}
    told = content()
    for one in told["benchmarks"]:
        one["extra_info"] |= {"spread": 0.01, "drift": 0.0}
    suite.pytest_benchmark_update_json(told)
    suite.pytest_terminal_summary(screen)
    assert said[0].startswith("mine: ") and "64x3x32" in said[1] and str(suite.target.name) in said[2]


def test_what_the_file_says_of_the_project_is_no_folder(monkeypatch):
    commit = {"project": "the-name-of-a-folder", "id": "abc"}
    suite = plugin.Suite(config())
    suite.pytest_benchmark_update_commit_info(commit)
    assert commit == {"project": "autollm", "id": "abc"}
    monkeypatch.setattr(plugin.machine, "describe", lambda: {"cpu": "made up"})
    assert suite.pytest_benchmark_generate_machine_info() == {"cpu": "made up"}
