"""The checks that a row of the suite makes before it measures: whoever computes something else is refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytest_benchmark", reason="the benchmark extra is not installed")

from test_benchmarks_workloads import SIZE, Interpreted, Measured

from benchmarks import test_budget, test_calibrators, test_kernels, test_rate, test_scale, test_step
from benchmarks.workloads import RATED

ROWS = {
    "step": (test_step, test_step.test_step, [SIZE]),
    "ceiling": (test_step, test_step.test_ceiling, [SIZE]),
    "forward": (test_step, test_step.test_forward, [SIZE]),
    "forward_backward": (test_step, test_step.test_forward_backward, [SIZE]),
    "update": (test_step, test_step.test_update, [SIZE]),
    "draw": (test_step, test_step.test_draw, [SIZE]),
    "kernel": (test_kernels, test_kernels.test_kernel, [SIZE, "embedding_bag_forward"]),
    "product": (test_kernels, test_kernels.test_product, [SIZE, "h@W.T"]),
    "batch": (test_scale, test_scale.test_batch, [64]),
    "words": (test_scale, test_scale.test_words, [10]),
    "one_second": (test_budget, test_budget.test_one_second, [SIZE]),
    "sampling": (test_budget, test_budget.test_sampling, []),
    "fma": (test_calibrators, test_calibrators.test_fma, []),
    "interpreter": (test_calibrators, test_calibrators.test_interpreter, []),
    "memory": (test_calibrators, test_calibrators.test_memory, []),
}


def run(name):
    """A row with a made-up fixture `measure`."""
    _, row, arguments = ROWS[name]
    row(Measured(), *arguments)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Nothing is compiled or filled for what is checked here."""
    monkeypatch.setattr(test_step, "train_compiled", Interpreted())
    monkeypatch.setattr(
        test_calibrators, "large_arrays", lambda: [np.full(100, value, np.float32) for value in (0, 1, 2)]
    )
    monkeypatch.setattr(test_budget, "BUDGET", 0.01)
    monkeypatch.setattr(test_kernels, "repeat", lambda kernel: lambda n, beat, given: kernel(*given))


@pytest.mark.parametrize(
    "name",
    ["step", "ceiling", "forward", "forward_backward", "kernel", "product", "batch", "words", "one_second"],
)
def test_a_model_that_does_not_learn_as_it_should_is_not_measured(monkeypatch, name):
    def refuse(size):
        raise AssertionError("golden")

    monkeypatch.setattr(ROWS[name][0], "checked", refuse)
    with pytest.raises(AssertionError, match="golden"):
        run(name)


def test_nor_is_its_rate(monkeypatch):
    monkeypatch.setattr(test_rate, "checked", lambda size: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        test_rate.test_rate(None, 0.05, None, SIZE)
    assert RATED == ("64x3x32", "mlp-256x8x32", "gpt-16x16x32"), "one of each kind"


def off(function, change):
    """The function, but for a small change in what it returns."""
    return lambda *arguments, **named: change(function(*arguments, **named))


def one_off(array, by=0.01):
    """A copy with one number that is off."""
    array = np.array(array)
    array.flat[-1] += by
    return array


class Twice(test_step.SGD):
    def step(self, rate):
        super().step(2 * rate)


class Keeping(test_step.SGD):
    def step(self, rate):
        grads = self.grads.copy()
        super().step(rate)
        self.grads[-1] = grads[-1]


def without_last(function):
    """The loop, but for the last number of its first array."""

    def loop(first, *others):
        last = first[-1]
        function(first, *others)
        first[-1] = last

    return loop


def moved(blocks):
    """Batches of which one has another target."""
    for block in blocks:
        contexts, targets = block[-1]
        yield [*block[:-1], (contexts, (targets + 1) % 27)]


WRONG = [
    ("ceiling", "golden_loss", lambda f: off(f, lambda loss: loss * 1.0001)),
    ("forward", "bag_loss", lambda f: off(f, lambda found: (found[0] * 1.0001, *found[1:]))),
    ("forward_backward", "bag_loss", lambda f: off(f, lambda found: (found[0], one_off(found[1]), found[2]))),
    ("forward_backward", "bag_loss", lambda f: off(f, lambda found: (*found[:2], one_off(found[2])))),
    ("update", "SGD", lambda f: Twice),
    ("update", "SGD", lambda f: Keeping),
    ("draw", "batches", lambda f: off(f, moved)),
    ("kernel", "repeat", lambda f: lambda kernel: lambda n, beat, given: None),
    ("product", "matmul_wh_forward", lambda f: lambda w, h, out: out.fill(1.0)),
    ("one_second", "mean_loss", lambda f: lambda *_: float("nan")),
    ("sampling", "dream", lambda f: off(f, lambda names: names[1:])),
    ("sampling", "dream", lambda f: off(f, lambda names: ["", *names[1:]])),
    ("sampling", "dream", lambda f: off(f, lambda names: ["?!", *names[1:]])),
    ("fma", "fma", without_last),
    ("interpreter", "interpret", lambda f: off(f, lambda total: total + 1)),
    ("memory", "triad", without_last),
]


@pytest.mark.parametrize(("name", "function", "wrong"), WRONG)
def test_who_computes_something_else_is_not_measured(monkeypatch, name, function, wrong):
    run(name)
    module = ROWS[name][0]
    monkeypatch.setattr(module, function, wrong(getattr(module, function)))
    with pytest.raises(AssertionError):
        run(name)
