"""The tables at the end of a run: known numbers, known lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from made_up_results import content, entry

from benchmarks import summary
from benchmarks.compare.runs import parse

SIZE = "64x3x32"


def summary_of(*entries, **changes):
    return summary.render(parse(content(**changes) | {"benchmarks": list(entries)}, Path("made-up.json")))


def test_the_summary_of_known_numbers():
    """A step of 10 us of which kernels take 4; a kernel called twice in it, 1.5 us each time."""
    matmul = {"work_per_call": 9e-6, "calls_per_step": 2.0, "of_peak": [0.25] * 8}
    text = summary_of(
        entry(f"step[{SIZE}]", [100_000.0] * 8),
        entry(f"ceiling[{SIZE}]", [250_000.0] * 8),
        entry(f"one_second[{SIZE}]", [84_000, 84_000], visits=2, loss=[2.5, 2.7]),
        entry(f"kernel[{SIZE}-matmul]", [6.0] * 8, "GFLOP/s", **matmul),
        entry(f"product[{SIZE}-g@W]", [30.0] * 8, "GFLOP/s", of_peak=[0.5] * 8, of_numpy=[1.25] * 8),
        entry("batch[64]", [2e7] * 8, "examples/s"),
        entry("words[10]", [123_456.0] * 8, words=10),
        entry("import[pass]", [1 / 0.02] * 8, "ms"),
        entry("first_step_cold", [1 / 4.0] * 8, "ms", kernel_seconds=[3.0]),
        entry("default_run", [0.5] * 8, "ms", peak_memory_mb=[166.0], idle_memory_mb=[96.0]),
        entry("sampling", [1234.0] * 8, "names/s"),
        entry("interpreter", [1e9 / 250] * 8, "ns"),
    )
    lines = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert [
        SIZE,
        "100,000",
        "84,000",
        "2.6000",
        "2.0000",
        "20.0 x",
        "10.0",
        "4.0 (40%)",
        "6.0 (60%)",
    ] in lines
    assert ["matmul", "3.00", "6 GFLOP/s", "25%", "30%"] in lines
    assert ["g@W", "30 GFLOP/s", "50% (1.25)"] in lines
    assert ["ns an example", "50"] in lines
    assert ["steps/s", "123,456"] in lines
    for told in (
        "processes: pass 20 ms",
        "first step, kernels compiled: 4.00 s (3.00 s of it)",
        "peak memory of the default run: 166 MB; with numba imported and idle: 96 MB",
        "sampling: 1,234 names/s",
        "calibrators: interpreter 250 ns",
        "This run was quiet.",
    ):
        assert told in text


def test_the_summary_of_two_sizes():
    """The first is as large as the original's; of the other, the kernels alone took longer, by chance."""
    other = "256x8x64"
    kernels = {"work_per_call": 2e-6, "of_peak": [0.5] * 8}
    text = summary_of(
        entry(f"step[{SIZE}]", [100_000.0] * 8),
        entry(f"step[{other}]", [10_000.0] * 8),
        entry(f"ceiling[{other}]", [9_000.0] * 8),
        entry(f"one_second[{other}]", [42_000], visits=1, loss=[2.5]),
        *(entry(f"kernel[{SIZE}-{name}]", [4.0] * 8, "GB/s", calls_per_step=2.0, **kernels) for name in "ab"),
        entry(f"kernel[{other}-a]", [8.0] * 8, "GB/s", calls_per_step=40.0, **kernels),
        entry(f"kernel[{other}-b]", [8.0] * 8, "GB/s", calls_per_step=80.0, **kernels | {"of_peak": []}),
        entry(f"product[{SIZE}-g@W]", [30.0] * 8, "GFLOP/s", of_peak=[0.5] * 8, of_numpy=[1.25] * 8),
        entry(f"product[{other}-h@W.T]", [60.0] * 8, "GFLOP/s", of_peak=[0.75] * 8, of_numpy=[0.5] * 8),
        entry("batch[64]", [2e7] * 8, "examples/s"),
        entry("batch[128]", [5e7] * 8, "examples/s"),
        entry("words[10]", [200.0] * 8, words=10),
        entry("words[30000]", [100.0] * 8, words=29_000),
        entry("counting[30000]", [5e6] * 8, "words/s"),
        entry("import[pass]", [1 / 0.02] * 8, "ms"),
        entry("import[import numba]", [1 / 0.4] * 8, "ms"),
        entry("first_step_warm", [1 / 0.8] * 8, "ms", kernel_seconds=[0.1, 0.3]),
        entry("prompt_to_prompt", [1 / 1.25] * 8, "ms"),
        entry("fma", [80.0] * 8, "GFLOP/s"),
        entry("dispatch", [1e9 / 200] * 8, "ns"),
    )
    lines = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert [SIZE, "100,000", "-", "-", "-", "-", "10.0", "-", "-"] in lines
    with pytest.raises(KeyError):  # its least loss is not known to the made-up file
        summary_of(entry("one_second[unknown]", [1], visits=1, loss=[2.5]))
    assert [other, "10,000", "42,000", "2.5000", "1.5000", "-", "100.0", "111.1 (111%)", "-"] in lines
    (header,) = (line for line in lines if line[0].startswith("kernel: "))
    assert header[1:] == [SIZE, other]
    assert ["a", "1.00", "4 GB/s", "50%", "10%", "10.00", "8 GB/s", "50%", "10%"] in lines
    assert ["b", "1.00", "4 GB/s", "50%", "10%", "20.00", "8 GB/s", "-", "20%"] in lines
    assert ["g@W", "30 GFLOP/s", "50% (1.25)", "-"] in lines
    assert ["h@W.T", "-", "60 GFLOP/s", "75% (0.50)"] in lines
    assert ["batch", "64", "128"] in lines and ["ns an example", "50", "20"] in lines
    assert ["words", "10", "29,000"] in lines and ["steps/s", "200", "100"] in lines
    for told in (
        "counting 30000 words: 5,000,000 words/s",
        "processes: pass 20 ms, import numba 400 ms",
        "first step, kernels loaded: 0.80 s (0.20 s of it)",
        "prompt to prompt, training left out: 1.25 s",
        "calibrators: dispatch 200 ns, fma 80 GFLOP/s",
    ):
        assert told in text


def test_the_summary_says_what_its_figures_are_worth():
    step = entry(f"step[{SIZE}]", [1.0] * 8)
    noise = {"noisy": True, "why": ["a neighbour sang"]}
    assert "figures mean nothing" in summary_of(step, smoke=True, complete=False)
    assert summary_of(step, complete=False).endswith("This run is incomplete: not every visit was made.")
    before = "Before measuring: machine 0 is quiet.\n"
    assert summary_of(step, noise=noise).endswith(before + "This run was NOISY: a neighbour sang.")
    assert summary_of(step).endswith(before + "This run was quiet.")
