"""`python -m benchmarks.compare`: its tables, its charts, its exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from made_up_results import VISITS, content, entry, write

from autollm import cli
from autollm.tables import number, table
from benchmarks.compare import __main__ as command
from benchmarks.compare import chart
from benchmarks.compare.runs import parse
from benchmarks.compare.verdict import NOT_COMPARABLE, SLOWER, compare

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
    runs = [parse(content(seed, steps), tmp_path) for seed, steps in enumerate((1000.0, 2000.0, 500.0))]
    titles = ["one costs $5$", "two cost $10$"]
    rows = compare(runs)
    chart.draw(titles, rows, tmp_path / "chart.svg")
    for i, axis in enumerate(drawn[0].axes):
        bars, dots = axis.lines[0:4:2], axis.lines[1:4:2]
        for y, (row, bar, dot) in enumerate(zip(rows, bars, dots, strict=True)):
            found = row.verdicts[i]
            assert list(bar.get_xdata()) == [found.low, found.high]
            assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (found.ratio, y)
            assert dot.get_color() == chart.COLOURS[found.word]
            low, high = axis.get_xlim()
            assert low < found.low and found.high < high
        assert "slower  ←  1  →  faster" in axis.get_xlabel() and axis.get_xscale() == "log"
        assert axis.title.get_text() == titles[i] and not axis.title.get_parse_math()
    names = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert names == [row.name for row in rows]
    low, high = drawn[0].axes[0].get_ylim()
    assert low > high, "the first row is the topmost"


def test_whose_panel_is_whose(capsys, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(chart, "draw", lambda *arguments: drawn.append(arguments))
    files = [write(tmp_path / f"{seed}.json", seed) for seed in range(3)]
    assert compared(capsys, "--plot", str(tmp_path / "x.svg"), *files)[0] == 0
    ((titles, rows, target),) = drawn
    first = "relative to machine 0, 2026-01-01 10:00"
    assert titles == [f"machine {i}, 2026-01-0{i + 1} 10:00\n{first}" for i in (1, 2)]
    assert len(rows) == 2 and target == tmp_path / "x.svg"


def test_failing_below_a_ratio(capsys, tmp_path):
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 50_000.0)
    status, _, err = compared(capsys, "--fail-below", "0.9", *files)
    assert status == 1
    assert "step[64x3x32] (0.5" in err
    assert compared(capsys, "--fail-below", "0.4", *files)[0] == 0


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
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1)
    script = f"{sys.executable} -m benchmarks.compare {' '.join(files)} | true"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
