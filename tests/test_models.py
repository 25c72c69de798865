"""Every model: its gradients against finite differences, its files, its command line."""

from __future__ import annotations

import json
from unittest import mock

import numpy as np
import pytest
from test_primitives import plain_python

from autollm import masked_xent_from_logits, train
from autollm.bricks.embedding import GatheredRows
from autollm.errors import InputError
from autollm.learning.alphabet import Alphabet
from autollm.learning.examples import LEFT_OUT
from autollm.learning.sampling import dream
from autollm.models import MODELS, Config, build, configure, parameters, reads_words
from autollm.node import Node, _nobody

each_model = pytest.mark.parametrize("name", MODELS)
SMALL = {"dim": 4, "hidden": 3, "heads": 2, "layers": 2, "context": 3}
V, B = 5, 3


def small(name):
    sizes = {size: SMALL[size] for size in MODELS[name].sizes}
    if name == "bigram":
        sizes["context"] = 1
    return configure(name, **sizes)


@each_model
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_are_the_slopes_of_the_loss(name, seed):
    """In double precision, along a random direction in the space of all parameters at once."""
    config, rng = small(name), np.random.default_rng(seed)
    model = build(config, V, seed)
    letters = rng.integers(0, V, (B, config.context), np.int32)
    targets = rng.integers(0, V, B * config.context if reads_words(model) else B, np.int32)
    if reads_words(model):
        targets[-1] = LEFT_OUT
    params = list(parameters(model).values())
    start = [param.v + 0.1 * rng.standard_normal(param.v.shape) for param in params]
    directions = [rng.standard_normal(param.v.shape) for param in params]

    def place(step):
        for param, value, direction in zip(params, start, directions, strict=True):
            param.v = value + step * direction
            param.grad = np.zeros_like(value)

    def loss():
        return masked_xent_from_logits(model(letters), targets)

    step = 1e-6
    with plain_python(np.float64):
        ends = []
        for sign in (1, -1):
            place(sign * step)
            ends.append(loss().v)
        place(0)
        loss().back(1.0)
    slope = (ends[0] - ends[1]) / (2 * step)
    blame = sum(np.sum(param.grad * direction) for param, direction in zip(params, directions, strict=True))
    assert blame == pytest.approx(slope, rel=1e-4, abs=1e-6)


@each_model
def test_every_parameter_gets_blame(name):
    config, rng = small(name), np.random.default_rng(0)
    model = build(config, V)
    letters = rng.integers(0, V, (B, config.context), np.int32)
    targets = rng.integers(0, V, B * config.context if reads_words(model) else B, np.int32)
    masked_xent_from_logits(model(letters), targets).back(1.0)
    for key, param in parameters(model).items():
        assert np.abs(param.grad).max() > 0, key


@each_model
def test_every_backward_runs_exactly_once(name):
    """Of every Node that a forward pass makes: bricks, copies and constants."""
    made, init = [], Node.__init__

    def count(node, v, back=_nobody):
        made.append(mock.Mock(side_effect=back))
        init(node, v, made[-1])

    config, rng = small(name), np.random.default_rng(0)
    letters = rng.integers(0, V, (B, config.context), np.int32)
    with (
        mock.patch.object(Node, "__init__", count),
        mock.patch.object(GatheredRows, "back", autospec=True, side_effect=GatheredRows.back) as gathered,
    ):
        logits = build(config, V)(letters)
        masked_xent_from_logits(logits, rng.integers(0, V, len(logits.v), np.int32)).back(1.0)
    assert [back.call_count for back in made] == [1] * len(made)
    callers = [id(call.args[0]) for call in gathered.call_args_list]
    assert len(set(callers)) == len(callers)


@each_model
def test_later_letters_have_no_influence(name):
    """What a model that reads whole words says of a place depends on the letters up to it alone."""
    config = small(name)
    model = build(config, V)
    if not reads_words(model):
        pytest.skip("it sees the letters before a place, and no others")
    letters = np.array([[1, 2, 3], [1, 2, 4]], np.int32)
    scores = model(letters).v.reshape(2, 3, V)
    np.testing.assert_array_equal(scores[0, :2], scores[1, :2])
    assert np.abs(scores[0, 2] - scores[1, 2]).max() > 1e-6


@each_model
def test_dreaming(name):
    for count in (0, 1, 7):
        rng = np.random.default_rng(0)
        words = dream(build(small(name), V), Alphabet("abcd"), small(name).context, count, rng)
        assert len(words) == count
        assert all(words)


@each_model
def test_the_command_line(name, capsys, tmp_path):
    path = str(tmp_path / "model")
    arguments = ["--model", name, "--steps", "60", "--json", "--quiet", "--save", path, "--samples", "3"]
    results = []
    for _ in range(2):
        assert train.main(arguments) == 0
        facts = json.loads(capsys.readouterr().out)
        results.append((facts["final_loss"], facts["samples"], (tmp_path / "model").read_bytes()))
    assert results[0] == results[1], "the same seed and steps give the same bytes"
    assert 0.5 < results[0][0] < 3.4
    from autollm import sample

    assert sample.main([path, "-n", "5", "--prefix", "em"]) == 0
    assert all(word.startswith("em") for word in capsys.readouterr().out.split())


def test_held_out_words_are_judged(capsys):
    assert train.main(["--data", "names-32k", "--steps", "300", "--json", "--quiet", "--samples", "2"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert 2.4 < facts["held_out_loss"] < 3.0
    assert train.main(["--steps", "20", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["held_out_loss"] is None


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"model": "cat"}, "there is no model 'cat'; there are bag, bigram"),
        ({"model": "bag", "heads": 2}, "the model bag has no heads"),
        ({"model": "bigram", "context": 2, "dim": None}, "its context is 1, not 2"),
        ({"model": "gpt", "context": 8, "dim": 6, "heads": 4, "layers": 1}, "a multiple of heads"),
        ({"model": "rnn", "context": 500, "dim": 6, "hidden": 4}, "at most 64, not 500"),
    ],
)
def test_sizes_that_no_model_has(sizes, message):
    with pytest.raises(InputError, match=message):
        Config(**sizes)


def test_the_mlp_refuses_contexts_of_another_length():
    model = build(small("mlp"), V)
    with pytest.raises(ValueError, match=r"contexts must be \(B, 3\), got \(2, 1\)"):
        model(np.zeros((2, 1), np.int32))
