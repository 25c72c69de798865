"""What is timed, what is counted in it, and what is said about it: known numbers, known answers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from autollm.learning.words import read_words
from benchmarks import (
    calibrators,
    ceiling,
    fingerprint,
    reference,
    test_budget,
    test_calibrators,
    test_kernels,
    test_scale,
    test_step,
    tracing,
)
from benchmarks import workloads as work

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


@pytest.mark.parametrize("name", work.WORKLOADS)
def test_every_workload_is_what_its_name_says_and_learns_as_it_should(name):
    """In the name: a model, if it is not the bag, and batch x context x embedding."""
    workload = work.checked(name)
    model, batch, context, dim = re.fullmatch(r"(?:(\w+)-)?(\d+)x(\d+)x(\d+)\S*", name).groups()
    sizes = workload.config.sizes
    assert (workload.batch, sizes["context"], sizes["dim"]) == (int(batch), int(context), int(dim))
    assert workload.config.model == (model or "bag")
    assert workload.optimiser == ("adam" if model else "sgd")
    assert (workload.least is not None) == (name in work.SIZES)
    assert type(work.fresh_model(workload)).__name__.startswith("Reordered") == name.endswith("reordered")
    plan = workload.plan(work.Budget(steps=7))
    assert (plan.batch, plan.lr, plan.optimiser) == (workload.batch, workload.rate, workload.optimiser)


def test_the_golden_loss_is_that_after_the_golden_steps():
    workload = work.WORKLOADS[SIZE]
    model = work.fresh_model(workload)
    assert work.mean_loss(model, work.examples_of(workload)) > workload.golden + 0.1
    work.run_steps(work.GOLDEN_STEPS, model, workload)
    assert work.mean_loss(model, work.examples_of(workload)) == work.golden_loss(SIZE)
    run = work.run_seconds(0.01, model, workload)
    assert run.steps > 0 and run.seconds >= 0.01


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
        calls = 1 / work.block_of(work.WORKLOADS[SIZE]) if kernel == "draw" else 1.0
        assert measured.facts["calls_per_step"] == pytest.approx(calls)
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


class Counting:
    """In place of a module's function: notes how often it is called."""

    def __init__(self, monkeypatch, owner, name):
        self.calls, called = 0, getattr(owner, name)

        def noted(*arguments, **named):
            self.calls, self.last = self.calls + 1, arguments
            return called(*arguments, **named)

        monkeypatch.setattr(owner, name, noted)


@pytest.mark.parametrize(
    ("row", "arguments", "owner", "name", "unit", "counted"),
    [
        (test_step.test_forward, [SIZE], test_step, "xent_from_logits", "batches/s", 1),
        (test_step.test_forward_backward, [SIZE], test_step, "xent_from_logits", "batches/s", 1),
        (test_step.test_update, [SIZE], test_step.SGD, "step", "updates/s", 1),
        (test_step.test_draw, [SIZE], test_step, "next", "batches/s", work.block_of(work.WORKLOADS[SIZE])),
        (test_budget.test_sampling, [], test_budget, "dream", "names/s", 1000),
        (test_calibrators.test_dispatch, [], test_calibrators, "empty", "ns", 1),
        (test_scale.test_counting, [1000], test_scale.Counts, "learn", "words/s", 1000),
    ],
)
def test_a_row_does_as_often_as_it_counts(measured, monkeypatch, row, arguments, owner, name, unit, counted):
    if name == "next":
        monkeypatch.setattr(owner, "next", next, raising=False)
    row(measured, *arguments)
    assert (measured.unit, measured.per_call) == (unit, counted)
    watched = Counting(monkeypatch, owner, name)
    measured.run(3, *measured.fresh())
    assert watched.calls == 3
    if name == "dream":
        assert watched.last[3] == counted, "words at a time"


@pytest.mark.parametrize("row", [test_step.test_step, test_scale.test_batch, test_scale.test_words])
def test_a_row_trains_a_fresh_model_by_as_many_steps_as_it_counts(measured, row):
    """By which its tables have moved as far as `train` moves them."""
    row(measured, SIZE if row is test_step.test_step else 64)
    (model, *_), (other, *_) = state, again = measured.fresh(), measured.fresh()
    before = model.E.v.copy()
    assert model is not other and np.array_equal(before, other.E.v)
    measured.run(5, *state)
    measured.run(5, *again)
    assert np.array_equal(model.E.v, other.E.v) and not np.array_equal(model.E.v, before)
    if row is not test_scale.test_words:  # which has words of its own
        workload = work.WORKLOADS[SIZE]
        trained = work.fresh_model(workload)
        work.run_steps(5, trained, workload)
        assert np.array_equal(model.E.v, trained.E.v) and np.array_equal(model.W.v, trained.W.v)


class Interpreted:
    """The ceiling's loop as Python runs it, which saves compiling it; its kernels are the compiled ones."""

    py_func = staticmethod(ceiling.train_compiled.py_func)

    def __call__(self, *arguments):
        return self.py_func(*arguments)


@pytest.mark.parametrize("size", work.SIZES)
def test_the_ceiling_makes_the_same_steps(measured, monkeypatch, size):
    """As many as are asked for, over more than two blocks of batches, from a fresh model."""
    monkeypatch.setattr(test_step, "train_compiled", Interpreted())
    test_step.test_ceiling(measured, size)
    assert (measured.unit, measured.per_call) == ("steps/s", 1.0)
    workload = work.WORKLOADS[size]
    steps = 2 * work.block_of(workload) + 3 if size == SIZE else 3
    rate, E, W, *_ = arguments = measured.fresh()
    measured.run(steps, *arguments)
    model = work.fresh_model(workload)
    work.run_steps(steps, model, workload)
    assert rate == workload.rate
    np.testing.assert_allclose(E, model.E.v, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(W, model.W.v, rtol=1e-4, atol=1e-5)


def test_the_ceiling_has_every_kernel_of_a_step(measured, monkeypatch):
    monkeypatch.setattr(test_step, "train_compiled", Interpreted())
    monkeypatch.setattr(test_step, "kernels_of", lambda size: {"draw": 1, "another": 2})
    with pytest.raises(AssertionError, match="a step calls kernels that the ceiling does not"):
        test_step.test_ceiling(measured, SIZE)


def test_forward_and_backward_are_two_rows(measured, monkeypatch):
    """Only the one fills gradients."""
    models, fresh = [], test_step.fresh_model
    monkeypatch.setattr(
        test_step, "fresh_model", lambda workload: models.append(fresh(workload)) or models[-1]
    )
    for row, filled in ((test_step.test_forward, False), (test_step.test_forward_backward, True)):
        row(measured, SIZE)
        models[-1].E.grad[:] = 0
        measured.run(1)
        assert models[-1].E.grad.any() == filled


def test_a_kernel_runs_as_often_as_it_counts(measured):
    """On the arguments of a real step; `beat` has the number of the last turn."""
    test_kernels.test_kernel(measured, SIZE, "sgd_update")
    call = tracing.kernels_of(SIZE)["sgd_update"]
    amount, unit = call.work("sgd_update", work.WORKLOADS[SIZE])
    assert (measured.unit, measured.per_call) == (unit, amount)
    assert (measured.facts["work_per_call"], measured.facts["calls_per_step"]) == (amount, pytest.approx(1.0))
    arguments, beat = measured.fresh(), np.zeros(1, np.int64)
    measured.run(1, *arguments)
    np.testing.assert_allclose(arguments[0], call.after[0], rtol=1e-6)
    tracing.repeat(call.kernel)(5, beat, arguments)
    assert beat[0] == 4


def test_one_second_keeps_its_steps_and_loss(measured, monkeypatch):
    monkeypatch.setattr(test_budget, "BUDGET", 0.02)
    test_budget.test_one_second(measured, SIZE)
    (steps,), (loss,) = measured.facts["work"], measured.facts["loss"]
    assert measured.unit == "steps/s" and steps >= 1
    assert work.WORKLOADS[SIZE].least < loss < 3.3 and test_budget.BUDGET == 0.02


# --- the fingerprint --------------------------------------------------------------------------------


def digests(monkeypatch, **changes):
    """Of this file in place of all sources, which take longest to read."""
    for name, value in ({"measured_sources": lambda: {Path(__file__)}} | changes).items():
        monkeypatch.setattr(fingerprint, name, value)
    return fingerprint.fingerprint.__wrapped__()


def test_each_part_of_the_fingerprint_is_of_its_own_thing(monkeypatch, tmp_path):
    before = digests(monkeypatch)
    changes = {
        "configuration": {"GOLDEN_STEPS": 21},
        "data": {"WORDS": [*work.WORDS, "zoe"]},
        "source": {"measured_sources": lambda: {ROOT / "conftest.py"}},
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
