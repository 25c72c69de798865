"""Optimisers, clipping and schedules: against their formulas in float64."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autollm import SGD, Adam, Momentum, Param
from autollm.kernels.errors import ShapeError
from autollm.kernels.optim import adam_update, momentum_update, sgd_update
from autollm.learning.optim import OPTIMISERS, SCHEDULES, clip, warm_up
from autollm.models import build, configure, nets, parameters


def by_sgd(x, steps):
    for g, rate in steps:
        x = x - rate * g
    return x


def by_momentum(x, steps, keep=0.9):
    speed = 0.0
    for g, rate in steps:
        speed = keep * speed + g
        x = x - rate * speed
    return x


def by_adam(x, steps, beta1=0.9, beta2=0.99, decay=0.0):
    """Kingma and Ba 2015, algorithm 1; with the decay of Loshchilov and Hutter 2019, algorithm 2."""
    m = v = 0.0
    for t, (g, rate) in enumerate(steps, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        x = x - rate * (m_hat / (np.sqrt(v_hat) + 1e-8) + decay * x)
    return x


@pytest.mark.parametrize(
    ("optimiser", "reference", "options"),
    [
        (SGD, by_sgd, {}),
        (Momentum, by_momentum, {}),
        (Momentum, by_momentum, {"keep": 0.5}),
        (Adam, by_adam, {}),
        (Adam, by_adam, {"beta1": 0.85, "beta2": 0.999}),
        (Adam, by_adam, {"decay": 0.1}),
    ],
)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=4),
    size=st.sampled_from([1e-12, 1e-6, 1.0, 100.0]),
    seed=st.integers(0, 2**32),
)
def test_30_steps(optimiser, reference, options, shapes, size, seed):
    """With gradients of any size, some of them 0, and a rate that falls."""
    rng = np.random.default_rng(seed)
    params = [Param(rng.standard_normal(shape)) for shape in shapes]
    start = [param.v.astype(np.float64) for param in params]
    update = optimiser(params, **options).step
    history = [[] for _ in params]
    for step in range(30):
        rate = 0.1 * (1 - step / 30) / max(size, 1.0)
        for param, steps in zip(params, history, strict=True):
            kept = rng.random(param.v.shape) < 0.8
            param.grad[...] = size * rng.standard_normal(param.v.shape) * kept
            steps.append((param.grad.astype(np.float64), rate))
        update(rate)
        assert not any(param.grad.any() for param in params), "an update empties the buckets"
    for param, x, steps in zip(params, start, history, strict=True):
        np.testing.assert_allclose(param.v, reference(x, steps, **options), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "reference", "options"),
    [
        ("sgd", by_sgd, {}),
        ("momentum", by_momentum, {"keep": 0.9}),
        ("adam", by_adam, {"decay": 0.0}),
        ("adamw", by_adam, {"decay": 0.025}),  # 10,000 / 400,000
    ],
)
def test_the_optimisers_by_name(name, reference, options):
    """Over values so large that a decay shows."""
    start, steps = np.array([100.0, -50.0, 3.0]), [(np.array([0.5, 0.0, -2.0]), 0.1)] * 5
    param = Param(start)
    optimiser = OPTIMISERS[name]([param], 400_000)
    for g, rate in steps:
        param.grad[:] = g
        optimiser.step(rate)
    np.testing.assert_allclose(param.v, reference(start, steps, **options), rtol=1e-6)


def test_two_steps_by_hand():
    """Of one number, 1, with the gradients 2 and 4 and the rate 0.1."""
    results = {}
    for name, optimiser in OPTIMISERS.items():
        param = Param([1.0])
        update = optimiser([param], 400_000).step
        for g in (2.0, 4.0):
            param.grad[:] = g
            update(0.1)
        results[name] = float(param.v[0])
    # Momentum: 1 - 0.1 * 2 = 0.8, then 0.8 - 0.1 * (0.9 * 2 + 4) = 0.22. Adam: 1 - 0.1 = 0.9; then the means,
    # corrected, are (0.9 * 0.2 + 0.1 * 4) / 0.19 = 3.0526 and (0.99 * 0.04 + 0.01 * 16) / 0.0199 = 10.0302.
    # AdamW takes away another 0.025 * 0.1 of the value at each of the two steps.
    by_hand = {"sgd": 0.4, "momentum": 0.22, "adam": 0.80361, "adamw": 0.79887}
    assert results == pytest.approx(by_hand, abs=1e-5)


def test_adamw_shrinks_more_when_there_is_less_to_learn_from():
    """But never so much that nothing can be learned."""
    decays = [OPTIMISERS["adamw"]([Param([1.0])], targets).decay for targets in (10**6, 10**4, 1000, 1)]
    assert decays == [0.01, 1.0, 8.0, 8.0]


def test_adams_first_step_is_the_rate_whatever_the_gradient():
    param = Param(np.zeros(4))
    optimiser = Adam([param])
    param.grad[:] = [1e-3, -1.0, 1e6, 0.0]
    optimiser.step(0.25)
    np.testing.assert_allclose(param.v, [-0.25, 0.25, -0.25, 0.0], rtol=1e-4)


@pytest.mark.parametrize("optimiser", [SGD, Momentum, Adam])
def test_a_nan_in_the_gradient_is_seen(optimiser):
    param = Param([1.0, 2.0])
    update = optimiser([param]).step
    param.grad[:] = [np.nan, 1.0]
    update(0.1)
    assert np.isnan(param.v).tolist() == [True, False]


@pytest.mark.parametrize(
    ("update", "arguments"),
    [
        (sgd_update, ["values", "grads", 0.1]),
        (momentum_update, ["values", "grads", "speeds", 0.1, 0.9]),
        (adam_update, ["values", "grads", "moments", 1, 0.1, 0.9, 0.99, 0.0]),
    ],
)
def test_vectors_that_do_not_agree_are_refused(update, arguments):
    arrays = {name: np.zeros(3, np.float32) for name in ("values", "grads", "speeds")}
    arrays["moments"] = np.zeros((2, 3), np.float32)
    for name in arrays.keys() & set(arguments):
        longer = arrays | {name: np.zeros((*arrays[name].shape[:-1], 4), np.float32)}
        with pytest.raises(ShapeError, match="must agree"):
            update(*(longer.get(argument, argument) for argument in arguments))


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("rate", [np.nan, np.inf, -np.inf])
def test_a_rate_that_is_no_number_is_refused(name, rate):
    """And nothing has changed."""
    param = Param([1.0, 2.0])
    optimiser = OPTIMISERS[name]([param], 400_000)
    param.grad[:] = [3.0, 4.0]
    with pytest.raises(ValueError, match="the learning rate is NaN or infinite"):
        optimiser.step(rate)
    assert param.v.tolist() == [1.0, 2.0] and param.grad.tolist() == [3.0, 4.0]


# --- clipping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e3])
def test_clipping(size, limit):
    """Longer than the limit: the same direction, as long as the limit; else untouched."""
    params = [Param(np.zeros((3, 50))), Param(np.zeros(7))]
    optimiser = SGD(params)
    rng = np.random.default_rng(0)
    optimiser.grads[:] = size * rng.standard_normal(157)
    before = optimiser.grads.astype(np.float64)
    norm = np.linalg.norm(before)
    assert clip(optimiser, limit) == pytest.approx(norm, rel=1e-6, abs=0)
    np.testing.assert_allclose(optimiser.grads, before * min(limit / norm, 1.0), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_does_not_hide_a_diverged_gradient(bad):
    optimiser = SGD([Param(np.zeros(3))])
    optimiser.grads[:] = [1.0, bad, 1.0]
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(clip(optimiser, 1.0))
    assert np.isnan(optimiser.grads).any()


# --- schedules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("linear", [1, 0.9, 0.5, 0, 0]),
        ("cosine", [1, (1 + np.cos(0.1 * np.pi)) / 2, 0.5, 0, 0]),
        ("warm-up", [0.02, 0.9, 0.5, 0, 0]),
    ],
)
def test_schedules(name, expected):
    """At the start, after a tenth, at half, at the end of the budget, and after the step that ends it."""
    rates = [SCHEDULES[name](used) for used in (0.0, 0.1, 0.5, 1.0, 1.25)]
    np.testing.assert_allclose(rates, expected, atol=1e-12)


def test_warming_up_rises_in_a_straight_line_from_more_than_nothing():
    schedule = warm_up(SCHEDULES["constant"], part=0.2)
    rates = np.array([schedule(used) for used in np.linspace(0, 0.15, 16)])
    assert 0 < rates[0] < 0.01
    np.testing.assert_allclose(np.diff(rates), 0.05)
    assert schedule(0.2) == schedule(1.0) == 1.0


def test_a_gradient_that_was_there_before_the_optimiser_is_not_lost():
    first, second = Param([1.0, 2.0]), Param([[3.0]])
    first.back(np.float32([10, 20]))
    second.back(np.float32([[30]]))
    SGD([first, second]).step(0.1)
    np.testing.assert_allclose(first.v, [0, 0], atol=1e-6)
    np.testing.assert_allclose(second.v, [[0]], atol=1e-6)


def test_two_optimisers_of_the_same_parameters_share_their_vectors():
    params = [Param(np.ones((2, 3))), Param(np.ones(4))]
    first, second = SGD(params), Adam(params)
    for param in params:
        param.grad += 1
    first.step(0.5)
    assert all((param.v == 0.5).all() and not param.grad.any() for param in params)
    assert first.values is second.values and first.grads is second.grads


def test_an_optimiser_of_some_of_anothers_parameters_is_refused():
    params = [Param(np.ones((2, 3))), Param(np.ones(4))]
    SGD(params)
    for some in (params[:1], params[1:], params[::-1], [*params, Param(np.ones(1))]):
        with pytest.raises(ValueError, match="another optimiser updates some of these"):
            SGD(some)
    with pytest.raises(ValueError, match="at least 1 parameter"):
        SGD([])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("kind", [SGD, Momentum, Adam])
@pytest.mark.parametrize("with_optimiser", [True, False], ids=["both", "params alone"])
def test_a_copy_learns_as_the_original_does(kind, duplicate, with_optimiser):
    """A few steps, a copy, and a few more of both, apart: the same numbers come of it."""
    rng = np.random.default_rng(0)
    params = [Param(rng.standard_normal((2, 3))), Param(rng.standard_normal(4))]
    optimiser = kind(params)

    def learn(params, optimiser):
        for _ in range(3):
            for param in params:
                param.grad = param.v * 2
            optimiser.step(0.1)

    learn(params, optimiser)
    if with_optimiser:
        other, its_optimiser = duplicate((params, optimiser))
    else:
        other = duplicate(params)
        optimiser, its_optimiser = kind(params), kind(other)
    before = [param.v.copy() for param in params]
    learn(other, its_optimiser)
    for param, value in zip(params, before, strict=True):
        np.testing.assert_array_equal(param.v, value)
    learn(params, optimiser)
    for param, copied in zip(params, other, strict=True):
        np.testing.assert_array_equal(copied.v, param.v)
        assert not (param.v == 0).any()
    assert not np.array_equal(before[0], params[0].v)


@pytest.mark.parametrize("kind", [SGD, Momentum, Adam])
def test_what_is_assigned_to_a_param_is_what_its_optimiser_knows(kind):
    param = Param([1.0, 2.0])
    optimiser = kind([param])
    param.v = [5.0, 6.0]
    param.grad = [1.0, -1.0]
    optimiser.step(0.5)
    assert param.v[0] < 5 and param.v[1] > 6
    assert not param.grad.any()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("name", nets())
def test_a_copied_model_can_be_trained(name, duplicate):
    """Before and after an optimiser has laid its parameters out flat; and it is a model of its own."""
    letters = np.ones((3, configure(name).sizes["context"]), np.int32)
    model = build(configure(name), 5)
    for _ in range(2):
        other = duplicate(model)
        before = model(letters).v.copy()
        np.testing.assert_array_equal(other(letters).v, before)
        optimiser = SGD(parameters(other).values())
        out = other(letters)
        out.back(np.random.default_rng(0).standard_normal(out.v.shape).astype(np.float32))
        optimiser.step(0.1)
        assert not np.allclose(other(letters).v, before)
        np.testing.assert_array_equal(model(letters).v, before)
        SGD(parameters(model).values())
