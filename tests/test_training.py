"""What training comes to: the losses of fixed steps, the convex minimum, the order of the bricks."""

from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest
from scipy.optimize import minimize

from autollm import Node, Param, dup, xent_from_logits
from autollm.bricks.pointwise import add
from autollm.errors import DivergedError
from autollm.learning.alphabet import Alphabet
from autollm.learning.batches import batches
from autollm.learning.examples import Examples, make_examples
from autollm.learning.optim import OPTIMISERS, RATES, SCHEDULES, SGD, flatten
from autollm.learning.training import Budget, mean_loss, train
from autollm.learning.words import read_words
from autollm.models import Bag, Config, ReorderedBag, build, parameters

WORDS = read_words("names").distinct
ALPHABET = Alphabet.of(WORDS)
EXAMPLES = make_examples(WORDS, ALPHABET, context=3)

# Made once by the kernels running as plain Python; compiled ones must learn the same.
GOLDEN = [
    3.2946, 3.2653, 3.2377, 3.2884, 3.2443, 3.2527, 3.1876, 3.2158, 3.1957, 3.1462,
    3.1535, 3.1152, 3.1408, 3.0520, 3.0854, 3.0849, 2.9133, 3.0128, 3.0553, 2.9925,
]  # fmt: skip


def losses_of_fixed_steps(kind, steps=20):
    rng = np.random.Generator(np.random.PCG64(0))
    model = kind(ALPHABET.size, 32, rng)
    optimiser = SGD(parameters(model).values())
    losses = []
    for contexts, targets in next(batches(EXAMPLES, 64, seed=0))[:steps]:
        loss = xent_from_logits(model(contexts), targets)
        loss.back(1.0)
        optimiser.step(0.5)
        losses.append(loss.v)
    return losses


@pytest.mark.parametrize("kind", [Bag, ReorderedBag])
def test_the_losses_of_20_steps(kind):
    np.testing.assert_allclose(losses_of_fixed_steps(kind), GOLDEN, atol=1e-3)


def test_both_orders_give_the_same_loss_and_gradients():
    results = []
    for kind in (Bag, ReorderedBag):
        model = kind(ALPHABET.size, 32, np.random.default_rng(1))
        loss = xent_from_logits(model(EXAMPLES.contexts), EXAMPLES.targets)
        loss.back(1.0)
        results.append((loss.v, model.E.grad, model.W.grad))
    (loss, dE, dW), (loss2, dE2, dW2) = results
    assert loss == pytest.approx(loss2, rel=1e-6)
    assert np.abs(dE).max() > 1e-3
    np.testing.assert_allclose(dE, dE2, atol=1e-6)
    np.testing.assert_allclose(dW, dW2, atol=1e-6)


def least_possible_loss(examples, vocabulary):
    """The logits of a bag are linear in M = E @ W.T, so its loss is convex in M: find the minimum."""
    counts = np.zeros((len(examples), vocabulary))
    for column in examples.contexts.T:
        np.add.at(counts, (np.arange(len(examples)), column), 1)
    onehot = np.eye(vocabulary)[examples.targets]

    def loss(flat):
        logits = counts @ flat.reshape(vocabulary, vocabulary)
        logits -= logits.max(axis=1, keepdims=True)
        log_z = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        surprise = np.exp(logits - log_z) - onehot
        value = (log_z[:, 0] - logits[onehot > 0]).mean()
        return value, (counts.T @ surprise / len(examples)).ravel()

    found = minimize(
        loss, np.zeros(vocabulary**2), jac=True, method="L-BFGS-B", options={"maxiter": 10_000, "ftol": 1e-14}
    )
    return found.fun


def test_training_reaches_the_convex_minimum():
    least = least_possible_loss(EXAMPLES, ALPHABET.size)
    model = build(Config(), ALPHABET.size)
    train(model, EXAMPLES, budget=Budget(steps=50_000))
    assert least <= mean_loss(model, EXAMPLES) <= least + 0.01


@pytest.mark.parametrize(
    ("context", "dim", "batch"), [(1, 32, 64), (8, 64, 256), (16, 128, 1024), (40, 8, 1), (3, 32, 1)]
)
def test_the_default_learning_rate_suits_other_sizes(context, dim, batch):
    examples = make_examples(WORDS, ALPHABET, context)
    model = build(Config(context, dim), ALPHABET.size)
    before = mean_loss(model, examples)
    train(model, examples, budget=Budget(steps=300), batch=batch)
    assert mean_loss(model, examples) < before - 0.1


def test_a_time_budget_is_kept():
    model = build(Config(), ALPHABET.size)
    train(model, EXAMPLES, budget=Budget(steps=1))
    run = train(model, EXAMPLES, budget=Budget(seconds=0.05))
    assert run.seconds >= 0.05  # and never less; how much more is for the benchmarks to say
    assert run.steps > 1


def test_the_same_seed_and_steps_give_the_same_bits():
    def result(seed):
        model = build(Config(), ALPHABET.size, seed)
        train(model, EXAMPLES, budget=Budget(steps=500), seed=seed)
        return model.E.v.tobytes() + model.W.v.tobytes()

    assert result(7) == result(7)
    assert result(7) != result(8)


def test_divergence_stops_training():
    with pytest.raises(DivergedError, match=r"after \d+ steps; try a --lr below 1000"):
        train(build(Config(), ALPHABET.size), EXAMPLES, budget=Budget(steps=500), lr=1000.0)


def test_mean_loss_does_not_depend_on_the_chunks():
    model = build(Config(), ALPHABET.size)
    assert mean_loss(model, EXAMPLES, chunk=7) == pytest.approx(mean_loss(model, EXAMPLES), rel=1e-6)


def test_flatten_makes_one_vector_of_all_parameters():
    model = build(Config(dim=5), 4)
    before = np.concatenate([model.E.v.ravel(), model.W.v.ravel()])
    model.E.grad[...], model.W.grad[...] = 1, 2
    values, grads = flatten(parameters(model).values())
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(grads, [1] * 20 + [2] * 20)
    values[:] = 3
    grads[:] = 4
    for param in parameters(model).values():
        assert (param.v == 3).all()
        assert (param.grad == 4).all()
        assert param.v.flags.c_contiguous


def test_sgd_moves_against_the_gradient_and_empties_the_buckets():
    model = build(Config(dim=5), 4)
    before = model.E.v.copy()
    optimiser = SGD(parameters(model).values())
    model.E.grad[:] = 2
    optimiser.step(0.25)
    np.testing.assert_allclose(model.E.v, before - 0.5, rtol=1e-6)
    assert not model.E.grad.any()


def test_training_memory_does_not_grow_with_the_steps():
    import tracemalloc

    model = build(Config(), ALPHABET.size)
    train(model, EXAMPLES, budget=Budget(steps=200))
    peaks = []
    for steps in (200, 4000):
        tracemalloc.start()
        train(model, EXAMPLES, budget=Budget(steps=steps))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 10_000


# --- rates, optimisers, clipping ---------------------------------------------------------------------


class Recorder(SGD):
    """SGD that keeps the rates it was given."""

    def __init__(self, params):
        super().__init__(params)
        self.rates = []

    def step(self, rate):
        self.rates.append(rate)
        super().step(rate)


@pytest.mark.parametrize(("name", "expected"), [
    ("constant", [1.0, 1.0, 1.0, 1.0]),
    ("linear", [1.0, 0.75, 0.5, 0.25]),
    ("cosine", [1.0, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5]),
    ("warm-up", [0.02, 0.75, 0.5, 0.25]),
])  # fmt: skip
def test_the_rate_follows_the_schedule(name, expected):
    made = []

    def optimiser(params):
        made.append(Recorder(params))
        return made[0]

    model = build(Config(), ALPHABET.size)
    train(model, EXAMPLES, budget=Budget(steps=4), lr=0.5, optimiser=optimiser, schedule=SCHEDULES[name])
    np.testing.assert_allclose(made[0].rates, 0.5 * np.array(expected), rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_learns(name):
    model = build(Config(), ALPHABET.size)
    train(model, EXAMPLES, budget=Budget(steps=400), lr=RATES[name], optimiser=OPTIMISERS[name])
    assert mean_loss(model, EXAMPLES) < 2.6  # pure guessing costs 3.3


def test_a_gradient_is_cut_to_the_length_given():
    """Of one step of SGD at the rate 1, the length is that of the gradient."""

    def length(clip):
        model = build(Config(), ALPHABET.size)
        before = [param.v.copy() for param in parameters(model).values()]
        train(model, EXAMPLES, budget=Budget(steps=1), lr=1.0, clip=clip)
        moved = [param.v - old for param, old in zip(parameters(model).values(), before, strict=True)]
        return float(np.sqrt(sum(np.sum(change**2) for change in moved)))

    whole = length(None)
    assert length(whole / 2) == pytest.approx(whole / 2, rel=1e-4)
    assert length(2 * whole) == whole


def test_watching_takes_no_training_time_and_changes_nothing(monkeypatch):
    def result(watch):
        model = build(Config(), ALPHABET.size)
        train(model, EXAMPLES, budget=Budget(steps=300), watch=watch)
        return model.E.v.tobytes()

    assert result(None) == result(lambda *progress: None)

    now = itertools.count()  # a clock of which every reading takes a second ...

    def slow(*progress):
        nonlocal now
        now = itertools.count(next(now) + 1000)  # ... and a watcher that takes its time

    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    run = train(build(Config(), ALPHABET.size), EXAMPLES, budget=Budget(seconds=200), watch=slow)
    assert run.steps > 180
    assert run.seconds < 220


@pytest.mark.parametrize("amount", [{"steps": 0}, {"steps": -1}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_a_budget_of_nothing_is_refused(amount):
    with pytest.raises(ValueError, match="a budget must be above 0"):
        Budget(**amount)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1 example, got 0"):
        train(build(Config(), ALPHABET.size), make_examples(WORDS, ALPHABET, 3), batch=0)


def test_an_interrupted_backward_pass_is_no_mistake(recwarn):
    """Copies that have not reported when Ctrl-C comes are not the model's fault."""
    x = Param(np.ones((1, 2)))

    class Model:
        def __init__(self):
            self.x = x

        def __call__(self, contexts):
            def interrupt(g):
                raise KeyboardInterrupt

            first, second = dup(x)
            return add(first, Node(second.v, interrupt))

    examples = Examples(np.zeros((1, 1), np.int32), np.zeros(1, np.int32))
    assert train(Model(), examples, batch=1, lr=0.1).interrupted
    gc.collect()
    assert not recwarn.list
