"""Comparing benchmark runs: verdicts, files that cannot be used, and the options of pytest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from benchmarks import compare, noise
from benchmarks.comparison import FASTER, NOT_COMPARABLE, SAME, SLOWER, differences, verdict
from benchmarks.machine import label
from benchmarks.runs import InputError, Series, load, load_all

ROOT = Path(__file__).parent.parent
VISITS, ROUNDS = 10, 2


def speeds(median, seed, spread=0.01):
    """Rounds of a benchmark: units of work per second."""
    return median * (1 + spread * np.random.default_rng(seed).standard_normal((VISITS, ROUNDS)))


def series(median, seed, **options):
    return Series("steps/s", speeds(median, seed, **options), {})


def write(path, seed=0, steps=100_000.0, **changes):
    """A file of results such as `pytest --benchmark` leaves, of invented rounds."""
    work = speeds(steps, seed).ravel()
    fact = {"unit": "steps/s", "work": work.tolist(), "visits": VISITS}
    content = {
        "datetime": f"2026-01-0{seed + 1}T10:00:00.000001",
        "machine_info": {"python": "3.11.7", "numba": "0.68.1", "cpu": {"brand": f"CPU {seed}", "cores": 2}},
        "benchmarks": [
            {"name": f"test_step[{size}]", "extra_info": fact, "stats": {"data": [1.0] * (VISITS * ROUNDS)}}
            for size in ("64x3x32", "256x8x64")
        ],
        "autollm": {
            "schema": 1,
            "label": f"machine {seed}",
            "fingerprint": {"configuration": "c", "data": "d", "source": "s", "digest": "x"},
            "golden": {"64x3x32": 3.0, "256x8x64": 3.0},
            "optimum": {"64x3x32": 2.0},
            "noise": {"noisy": False, "why": []},
            "smoke": False,
        },
    }
    for key, value in changes.items():
        content["autollm"][key] = value
    path.write_text(json.dumps(content))
    return str(path)


def compared(capsys, *arguments):
    status = compare.main(list(arguments))
    return status, *capsys.readouterr()


@pytest.mark.parametrize(
    ("other", "word"), [(1.0, SAME), (1.01, SAME), (1.2, FASTER), (2.0, FASTER), (0.8, SLOWER), (0.1, SLOWER)]
)
def test_the_word_for_a_ratio(other, word):
    found = verdict(series(1000.0, 1), series(1000.0 * other, 2))
    assert found.word == word
    assert found.ratio == pytest.approx(other, rel=0.02)
    assert found.low <= found.ratio <= found.high


def test_noise_widens_the_interval_until_nothing_is_shown():
    found = verdict(series(1000.0, 1, spread=0.5), series(1100.0, 2, spread=0.5))
    assert found.word == SAME
    assert found.high - found.low > 0.1


def test_runs_of_the_same_speed_are_seldom_told_apart():
    """Two hundred pairs without a difference: at most one in twenty may be called one."""
    words = [verdict(series(1000.0, 2 * i), series(1000.0, 2 * i + 1)).word for i in range(200)]
    assert words.count(SAME) >= 190


def test_a_drifting_machine_shows_no_difference():
    drifting = speeds(1000.0, 1) * np.linspace(0.9, 1.1, VISITS)[:, None]
    assert verdict(Series("steps/s", drifting, {}), series(1080.0, 2)).word == SAME


def test_a_machine_disturbed_for_a_part_of_a_run_shows_no_difference():
    """Half the speed for two thirds of the run: the median is halved, and that says nothing."""
    disturbed = speeds(1000.0, 1) * np.repeat([1.0, 0.5], [3, VISITS - 3])[:, None]
    assert verdict(series(1000.0, 2), Series("steps/s", disturbed, {})).word == SAME


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


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_chart(capsys, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    chart = tmp_path / f"chart.{suffix}"
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 150_000.0)
    assert compared(capsys, "--plot", str(chart), *files)[0] == 0
    assert chart.read_bytes()[:4] in (b"\x89PNG", b"<?xm")


def test_failing_below_a_ratio(capsys, tmp_path):
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1, 50_000.0)
    status, _, err = compared(capsys, "--fail-below", "0.9", *files)
    assert status == 1
    assert "step[64x3x32] (0.5" in err
    assert compared(capsys, "--fail-below", "0.4", *files)[0] == 0


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a whole JSON file"),
        ('{"benchmarks": [', "not a whole JSON file"),
        ("[1, 2]", "not a file of benchmark results"),
        ('{"benchmarks": [], "machine_info": {}}', "of another project"),
        ('{"benchmarks": [], "autollm": {"schema": 99}}', "newer version"),
        ('{"benchmarks": [], "autollm": {"schema": 1}}', "damaged results"),
    ],
)
def test_files_that_cannot_be_compared(capsys, tmp_path, content, message):
    bad = tmp_path / "bad.json"
    bad.write_text(content)
    status, out, err = compared(capsys, write(tmp_path / "good.json"), str(bad))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err and str(bad) in err


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


def test_one_run_is_not_enough(tmp_path):
    with pytest.raises(InputError, match="two runs are needed to compare, found 1"):
        load_all([Path(write(tmp_path / "a.json"))])


def test_what_differs_is_told_and_nothing_else(tmp_path):
    runs = [load(Path(write(tmp_path / f"{seed}.json", seed))) for seed in range(2)]
    assert differences(runs) == {"cpu.brand": ["CPU 0", "CPU 1"]}


def test_a_busy_machine_is_called_noisy():
    quiet = {"others_busy_cores": 0.0, "steal": 0.0}
    entry = {"name": "test_step[x]", "extra_info": {"spread": 0.01, "drift": 0.01}}
    assert not noise.of_run([entry], quiet)["noisy"]
    assert noise.of_run([entry], quiet | {"others_busy_cores": 1.0})["why"] == [
        "other programs kept 1.0 cores busy"
    ]
    entry["extra_info"]["spread"] = 0.2
    assert noise.of_run([entry], quiet)["noisy"]


def test_the_label_is_not_the_host_name():
    import platform

    assert label()
    assert platform.node() not in label() or not platform.node()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_reader_that_leaves_early(tmp_path):
    files = write(tmp_path / "a.json"), write(tmp_path / "b.json", 1)
    script = f"{sys.executable} -m benchmarks.compare {' '.join(files)} | true"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""


def pytest_in_the_repository(*arguments):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_pytest_runs_tests_and_pytest_benchmark_runs_benchmarks(tmp_path):
    most = "test_[!bn]*"  # which take long to import
    tests = pytest_in_the_repository(f"--ignore-glob=*/tests/{most}").stdout
    assert "tests/test_node.py" in tests and "benchmarks/" not in tests.replace("tests/test_benchmarks", "")
    suite = pytest_in_the_repository("--benchmark", f"--benchmark-json={tmp_path / 'x.json'}").stdout
    assert "benchmarks/test_step.py" in suite and "tests/" not in suite


def test_a_suite_of_which_nothing_is_chosen_ends_quietly(tmp_path):
    chosen = "--benchmark", "-k", "no_such_benchmark", f"--benchmark-json={tmp_path / 'x.json'}"
    done = pytest_in_the_repository(*chosen)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "Traceback" not in done.stdout + done.stderr


def test_options_of_the_suite_go_with_benchmark():
    done = pytest_in_the_repository("--smoke")
    assert done.returncode != 0
    assert "--smoke goes with --benchmark" in done.stderr + done.stdout
