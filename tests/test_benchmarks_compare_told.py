"""What a comparison tells, line by line, and what decides its exit status."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from made_up_results import VISITS, content, entry, write
from test_benchmarks_compare import compared

from benchmarks.compare import __main__ as command
from benchmarks.compare import chart
from benchmarks.compare.ranking import confirmation
from benchmarks.compare.report import LETTERS, rows_table
from benchmarks.compare.runs import parse
from benchmarks.compare.verdict import FASTER, NOT_COMPARABLE, SAME, SLOWER, Row, Verdict, compare


def test_a_row_of_two_runs_tells_it_all():
    """Both medians, the ratio, the interval from low to high, and the word; or why there is none."""
    rows = [
        Row("step[a]", "steps/s", [1000.0, 1500.0], [Verdict(FASTER, 1.5, 1.25, 1.75)]),
        Row("import[b]", "ms", [20.0, None], [Verdict(NOT_COMPARABLE, reason="not measured in both")]),
    ]
    told = [re.split(r"  +", line.strip()) for line in rows_table(2, rows, confidence=0.995).splitlines()]
    assert told[0] == ["benchmark", "unit", "A", "B", "B/A", "99.5% interval"]
    assert told[1] == ["step[a]", "steps/s", "1,000", "1,500", "1.50", "1.25 .. 1.75", "faster"]
    assert told[2] == ["import[b]", "ms", "20", "-", "-", "-", "not comparable: not measured in both"]
    assert "95% interval" in rows_table(2, rows)
    three = [replace(row, medians=[*row.medians, 9.0], verdicts=[*row.verdicts, Verdict(SAME, 0.9, 0.8, 1.1)])
             for row in rows]  # fmt: skip
    told = [re.split(r"  +", line.strip()) for line in rows_table(3, three).splitlines()]
    assert told == [
        ["benchmark", "unit", "A", "B/A", "C/A"],
        ["step[a]", "steps/s", "1,000", "1.50", "~0.90"],
        ["import[b]", "ms", "20", "-", "~0.90"],
    ]


def explained(tmp_path, runs):
    """Files of runs with a step, a ceiling and calibrators of these speeds."""
    files = []
    for seed, (step, ceiling, interpreter, fma) in enumerate(runs):
        beside = {"interpreter": [interpreter] * VISITS, "fma": [fma] * VISITS}
        rows = [entry("step[a]", [step] * VISITS, **beside), entry("ceiling[a]", [ceiling] * VISITS)]
        rows += [entry("interpreter", [interpreter] * VISITS), entry("fma", [fma] * VISITS)]
        noise = {"noisy": seed == 2, "why": ["a neighbour sang"] * (seed == 2)}
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_text(json.dumps(content(seed, noise=noise) | {"benchmarks": rows}))
    return list(map(str, files))


def test_of_three_runs_each_is_explained_against_the_first(capsys, tmp_path):
    """Half of A's time is Python. B's halves are 2 and 4 times as fast, C's a half and a quarter."""
    files = explained(tmp_path, [(100, 200, 10, 1000), (250, 700, 20, 4000), (35, 80, 5, 250)])
    out = compared(capsys, *files)[1]
    told = out.split("\n\n")[-1].splitlines()
    step = "step[a]: 50% of A's time is Python; from interpreter and fma beside it one expects"
    assert told == [
        "A before measuring: machine 0 is quiet.",
        "B before measuring: machine 1 is quiet.",
        "Calibrators, B/A: interpreter 2.00, fma 4.00.",
        f"{step} B/A = 2.67 (2.67 .. 2.67), measured 2.50.",
        "C before measuring: machine 2 is quiet.",
        "C was noisy: a neighbour sang.",
        "Calibrators, C/A: interpreter 0.50, fma 0.25.",
        f"{step} C/A = 0.33 (0.33 .. 0.33), measured 0.35.",
    ]
    found = json.loads(compared(capsys, "--json", *files)[1])
    assert [[round(one["expected"], 2) for one in run] for run in found["expectations"]] == [[2.67], [0.33]]
    assert [run["noise"]["noisy"] for run in found["runs"]] == [False, False, True]
    assert [run["file"] for run in found["runs"]] == files
    assert [(run["label"], run["when"], run["complete"]) for run in found["runs"]] == [
        (f"machine {seed}", f"2026-01-0{seed + 1} 10:00", True) for seed in range(3)
    ]
    assert found["differences"]["cpu.brand"] == ["CPU 0", "CPU 1", "CPU 2"]
    legend = [re.split("  +", line.strip()) for line in out.split("\n\n")[0].splitlines()]
    assert legend[0] == ["machine", "date (UTC)", "python", "numba", "file"]
    assert legend[2] == ["B", "machine 1", "2026-01-02 10:00", "3.11.7", "0.68.1", "1.json"]
    assert "~: no difference shown. -: not comparable." in out


def test_a_chart_is_drawn_of_what_was_compared(capsys, tmp_path, monkeypatch):
    """With every other way to tell it, and after every doubt."""
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr(command, "draw", lambda *arguments: drawn.append(arguments))
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 150_000.0)
    for more in ([], ["--json"], ["--markdown"], ["--base", "machine 1"]):
        assert compared(capsys, "--plot", str(tmp_path / "x.png"), *more, *files)[0] == 0
    assert [target for *_, target in drawn] == [tmp_path / "x.png"] * 4
    assert [lines[0][1].word for _, lines, _ in drawn] == [FASTER] * 3 + [SLOWER]
    assert compared(capsys, "--plot", str(tmp_path / "no" / "x.png"), *files)[0] == 2
    assert compared(capsys, "--plot", str(tmp_path / "x.png"), "--base", "nobody", *files)[0] == 2
    assert len(drawn) == 4


def test_the_picture_is_of_the_kind_that_its_name_says(tmp_path):
    pytest.importorskip("matplotlib")
    for name, begin in (("x.png", b"\x89PNG"), ("x.svg", b"<?xm")):
        chart.draw("title", [("row", Verdict(SAME, 1.0, 0.99, 1.01))], tmp_path / name)
        assert (tmp_path / name).read_bytes()[:4] == begin


def test_as_many_runs_as_there_are_letters(capsys, tmp_path):
    files = []
    for i in range(len(LETTERS) + 1):
        one = content(0) | {"datetime": f"2026-01-01T10:00:00.{i:06}"}
        one["benchmarks"] = one["benchmarks"][:1]
        files.append(tmp_path / f"{i:02}.json")
        files[-1].write_text(json.dumps(one))
    status, _, err = compared(capsys, *map(str, files))
    assert status == 2 and "at most 26 runs can be compared, got 27" in err
    status, out, _ = compared(capsys, *map(str, files[:-1]))
    assert status == 0 and "Z/A" in out


@pytest.mark.parametrize(
    ("limit", "status"), [("1", 1), ("0.51", 1), ("0.49", 0), ("0", 2), ("1.01", 2), ("x", 2)]
)
def test_what_a_limit_may_be(capsys, tmp_path, limit, status):
    """Half as fast, in two rows that both are named."""
    files = write(tmp_path / "a.json", spread=0.001), write(tmp_path / "b.json", 1, 50_000.0, 0.001)
    found, _, err = compared(capsys, "--fail-below", limit, *files)
    assert found == status
    if status == 1:
        assert err == f"below {limit}: step[64x3x32] (0.50), step[256x8x64] (0.50)\n"


def test_which_fact_keeps_a_machine_from_confirming():
    """All that makes it another kind; not its memory, or what its system is called."""
    first = parse(content(), Path("made-up.json"))
    rows = compare([first, parse(content(1), Path("made-up.json"))])
    same = {"python": "3.11.7", "numba": "0.68.1", "numpy": "2", "cpu": {"cores": 2, "affinity": [0, 1]}}
    kind = [
        {"python": "3.12"}, {"numba": "1"}, {"numpy": "1"}, {"llvmlite": "1"}, {"environment": {"OMP": "1"}},
        *({"cpu": same["cpu"] | {fact: "another"}} for fact in (
            "model", "llvm_name", "llvm_features", "cores", "affinity")),
    ]  # fmt: skip
    other = [{"memory_gb": 8.0}, {"system": "Plan9"}, {"cpu": same["cpu"] | {"governor": "powersave"}}]
    for changes, expected in ((kind, False), (other, True)):
        for change in changes:
            pair = [replace(first, machine=one) for one in (same, same | change)]
            assert confirmation(*pair, rows)[0] is expected, change
