"""Files of results: which can be read, which are left out, and what is said about them."""

from __future__ import annotations

import codecs
import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from made_up_results import content, write

from autollm.errors import InputError
from benchmarks.compare import runs as runs_module
from benchmarks.compare.runs import MAX_BYTES, Series, file_stem, load, load_all, plain

OTHER_SOURCE = {"configuration": "c", "data": "d", "source": "other"}
OTHER_DATA = {"configuration": "c", "data": "other", "source": "s"}


def test_a_file_as_it_is_read(tmp_path):
    one = content(2)
    one["benchmarks"] = one["benchmarks"][:1]
    facts = {"unit": "names/s", "work": [10, 20, 30, 40], "visits": 2, "loss": [1.5]}
    one["benchmarks"][0] |= {"extra_info": facts, "stats": {"data": [1.0, 1.0, 2.0, 2.0]}}
    (tmp_path / "a.json").write_text(json.dumps(one))
    run = load(tmp_path / "a.json")
    assert (run.label, run.when, run.smoke, run.complete) == ("machine 2", "2026-01-03 10:00", False, True)
    assert run.fingerprint == {"configuration": "c", "data": "d", "source": "s"}
    assert (run.golden["64x3x32"], run.optimum["64x3x32"]) == (3.0, 2.0)
    (series,) = run.series.values()
    assert (series.unit, series.facts["loss"]) == ("names/s", [1.5])
    np.testing.assert_array_equal(series.speeds, [[10, 20], [15, 20]])  # one row a visit, in order


def test_a_mark_at_the_beginning_is_no_damage(tmp_path):
    """Some editors write one."""
    (tmp_path / "a.json").write_bytes(codecs.BOM_UTF8 + json.dumps(content()).encode())
    assert load(tmp_path / "a.json").label == "machine 0"


def test_texts_are_lines():
    assert plain("a\nb\tc\x1b[1m \u2028\ud800 é|") == "a b c [1m    é|"


def test_labels_and_facts_with_line_breaks(tmp_path):
    one = content(label="my\nlaptop")
    one["machine_info"] |= {"cpu\n": {"brand": "a\rb", "flags": ["x\ny"]}}
    one["autollm"]["noise"] = {"noisy": True, "why": ["a\nb"]}
    (tmp_path / "a.json").write_text(json.dumps(one))
    run = load(tmp_path / "a.json")
    assert (run.label, run.noise["why"]) == ("my laptop", ["a b"])
    assert run.machine["cpu"] == {"brand": "a b", "flags": ["x y"]}


def places(value, path=()):
    """Every key of every dict in a value from JSON, as a path."""
    if isinstance(value, dict):
        for key in value:
            yield (*path, key)
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i, one in enumerate(value):
            yield from places(one, (*path, i))


def at(value, path):
    for key in path:
        value = value[key]
    return value


FREE = ("cpu", "brand", "cores", "python", "numba", "digest", "taken")  # facts that may be anything
PLACES = [
    path
    for path in places(content())
    if path[-1] not in FREE and path[:2] != ("benchmarks", 1)  # which is like the first
]
KINDS = (None, True, 7, 7.5, "text", ["text"], {"a": "text"})


def damaged(value):
    """What may stand in a file where `value` should."""
    numbers = (int, float)
    for other in KINDS:
        if type(other) is not type(value) and not (type(value) is float and type(other) in numbers):
            yield other
    if type(value) in numbers:
        yield from (0, -1, 10**400, float("nan"), float("inf"))


@pytest.mark.parametrize("path", PLACES, ids=lambda path: "-".join(map(str, path)))
def test_a_part_that_is_missing_or_wrong(tmp_path, path):
    """Whatever the damage is, one line says it, and a folder with such a file can still be compared."""
    file = tmp_path / "damaged.json"
    *parents, key = path
    whole = at(content(), path)
    broken = [deepcopy(content()) for _ in range(1 + len(list(damaged(whole))))]
    del at(broken[0], parents)[key]
    for one, damage in zip(broken[1:], damaged(whole), strict=True):
        at(one, parents)[key] = damage
    if parents and parents[-1] in ("golden", "optimum"):  # of a workload that this run did not have
        broken = broken[1:]
    for one in broken:
        file.write_text(json.dumps(one))
        with pytest.raises(InputError) as found:
            load(file)
        assert "\n" not in str(found.value) and str(file) in str(found.value)
    write(tmp_path / "a.json", 1)
    write(tmp_path / "b.json", 2)
    runs, left_out = load_all([tmp_path])
    assert len(runs) == 2
    assert len(left_out) == 1 and "damaged.json" in left_out[0]


def test_numbers_that_ratios_would_not_survive(tmp_path):
    one = content()
    for work, seconds in ((1e299, 1e-299), (1e-299, 1e299), (1.0, 1e-31), (1e31, 1.0)):
        one["benchmarks"][0]["extra_info"]["work"] = [work] * 16
        one["benchmarks"][0]["stats"]["data"] = [seconds] * 16
        (tmp_path / "a.json").write_text(json.dumps(one))
        with pytest.raises(InputError, match="not a number from 1e-30 to 1e\\+30"):
            load(tmp_path / "a.json")


def test_reasons_for_noise_that_are_no_texts(tmp_path):
    write(tmp_path / "a.json", noise={"noisy": True, "why": ["a", 1]})
    with pytest.raises(InputError, match="'why' is not a list of texts"):
        load(tmp_path / "a.json")


def test_facts_that_are_no_numbers_and_facts_without_end(tmp_path):
    write(
        tmp_path / "a.json", noise={"noisy": False, "why": [], "spread": float("nan"), "load": float("inf")}
    )
    assert load(tmp_path / "a.json").noise == {"noisy": False, "why": [], "spread": None, "load": None}
    one = content()
    for levels, is_read in ((10, True), (300, False)):
        one["machine_info"]["deep"] = 1
        for _ in range(levels):
            one["machine_info"]["deep"] = [one["machine_info"]["deep"]]
        (tmp_path / "a.json").write_text(json.dumps(one))
        if is_read:
            load(tmp_path / "a.json")
        else:
            with pytest.raises(InputError, match="more than 20 levels"):
                load(tmp_path / "a.json")


def test_how_a_files_name_begins():
    assert file_stem("../My laptop!") == "my-laptop" and file_stem("é|") == "machine"
    assert file_stem("x" * 300) == "x" * 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a whole JSON file"),
        ('{"benchmarks": [', "not a whole JSON file"),
        ("[" * 100_000, "not a whole JSON file"),
        ("[1, 2]", "not a file of benchmark results"),
        ('{"benchmarks": [], "machine_info": {}}', "of another project"),
        ('{"benchmarks": [], "autollm": {"schema": 99}}', "newer version"),
        ('{"benchmarks": [], "autollm": {"schema": 1}}', "older version"),
        ('{"benchmarks": [], "autollm": {}}', "'schema' is missing"),
    ],
)
def test_files_that_are_not_results(tmp_path, text, message):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    with pytest.raises(InputError, match=message) as found:
        load(bad)
    assert str(bad) in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("work", "seconds", "visits"),
    [([1, 1], [1], 1), ([1, 1, 1], [1, 1, 1], 2), ([], [], 1), ([1], [1], 0), ([1], [0], 1)],
)
def test_rounds_that_do_not_fit_together(tmp_path, work, seconds, visits):
    one = content()
    one["benchmarks"][0]["extra_info"] |= {"work": work, "visits": visits}
    one["benchmarks"][0]["stats"]["data"] = seconds
    (tmp_path / "bad.json").write_text(json.dumps(one))
    with pytest.raises(InputError, match="step\\[64x3x32\\]"):
        load(tmp_path / "bad.json")


@pytest.mark.parametrize("loop", ["interpreter", "fma", "of_peak", "of_numpy"])
def test_what_ran_beside_each_visit(tmp_path, loop):
    one = content()
    for count, is_whole in ((8, True), (7, False)):
        one["benchmarks"][0]["extra_info"][loop] = [2.0] * count
        (tmp_path / "a.json").write_text(json.dumps(one))
        if is_whole:
            beside = load(tmp_path / "a.json").series["step[64x3x32]"].beside(loop)
            assert beside.visits.tolist() == [2.0] * 8
        else:
            with pytest.raises(InputError, match="not as many calibrators as its 8 visits"):
                load(tmp_path / "a.json")


def test_a_speed_relative_to_what_ran_beside_it():
    series = Series("GFLOP/s", np.ones((3, 2)), {"of_peak": [0.9, 0.1, 0.75], "of_numpy": []})
    assert (series.relative("of_peak"), series.relative("of_numpy")) == (0.75, None)


def test_a_folder_goes_by_its_newest_run(tmp_path):
    for seed, fingerprint in enumerate([OTHER_SOURCE, OTHER_SOURCE, None, None]):
        changes = {"fingerprint": fingerprint} if fingerprint else {}
        write(tmp_path / f"{9 - seed}.json", seed, **changes)
    runs, left_out = load_all([tmp_path])
    assert [run.label for run in runs] == ["machine 3", "machine 2"]  # in the order of their names
    assert len(left_out) == 2
    assert all("another source; --any-source" in line and "6.json" in line for line in left_out)


def test_named_files_go_by_the_first(tmp_path):
    files = [write(tmp_path / f"{seed}.json", seed) for seed in range(2)]
    other = write(tmp_path / "2.json", 2, fingerprint=OTHER_SOURCE)
    runs, left_out = load_all([Path(one) for one in (*files, other)])
    assert len(runs) == 2 and len(left_out) == 1
    runs, left_out = load_all([Path(one) for one in (*files, other)], any_source=True)
    assert len(runs) == 3 and not left_out
    worse = write(tmp_path / "3.json", 3, fingerprint=OTHER_DATA)
    with pytest.raises(InputError, match="found 1") as found:
        load_all([Path(files[0]), Path(worse)], any_source=True)
    assert "another data" in str(found.value)


def test_one_run_is_not_enough(tmp_path):
    with pytest.raises(InputError, match="two runs are needed to compare, found 1"):
        load_all([Path(write(tmp_path / "a.json"))])


def test_a_run_is_not_compared_with_itself(tmp_path):
    first = write(tmp_path / "a.json")
    with pytest.raises(InputError, match="the same run as"):
        load_all([Path(first), Path(first)])


def test_only_files_in_the_folder_itself_are_meant(tmp_path):
    for seed in range(2):
        write(tmp_path / f"{seed}.json", seed)
    (tmp_path / "old").mkdir()
    write(tmp_path / "old" / "2.json", 2)
    (tmp_path / "notes.txt").write_text("mine")
    runs, left_out = load_all([tmp_path])
    assert [run.path.name for run in runs] == ["0.json", "1.json"] and left_out == []


def test_a_file_may_be_as_large_as_results_are_and_no_larger(monkeypatch, tmp_path):
    path = Path(write(tmp_path / "a.json"))
    monkeypatch.setattr(runs_module, "MAX_BYTES", path.stat().st_size)
    assert load(path).label == "machine 0"
    monkeypatch.setattr(runs_module, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(InputError, match=r"more than \d+ MB, which no results are"):
        load(path)
    assert MAX_BYTES == 64 * 2**20
