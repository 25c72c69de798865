"""`python -m benchmarks.compare`: its tables, its charts, its exit status."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from commands import python
from made_up_results import VISITS, content, entry, speeds, write

from autollm import cli
from autollm.errors import InputError
from autollm.tables import number, table
from benchmarks.compare import __main__ as command
from benchmarks.compare import chart
from benchmarks.compare.ranking import confirmation, headline
from benchmarks.compare.runs import parse
from benchmarks.compare.verdict import FASTER, NOT_COMPARABLE, SAME, SLOWER, Row, Verdict, compare

ROOT = Path(__file__).parent.parent


def compared(capsys, *arguments):
    status = cli.run(lambda: command.main(list(arguments)))
    return status, *capsys.readouterr()


def test_the_table(capsys, tmp_path):
    status, out, err = compared(capsys, write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 150_000.0))
    assert (status, err) == (0, "")
    assert re.search(r"step\[64x3x32\] +steps/s .* 1\.5\d? .*faster", out)
    assert "CPU 0" in out and "CPU 1" in out, "what differs between the machines"
    assert "3.11.7" in out.split("what differs")[0]
    assert "3.11.7" not in out.split("what differs")[1], "and only that"


def test_markdown_and_json(capsys, tmp_path):
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 50_000.0)
    assert re.search(r"^\| step\[64x3x32\] +\|", compared(capsys, "--markdown", *files)[1], re.MULTILINE)
    content = json.loads(compared(capsys, "--json", *files)[1])
    assert [row["verdicts"][0]["word"] for row in content["rows"]] == [SLOWER, SLOWER]


def test_files_that_cannot_be_compared(capsys, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"benchmarks": [')
    status, out, err = compared(capsys, write(tmp_path / "good.json"), str(bad))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "not a whole JSON file" in err and str(bad) in err


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_chart(capsys, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    chart = tmp_path / f"chart.{suffix}"
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 150_000.0)
    assert compared(capsys, "--plot", str(chart), *files)[0] == 0
    assert chart.read_bytes()[:4] in (b"\x89PNG", b"<?xm")


def test_what_the_chart_shows(tmp_path, monkeypatch):
    """A dot at each ratio, a bar over its interval, in the colour of its word; and which way is faster."""
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr(chart, "_save", lambda figure, target: drawn.append(figure))
    lines = [
        ("fast $1$", Verdict(FASTER, 2.0, 1.9, 2.1)),
        ("slow", Verdict(SLOWER, 0.5, 0.4, 0.6)),
        ("like", Verdict(SAME, 1.01, 0.9, 1.1)),
        ("none", Verdict(NOT_COMPARABLE)),
    ]
    chart.draw("it costs $5$", lines, tmp_path / "chart.svg")
    (axis,) = drawn[0].axes
    bars, dots = axis.lines[0:6:2], axis.lines[1:6:2]
    for y, ((_, found), bar, dot) in enumerate(zip(lines, bars, dots, strict=False)):
        assert list(bar.get_xdata()) == [found.low, found.high]
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (found.ratio, y)
        assert dot.get_color() == chart.COLOURS.get(found.word, chart.NEITHER)
        low, high = axis.get_xlim()
        assert low < found.low and found.high < high
    assert len(set(chart.COLOURS.values()) | {chart.NEITHER}) == 3
    assert "slower  ←  1  →  faster" in axis.get_xlabel() and axis.get_xscale() == "log"
    assert axis.title.get_text() == "it costs $5$" and not axis.title.get_parse_math()
    assert [label.get_text() for label in axis.get_yticklabels()] == [name for name, _ in lines]
    low, high = axis.get_ylim()
    assert low > high, "the first line is the topmost"


def test_the_lines_of_a_chart(tmp_path):
    runs = [parse(content(seed, steps), tmp_path) for seed, steps in enumerate((1000.0, 500.0, 2000.0))]
    title, lines = chart.lines_of(runs[:2], compare(runs[:2]))
    assert title == "machine 1, 2026-01-02 10:00\nrelative to machine 0, 2026-01-01 10:00"
    assert [name for name, _ in lines] == ["step[64x3x32]", "step[256x8x64]"]
    assert [verdict.word for _, verdict in lines] == [SLOWER, SLOWER]
    rows = compare(runs)
    title, lines = chart.lines_of(runs, rows)
    assert title == "step[64x3x32]\nrelative to machine 0, 2026-01-01 10:00"
    assert [name.split(",")[0] for name, _ in lines] == ["machine 2", "machine 0", "machine 1"]
    assert [verdict.word for _, verdict in lines] == [FASTER, SAME, SLOWER]
    with pytest.raises(InputError, match="no training step in common"):
        chart.lines_of(runs, [])
    kernel = Row("kernel[a-f]", "GB/s", [1.0, 2.0], [Verdict(SAME)])
    assert chart.lines_of_rows([kernel]) == [], "left to the table"


def test_many_machines_are_one_table_the_fastest_first(capsys, tmp_path):
    files = []
    for seed, (step, rate) in enumerate(((1000.0, 2000.0), (500.0, 4000.0), (2000.0, 500.0))):
        rows = [
            entry("step[64x3x32]", speeds(step, seed)),
            entry("step[256x8x64]", speeds(step * (1 + 3 * (seed == 2)), seed)),
            entry("rate[64x3x32]", speeds(rate, seed)),
            entry("rate_mixed", speeds(rate * (1 + 3 * (seed == 2)), seed)),
        ]
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_text(json.dumps(content(seed) | {"benchmarks": rows}))
    status, out, _ = compared(capsys, *map(str, files))
    assert status == 0
    lines = [re.split("  +", line.strip()) for line in out.split("\n\n")[1].splitlines()]
    assert [line[:2] for line in lines[1:]] == [["C", "machine 2"], ["A", "machine 0"], ["B", "machine 1"]]
    assert lines[0][1:3] == ["step[64x3x32]", "to A"] and lines[1][5] == "faster" and lines[3][5] == "slower"
    near = [[round(float(line[i]), 1) for i in (-2, -1)] for line in lines[1:]]
    assert near == [[4.0, 0.5], [1.0, 1.0], [0.5, 2.0]], "geometric means: of 2 and 8, and of rates"
    details = out.split("\n\n")[2].splitlines()
    assert details[0].split() == ["benchmark", "unit", "A", "B/A", "C/A"]
    ratios = [float(cell) for cell in details[1].split()[-2:]]
    assert ratios == [pytest.approx(0.5, 0.1), pytest.approx(2, 0.1)]
    told = json.loads(compared(capsys, "--json", *map(str, files))[1])
    assert [one["run"] for one in told["ranking"]] == [2, 0, 1]
    out = compared(capsys, "--markdown", "--base", "machine 1", *map(str, files))[1]
    assert len(re.findall(r"^\| A +\| machine 1 +\| +\d+ \| 1.00 ", out, re.MULTILINE)) == 1
    assert compared(capsys, "--base", "nobody", *map(str, files))[0] == 2


def test_a_ratio_that_noise_may_have_made_is_marked(capsys, tmp_path):
    files = [write(tmp_path / f"{seed}.json", seed) for seed in range(3)]
    out = compared(capsys, *files)[1]
    assert re.search(r"step\[64x3x32\] +steps/s +\S+ +~1\.0\d +~1\.0\d", out.replace("~0.99", "~1.00"))
    assert "~: no difference shown" in out


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({}, 0, "B confirms A: in 2 of 2 rows no difference is shown"),
        ({"steps": 50_000.0}, 1, "B does not confirm A: in 0 of 2 rows no difference is shown, but in step["),
        (
            {"steps": 200_000.0},
            1,
            "B does not confirm A: in 0 of 2 rows no difference is shown, but in step[",
        ),
        ({"complete": False}, 1, "B cannot confirm A: B did not make every visit"),
        ({"smoke": True}, 1, "B cannot confirm A: nothing in them can be compared"),
    ],
)
def test_whether_a_run_confirms_an_earlier_one(capsys, tmp_path, changes, status, told):
    earlier, later = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, **changes)
    found, _, err = compared(capsys, later, "--replicates", earlier)
    assert found == status and told in err


@pytest.mark.parametrize(
    ("strays", "count", "status"), [(0, 20, True), (1, 20, True), (2, 20, False), (1, 19, False)]
)
def test_one_row_in_twenty_may_stray_of_those_that_can_be_compared(strays, count, status):
    runs = [parse(content(seed), Path("made-up.json")) for seed in range(2)]
    words = [FASTER] * strays + [SAME] * (count - strays) + [NOT_COMPARABLE] * 20
    rows = [Row(f"step[{i}]", "steps/s", [1.0, 1.0], [Verdict(word, 1.0)]) for i, word in enumerate(words)]
    assert confirmation(*runs, rows)[0] is status


def test_machines_are_sorted_by_a_step_that_all_have():
    some = Row("step[a]", "steps/s", [1.0, None], [Verdict(NOT_COMPARABLE)])
    all_ = Row("step[b]", "steps/s", [1.0, 2.0], [Verdict(FASTER, 2.0, 2.0, 2.0)])
    assert headline([some, all_]) is all_ and headline([some]) is None


def test_a_base_is_one_run(capsys, tmp_path):
    files = [write(tmp_path / f"{seed}.json", seed, label="mine") for seed in range(2)]
    status, _, err = compared(capsys, "--base", "mine", *files)
    assert status == 2 and "there are 2 runs of that label" in err


def test_only_a_machine_of_the_same_kind_confirms(capsys, tmp_path):
    earlier = write(tmp_path / "a.json")
    one = content(1)
    one["machine_info"]["cpu"]["model"] = "another"
    (tmp_path / "b.json").write_text(json.dumps(one))
    status, _, err = compared(capsys, str(tmp_path / "b.json"), "--replicates", earlier)
    assert status == 1 and "not of one kind: cpu.model is - in A and another in B" in err
    assert compared(capsys, earlier, earlier, "--replicates", earlier)[0] == 2


def test_failing_below_a_ratio(capsys, tmp_path):
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 50_000.0)
    status, _, err = compared(capsys, "--fail-below", "0.9", *files)
    assert status == 1
    assert "step[64x3x32] (0.5" in err
    assert compared(capsys, "--fail-below", "0.4", *files)[0] == 0
    third = write(tmp_path / "c.json", 2)  # as fast as the first; the slow one is then the last of three
    status, _, err = compared(capsys, "--fail-below", "0.9", files[0], third, files[1])
    assert status == 1 and "step[64x3x32] (0.5" in err


def test_noise_or_speed_does_not_fail(capsys, tmp_path):
    """A ratio of 0.85 that the noise explains, one of 2, and calibrators, which are about the machine."""
    first = write(tmp_path / "a.json")
    noisy = write(tmp_path / "b.json", 1, 85_000.0, 0.5)
    assert compared(capsys, "--fail-below", "0.99", first, noisy)[0] == 0
    assert compared(capsys, "--fail-below", "0.99", first, write(tmp_path / "c.json", 2, 2e5))[0] == 0
    calibrators = []
    for seed, steps in ((3, 100.0), (4, 50.0)):
        one = content(seed, steps)
        one["benchmarks"] = [one["benchmarks"][0] | {"name": "test_fma"}]
        calibrators.append(tmp_path / f"{seed}.json")
        calibrators[-1].write_text(json.dumps(one))
    status, out, _ = compared(capsys, "--fail-below", "0.99", *map(str, calibrators))
    assert (status, "slower" in out) == (0, True)


def test_noise_and_what_is_missing_is_told_of_either_run(capsys, tmp_path):
    noise = {"noisy": True, "why": ["a neighbour sang"]}
    for i, flags in enumerate(((noise, False), (None, True))):
        bad = {"noise": flags[0] or {"noisy": False, "why": []}, "complete": flags[1]}
        pair = write(tmp_path / f"a{i}.json", 0, **bad), write(tmp_path / f"b{i}.json", 1)
        for letter, files in zip("AB", (pair, pair[::-1]), strict=True):
            out = compared(capsys, *files)[1]
            assert (f"{letter} was noisy: a neighbour sang." in out) == (flags[0] is not None)
            assert (f"{letter} is incomplete" in out) == (not flags[1])
            assert out.count("noisy") == (flags[0] is not None) and out.count("incomplete") == (not flags[1])


def test_the_loss_after_one_second_stands_beside_the_least(capsys, tmp_path):
    files = []
    for seed, losses in enumerate(([2.5, 2.7], [2.25, 2.25])):
        one = content(seed)
        one["benchmarks"][0]["name"] = "test_one_second[64x3x32]"
        one["benchmarks"][0]["extra_info"]["loss"] = losses
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_text(json.dumps(one))
    out = compared(capsys, *map(str, files))[1]
    assert "Loss after one second, 64x3x32: A 2.6000, B 2.2500; the least possible is 2.0000." in out
    (tmp_path / "2.json").write_text(json.dumps(content(2)))
    out = compared(capsys, str(tmp_path / "2.json"), *map(str, files))[1]
    assert "64x3x32: B 2.6000, C 2.2500; the least" in out, "A has none"


def test_shares_of_the_peak_stand_side_by_side(capsys, tmp_path):
    files = []
    for seed, (of_peak, of_numpy) in enumerate(((0.5, 1.25), (0.25, 0.75))):
        relative = {"of_peak": [of_peak] * VISITS, "of_numpy": [of_numpy] * VISITS}
        rows = [
            entry("kernel[a-draw]", [9] * VISITS, "GB/s"),
            entry("kernel[a-sum]", [6] * VISITS, "GFLOP/s", of_peak=[0.1] * VISITS),
        ]
        rows += [entry("product[a-b]", [30] * VISITS, "GFLOP/s", **relative)]
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_text(json.dumps(content(seed) | {"benchmarks": rows}))
    alone = json.loads(files[1].read_text())
    alone["benchmarks"].pop()
    files.append(tmp_path / "2.json")
    files[-1].write_text(json.dumps(alone | {"datetime": "2026-01-09T10:00:00.000001"}))
    for order, cells in (
        ((0, 1, 2), ["50% (1.25)", "25% (0.75)", "-"]),
        ((2, 0, 1), ["-", "50% (1.25)", "25% (0.75)"]),
    ):
        told = compared(capsys, *(str(files[i]) for i in order))[1]
        lines = [re.split("  +", line) for line in told.splitlines()]
        (i,) = (i for i, line in enumerate(lines) if line[0].startswith("share of the fma peak"))
        assert lines[i][1:] == ["A", "B", "C"]
        assert lines[i + 1 : i + 4] == [
            ["kernel[a-sum]", "10%", "10%", "10%"],
            ["product[a-b]", *cells],
            [""],
        ]
    found = json.loads(compared(capsys, "--json", *map(str, files[:2]))[1])["rows"]
    assert [(row["of_peak"], row["of_numpy"]) for row in found if row["name"] == "product[a-b]"] == [
        ([0.5, 0.25], [1.25, 0.75])
    ]


def test_what_is_expected_of_a_step_is_told(capsys, tmp_path):
    files = []
    for seed, (step, ceiling, interpreter, fma) in enumerate(((100, 200, 10, 1000), (250, 700, 20, 4000))):
        beside = {"interpreter": [interpreter] * VISITS, "fma": [fma] * VISITS}
        rows = [entry("step[a]", [step] * VISITS, **beside), entry("ceiling[a]", [ceiling] * VISITS)]
        rows += [entry("interpreter", [interpreter] * VISITS), entry("fma", [fma] * VISITS)]
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_text(json.dumps(content(seed) | {"benchmarks": rows}))
    out = compared(capsys, *map(str, files))[1]
    assert "A before measuring: machine 0 is quiet." in out and "B before measuring: machine 1" in out
    assert "Calibrators, B/A: interpreter 2.00, fma 4.00." in out
    assert "step[a]: 50% of A's time is Python; from interpreter and fma beside it" in out
    assert "one expects B/A = 2.67 (2.67 .. 2.67), measured 2.50." in out


@pytest.mark.parametrize(
    ("arguments", "package"), [([], "scipy"), (["--plot", "x.png"], "matplotlib")], ids=["compare", "plot"]
)
def test_what_is_not_installed_is_named_before_any_work(capsys, monkeypatch, arguments, package):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == package else name)
    status, out, err = compared(capsys, *arguments, "no-such-file", "nor-this")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"needs {package}: pip install -e '.[benchmark]'" in err


def test_a_bar_or_a_line_break_in_a_label_leaves_the_table_whole(capsys, tmp_path):
    files = write(tmp_path / "a.json", label="a|b\nc"), write(tmp_path / "b.json", 1)
    out = compared(capsys, "--markdown", *files)[1]
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert r"a\|b c" in lines[2]
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in lines[:4]]
    assert bars == [7] * 4, "as many columns in each line"


def test_tables_and_numbers():
    assert table(["a", "b"], [["x|y", "1"]], markdown=True) == "| a    |  b |\n| ---- | -: |\n| x\\|y |  1 |"
    assert table(["a", "bcd"], [["xyz", "1"]], left=[0]) == "a    bcd\nxyz    1"
    assert [number(value) for value in (None, 1.2345, 99.99, 123456.7)] == ["-", "1.23", "100", "123,457"]
    assert [number(value) for value in (100, 999.6, 1000)] == ["100", "1,000", "1,000"]


def test_failing_below_a_ratio_needs_one(capsys, tmp_path):
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, smoke=True)
    status, out, err = compared(capsys, "--fail-below", "0.9", *files)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "can be compared" in err


def test_versions_of_the_program(capsys, tmp_path):
    another = {"configuration": "c", "data": "d", "source": "other", "digest": "y"}
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 150_000.0, fingerprint=another)
    status, out, err = compared(capsys, *files)
    assert (status, out) == (2, "") and "another source; --any-source" in err
    status, out, err = compared(capsys, "--any-source", *files)
    assert (status, err) == (0, "")
    assert "faster" in out and "different versions of this program" in out


def test_a_folder_of_results(capsys, tmp_path):
    for seed in range(3):
        write(tmp_path / f"{seed}.json", seed)
    (tmp_path / "damaged.json").write_text("{")
    status, out, err = compared(capsys, str(tmp_path))
    assert status == 0
    assert "C/A" in out
    assert "damaged.json: not a whole JSON file" in err


def test_another_golden_loss_or_a_smoke_run_gives_no_ratio(capsys, tmp_path):
    first = write(tmp_path / "a.json")
    for changes, reason in (
        ({"golden": {"64x3x32": 3.1, "256x8x64": 3.1}}, "golden"),
        ({"smoke": True}, "a smoke run"),
    ):
        out = compared(capsys, first, write(tmp_path / "b.json", 1, **changes))[1]
        assert out.count(NOT_COMPARABLE) == 2
        assert reason in out


def test_the_same_run_twice_and_another_workload(capsys, tmp_path):
    first = write(tmp_path / "a.json")
    other = {"configuration": "c", "data": "other", "source": "other", "digest": "y"}
    for second, message in (
        (first, "the same run as"),
        (write(tmp_path / "b.json", 1, fingerprint=other), "it measured another data and another source"),
        (str(tmp_path / "missing.json"), "cannot be read"),
    ):
        status, out, err = compared(capsys, first, second)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err


@pytest.mark.parametrize("arguments", [[], ["--plot", "x.pdf", "a"], ["--fail-below", "2", "a"], ["--wings"]])
def test_options_that_make_no_sense(capsys, arguments):
    status, out, err = compared(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_reader_that_leaves_early(tmp_path):
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, smoke=True)  # which nobody judges
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as output:
        done = python("-m", "benchmarks.compare", *files, stdout=output, cwd=ROOT)
    assert (done.returncode, done.stderr) == (141, "")
