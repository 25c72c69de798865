"""What is timed, what is counted in it, and what is said about it: known numbers, known answers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from made_up_results import content, entry

from autollm.learning.words import read_words
from benchmarks import (
    calibrators,
    fingerprint,
    reference,
    summary,
    test_budget,
    test_calibrators,
    test_kernels,
    test_scale,
    test_step,
    tracing,
)
from benchmarks import workloads as work
from benchmarks.compare.runs import parse

ROOT = Path(__file__).parent.parent
HOST = "host-with-a-name-of-its-own"
SIZE = "64x3x32"


class Measured:
    """In place of the fixtures `measure` and `measure_once`: what a benchmark says about itself."""

    def __call__(self, run, fresh, unit="", *, per_call=1.0, **facts):
        if callable(fresh):
            self.run, self.fresh = run, fresh
            self.unit, self.per_call, self.facts = unit, per_call, facts
        else:
            tell = unit or (lambda result: {})
            self.unit, self.facts = fresh, tell(run())


@pytest.fixture
def measured():
    return Measured()


def test_golden_steps_that_end_elsewhere_stop_a_benchmark(monkeypatch):
    assert work.checked(SIZE) is work.WORKLOADS[SIZE]
    for factor in (0.99, 1.01):
        loss = work.WORKLOADS[SIZE].golden * factor
        monkeypatch.setattr(work, "golden_loss", lambda name, loss=loss: loss)
        with pytest.raises(AssertionError, match=f"{SIZE}: the loss after 20 steps is {loss:.6f}"):
            work.checked(SIZE)


@pytest.mark.parametrize("size", work.SIZES)
def test_the_least_loss_of_a_workload_is_the_convex_minimum(size):
    workload = work.WORKLOADS[size]
    assert workload.least == pytest.approx(reference.least_loss(work.examples_of(workload)), abs=5e-5)


def test_the_saved_state_is_the_same_everywhere():
    """Its first numbers, and a standard deviation of 0.1."""
    model = work.fresh_model(work.WORKLOADS["1024x16x128"])
    first = (np.random.PCG64(1).random_raw(3) / 2**64 - 0.5) * 0.1 * 12**0.5
    np.testing.assert_allclose(model.E.v.ravel()[:3], first, rtol=1e-6)
    assert np.std(model.E.v) == pytest.approx(0.1, rel=0.02)
    assert not np.array_equal(model.E.v, model.W.v)


def test_which_kernels_a_step_calls_and_how_often():
    calls = tracing.kernels_of(SIZE)
    block = work.block_of(work.WORKLOADS[SIZE])
    assert block > 1
    for name, call in calls.items():
        assert call.per_step == pytest.approx(1 / block if name == "draw" else 1.0), name
    assert {"matmul_wh_forward", "matmul_wh_backward", "sgd_update"} <= set(calls)


def test_the_work_of_a_kernel_is_counted_by_hand():
    """B, K, D, V = 64, 3, 32, 27: a product is a multiplication and an addition for each of B D V."""
    workload, calls = work.WORKLOADS[SIZE], tracing.kernels_of(SIZE)
    expected = {
        "embedding_bag_forward": 64 * 3 * 32,
        "embedding_bag_backward": 64 * 3 * 32,
        "matmul_wh_forward": 2 * 64 * 27 * 32,
        "matmul_wh_backward": 2 * 2 * 64 * 27 * 32,
        "xent_from_logits_forward": 24 * 64 * 27,
        "sgd_update": 2 * 2 * 27 * 32,  # a multiplication and a subtraction for each of two tables
    }
    for name, operations in expected.items():
        amount, unit = calls[name].work(name, workload)
        assert (amount, unit) == (pytest.approx(operations / 1e9), "GFLOP/s")
    assert set(calls) == {*expected, "draw"} == set(tracing.KERNELS)
    amount, unit = calls["draw"].work("draw", workload)
    assert (amount, unit) == (sum(getattr(a, "nbytes", 0) for a in calls["draw"].before) / 1e9, "GB/s")


def test_a_watched_call_keeps_its_arguments_as_they_were_before_and_after():
    call = tracing.kernels_of(SIZE)["sgd_update"]
    values, grads, rate = call.before
    np.testing.assert_allclose(call.after[0], values - rate * grads, rtol=1e-6)
    assert grads.any() and not call.after[1].any()
    fresh = call.fresh_arguments()
    fresh[0][:] = 7
    assert not (call.fresh_arguments()[0] == 7).any()


def test_what_the_calibrators_count(measured, monkeypatch):
    test_calibrators.test_dispatch(measured)
    assert (measured.unit, measured.per_call) == ("ns", 1.0)
    test_calibrators.test_interpreter(measured)
    assert (measured.unit, measured.per_call) == ("ns", 1.0)
    test_calibrators.test_fma(measured)
    assert (measured.unit, measured.per_call) == ("GFLOP/s", pytest.approx(8 * 2 * 1024 / 1e9))
    arrays = [np.full(1000, value, np.float32) for value in (0, 1, 2)]
    monkeypatch.setattr(test_calibrators, "large_arrays", lambda: arrays)
    test_calibrators.test_memory(measured)
    assert (measured.unit, measured.per_call) == ("GB/s", pytest.approx(3 * 4 * 1000 / 1e9))


@pytest.mark.parametrize(("cache", "size"), [(2**20, 128 * 2**20), (50 * 2**20, 200 * 2**20), (2**30, 2**30)])
def test_memory_is_measured_on_more_than_the_last_cache(monkeypatch, cache, size):
    monkeypatch.setattr(test_calibrators, "last_level_cache_bytes", lambda: cache)
    monkeypatch.setattr(test_calibrators.np, "full", lambda count, value, dtype: count * 4)
    assert sum(test_calibrators.large_arrays.__wrapped__()) == pytest.approx(size, rel=1e-6)


def test_a_larger_batch_is_more_examples_and_a_longer_list_more_words(measured):
    test_scale.test_batch(measured, 128)
    assert (measured.unit, measured.per_call, measured.fresh()[1].batch) == ("examples/s", 128, 128)
    test_scale.test_words(measured, 1_000)
    assert (measured.unit, measured.facts) == ("steps/s", {"words": 1_000})
    test_scale.test_counting(measured, 1_000)
    assert (measured.unit, measured.per_call) == ("words/s", 1_000)
    assert len(read_words("names-32k").distinct) >= 30_000


def test_the_counts_of_a_step_know_the_words():
    name = "mlp-256x8x32-on-counts"
    model = work.fresh_model(work.WORKLOADS[name])
    assert model.counts.tables["times"].sum() > len(work.WORDS)
    assert work.golden_loss(name) < work.golden_loss("mlp-256x8x32") - 0.5


@pytest.mark.parametrize("size", [SIZE, "mlp-256x8x32"])
def test_calibrators_run_beside_the_steps_that_have_a_ceiling(measured, size):
    test_step.test_step(measured, size)
    assert measured.unit == "steps/s"
    assert measured.facts["beside"] == (calibrators.OF_STEPS if size in work.SIZES else None)


def test_the_peak_runs_beside_the_kernels_that_compute(measured):
    for kernel in ("draw", "sgd_update"):
        test_kernels.test_kernel(measured, SIZE, kernel)
        assert measured.facts["relative_to"] == (None if kernel == "draw" else calibrators.OF_KERNELS)
    assert calibrators.OF_KERNELS["of_peak"][1] == pytest.approx(8 * 2 * 1024 / 1e9)


@pytest.mark.parametrize("factors", ["h@W.T", "g.T@h", "g@W"])
def test_a_product_and_numpys_beside_it_count_alike(measured, monkeypatch, factors):
    """B, D, V = 64, 32, 27: a multiplication and an addition for each of B D V."""
    products = []
    monkeypatch.setattr(test_kernels.np, "dot", lambda a, b, out=None: products.append(a @ b) or products[-1])
    test_kernels.test_product(measured, SIZE, factors)
    expected = pytest.approx(2 * 64 * 27 * 32 / 1e9)
    by_numpy, counted = measured.facts["relative_to"]["of_numpy"]
    assert (measured.unit, measured.per_call, counted) == ("GFLOP/s", expected, expected)
    measured.run(2)
    assert len(products) == 1, "the one to compare with"
    by_numpy(3)
    assert len(products) == 4 and all(np.array_equal(one, products[0]) for one in products)


def test_one_second_keeps_its_steps_and_loss(measured, monkeypatch):
    monkeypatch.setattr(test_budget, "BUDGET", 0.02)
    test_budget.test_one_second(measured, SIZE)
    (steps,), (loss,) = measured.facts["work"], measured.facts["loss"]
    assert measured.unit == "steps/s" and steps >= 1
    assert work.WORKLOADS[SIZE].least < loss < 3.3 and test_budget.BUDGET == 0.02


# --- the fingerprint --------------------------------------------------------------------------------


def digests(monkeypatch, **changes):
    for name, value in changes.items():
        monkeypatch.setattr(fingerprint, name, value)
    return fingerprint.fingerprint.__wrapped__()


def test_each_part_of_the_fingerprint_is_of_its_own_thing(monkeypatch, tmp_path):
    before = digests(monkeypatch)
    changes = {
        "configuration": {"GOLDEN_STEPS": 21},
        "data": {"WORDS": [*work.WORDS, "zoe"]},
        "source": {"measured_sources": lambda: {Path(__file__)}},
    }
    for part, change in changes.items():
        with monkeypatch.context() as patch:
            after = digests(patch, **change)
        assert {key for key in before if before[key] != after[key]} == {part, "digest"}
    for change in ({"RATED": work.RATED[:1]}, {"MIXED": work.MIXED | {"64x3x32": 1}}):
        with monkeypatch.context() as patch:
            assert digests(patch, **change)["configuration"] != before["configuration"]
    for name in work.WORKLOADS:
        with monkeypatch.context() as patch:
            less = {key: one for key, one in work.WORKLOADS.items() if key != name}
            assert digests(patch, WORKLOADS=less)["configuration"] != before["configuration"]


@pytest.mark.parametrize("name", work.WORKLOADS)
def test_every_setting_of_a_workload_is_in_the_fingerprint(monkeypatch, name):
    one = work.WORKLOADS[name]
    before = digests(monkeypatch)["configuration"]
    longer = replace(one.config, sizes=one.config.sizes | {"context": one.config.context + 1})
    for change in ({"batch": one.batch + 1}, {"rate": 2 * one.rate}, {"optimiser": "x"}, {"config": longer}):
        with monkeypatch.context() as patch:
            changed = work.WORKLOADS | {name: replace(one, **change)}
            assert digests(patch, WORKLOADS=changed)["configuration"] != before, change


def test_the_sources_are_all_that_is_timed_or_times_it(monkeypatch, tmp_path):
    found = {path.relative_to(ROOT).as_posix() for path in fingerprint.measured_sources()}
    for folder in ("autollm", "kernels"):
        assert {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")} <= found
    neither = {"__init__", "duet", "fingerprint", "machine", "noise", "probe", "reference", "summary"}
    suite = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - neither
    assert {name for name in found if not name.startswith(("autollm/", "kernels/"))} == {
        f"benchmarks/{name}.py" for name in suite
    }
    files = [tmp_path / name for name in ("unix", "windows", "other")]
    for file, text in zip(files, (b"a\nb\n", b"a\r\nb\r\n", b"a\nc\n"), strict=True):
        file.write_bytes(text)
    unix, windows, other = (digests(monkeypatch, measured_sources=lambda f=f: {f})["source"] for f in files)
    assert unix == windows != other


# --- the summary ------------------------------------------------------------------------------------


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


def test_the_summary_says_what_its_figures_are_worth():
    step = entry(f"step[{SIZE}]", [1.0] * 8)
    noise = {"noisy": True, "why": ["a neighbour sang"]}
    assert "figures mean nothing" in summary_of(step, smoke=True)
    assert "incomplete" in summary_of(step, complete=False)
    assert "NOISY: a neighbour sang." in summary_of(step, noise=noise)
