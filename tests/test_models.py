"""Every model: its gradients against finite differences, its files, its command line."""

from __future__ import annotations

import json
import re
from unittest import mock

import numpy as np
import pytest
from cases import plain_python
from equations import LOGITS

from autollm import sample, train, xent_from_logits
from autollm.bricks.embedding import Rows
from autollm.errors import InputError
from autollm.learning.alphabet import Alphabet
from autollm.learning.examples import PADDING, examples_for
from autollm.learning.plan import Budget, make_plan
from autollm.learning.sampling import dream
from autollm.learning.training import mean_loss
from autollm.learning.training import train as teach
from autollm.learning.words import read_words
from autollm.models import MODELS, Config, build, configure, nets, parameters, reads_words, shapes, sizes_of
from autollm.models.model import rows_in_use
from autollm.node import Node, Param, _nobody

each_model = pytest.mark.parametrize("name", MODELS)
each_net = pytest.mark.parametrize("name", nets())
SMALL = {"dim": 4, "hidden": 3, "heads": 2, "layers": 2, "context": 3}
V, B = 5, 3


def small(name):
    sizes = {size: SMALL[size] for size in sizes_of(name)}
    if name == "bigram":
        sizes["context"] = 1
    return configure(name, **sizes)


def random_ids(rng, model, config, rows=B, V=V):
    """Letters for a model, and targets for its logits."""
    letters = rng.integers(0, V, (rows, config.context), np.int32)
    return letters, rng.integers(0, V, letters.size if reads_words(model) else rows, np.int32)


@each_net
@pytest.mark.parametrize("rows", [1, 7, 40])  # fewer letters than the alphabet has, and more
def test_logits_are_those_of_the_papers_equations(name, rows):
    config, rng = small(name), np.random.default_rng(rows)
    model = build(config, V)
    params = parameters(model)
    for param in params.values():  # biases, too, are to be more than 0
        param.v += 0.5 * rng.standard_normal(param.v.shape).astype(np.float32)
    letters, _ = random_ids(rng, model, config, rows)
    wide = {key: param.v.astype(np.float64) for key, param in params.items()}
    expected = LOGITS[name](wide, config.sizes, letters)
    assert np.abs(expected).max() > 0.5
    # A float32 is rounded by 6e-8 of itself at most; some dozens of roundings add up on the way.
    np.testing.assert_allclose(model(letters).v, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


LARGE = {"dim": 36, "hidden": 64, "heads": 4, "layers": 3, "context": 8}
D, H, L, K = (LARGE[size] for size in ("dim", "hidden", "layers", "context"))
# The standard deviations that parameters begin with, by patterns of their names; 0: all are 0, or 1 as gains.
SPREADS = {
    "bag": {"E|W": 0.1},
    "bigram": {"W": 0},
    "mlp": {"E": 1, "H": 1 / np.sqrt(K * D), "U": 1 / np.sqrt(H), "d|b": 0},
    "rnn": {"E": 1, "W|R": 1 / np.sqrt(D + H), "U": 1 / np.sqrt(H), "b|u": 0},
    "gru": {"E": 1, "W|R": 1 / np.sqrt(D + H), "U": 1 / np.sqrt(H), "b|u": 0},
    "gpt": {".*": 0.08},
    "gpt2": {  # GPT-2, section 2.3: what is added to x, 2 L times, is smaller by the root of that
        "wte|wpe": 0.1,
        "head|.*(qkv|up).w": 1 / np.sqrt(D),
        ".*out.w": 1 / np.sqrt(D) / np.sqrt(2 * L),
        ".*down.w": 1 / np.sqrt(4 * D) / np.sqrt(2 * L),
        ".*(b|bias|gain)": 0,
    },
}


@pytest.mark.parametrize("name", SPREADS)
def test_parameters_begin_as_far_apart_as_they_should(name):
    sizes = {size: 1 if name == "bigram" else LARGE[size] for size in sizes_of(name)}
    for path, param in parameters(build(configure(name, **sizes), 200)).items():
        (spread,) = (one for pattern, one in SPREADS[name].items() if re.fullmatch(pattern, path))
        assert param.v.std() == pytest.approx(spread, rel=0.15), path  # of 288 numbers or more
        middle = 1.0 if path.endswith("gain") else 0.0
        assert abs(param.v.mean() - middle) <= 4 * spread / np.sqrt(param.v.size), path


def test_a_bag_is_what_is_built_when_nothing_is_said():
    assert configure() == configure("bag") == configure("bag", False, context=None, dim=None)


@each_net
@pytest.mark.parametrize("seed", [0, 1])
def test_60_steps_teach_something(name, seed):
    """By the model's own recipe, and of a loss that is the same for everybody: that of pure guessing."""
    words = read_words("names").distinct
    plan, alphabet = make_plan(configure(name), Budget(steps=60), seed), Alphabet.of(words)
    model = build(plan.config, alphabet.size, seed)
    examples = examples_for(model, words, alphabet, plan.config.context)
    before = min(mean_loss(model, examples), np.log(alphabet.size))
    teach(model, examples, plan)
    assert mean_loss(model, examples) < before - 0.1


@each_net
def test_the_mean_loss_is_that_of_all_letters_however_they_are_divided(name):
    """Each letter counts as much as any other, whether it is worked out with many or with few."""
    words = ["a", "ab", "abcdefg", "gfedcbaab", "c"]  # of 25 letters, with their ends
    alphabet, config = Alphabet.of(words), small(name)
    model = build(config, alphabet.size, seed=3)
    for number, param in enumerate(parameters(model).values()):
        param.v += np.sin(number + np.arange(param.v.size)).astype(np.float32).reshape(param.v.shape)
    examples = examples_for(model, words, alphabet, config.context)
    total = 0.0
    for one in (examples[i : i + 1] for i in range(len(examples))):
        letters, targets = one.pairs()
        total += xent_from_logits(model(letters), targets).v * np.count_nonzero(targets != PADDING)
    for size in (1, 10, 20, 4096):
        assert mean_loss(model, examples, size) == pytest.approx(total / 25, rel=1e-5)


@each_net
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("V", [V, 40])  # fewer letters than the batch has, and more
def test_gradients_are_the_slopes_of_the_loss(name, seed, V):
    """In double precision, along a random direction in the space of all parameters at once."""
    config, rng = small(name), np.random.default_rng(seed)
    model = build(config, V, seed)
    letters, targets = random_ids(rng, model, config, V=V)
    if reads_words(model):
        targets[-1] = PADDING
    params = list(parameters(model).values())
    start = [param.v + 0.1 * rng.standard_normal(param.v.shape) for param in params]
    directions = [rng.standard_normal(param.v.shape) for param in params]

    def move_to(step):
        for param, value, direction in zip(params, start, directions, strict=True):
            param.keep_in(value + step * direction, np.zeros_like(value))

    def loss():
        return xent_from_logits(model(letters), targets)

    step = 1e-6
    with plain_python(np.float64):
        ends = []
        for sign in (1, -1):
            move_to(sign * step)
            ends.append(loss().v)
        move_to(0)
        loss().back(1.0)
    slope = (ends[0] - ends[1]) / (2 * step)
    blame = sum(np.sum(param.grad * direction) for param, direction in zip(params, directions, strict=True))
    assert blame == pytest.approx(slope, rel=1e-4, abs=1e-6)


@each_net
def test_every_parameter_gets_blame(name):
    config, rng = small(name), np.random.default_rng(0)
    model = build(config, V)
    letters, targets = random_ids(rng, model, config)
    xent_from_logits(model(letters), targets).back(1.0)
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
        mock.patch.object(Rows, "back", autospec=True, side_effect=Rows.back) as gathered,
    ):
        logits = build(config, V)(letters)
        xent_from_logits(logits, rng.integers(0, V, len(logits.v), np.int32)).back(1.0)
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


def test_of_a_large_table_only_the_rows_in_use_are_worked_on():
    """Each once; of a small one all are, in the table's order."""
    ids = np.array([[7, 900, 7], [0, 900, 900]], np.int32)
    large, small = Param(np.arange(2000.0).reshape(1000, 2)), Param(np.ones((6, 2)))
    rows, numbers = rows_in_use(large, ids)
    assert rows.v.tolist() == [[0, 1], [14, 15], [1800, 1801]]
    assert numbers.tolist() == [[1, 2, 1], [0, 2, 2]] and numbers.dtype == np.int32
    rows.back(np.ones((3, 2), np.float32))
    assert np.flatnonzero(large.grad[:, 0]).tolist() == [0, 7, 900]
    assert rows_in_use(small, ids % 6)[0] is small


@pytest.mark.parametrize("name", ["rnn", "gru"])
def test_recurrent_models_read_words_of_any_length(name):
    """A word of 3,000 letters is no deeper a chain of Nodes than one of three."""
    model = build(configure(name, context=3000, dim=2, hidden=3), V)
    words = np.random.default_rng(0).integers(0, V, (1, 3000), np.int32)
    xent_from_logits(model(words), words[0]).back(1.0)
    assert all(np.isfinite(param.grad).all() for param in parameters(model).values())


@each_model
def test_dreaming(name):
    for count in (0, 1, 7):
        rng = np.random.default_rng(0)
        words = dream(build(small(name), V), Alphabet("abcd"), small(name).context, count, rng, longest=5)
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
    assert 0.5 < results[0][0] < np.log(27) - 0.1
    assert sample.main([path, "-n", "5", "--prefix", "em"]) == 0
    assert all(word.startswith("em") for word in capsys.readouterr().out.split())


def test_held_out_words_are_judged(capsys):
    assert train.main(["--data", "names-32k", "--steps", "300", "--json", "--quiet", "--samples", "2"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert 2.4 < facts["held_out_loss"] < 3.0
    assert train.main(["--steps", "20", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["held_out_loss"] is None


@pytest.mark.parametrize(
    ("model", "sizes", "message"),
    [
        ("cat", {}, "there is no model 'cat'; there are counts, bag, bigram"),
        ("bag", {"heads": 2}, "the model bag has no heads"),
        ("bag", {"dim": 0}, "bag: dim must be a whole number from 1 to 1000000, not 0"),
        ("bigram", {"context": 2}, "bigram: context must be a whole number from 1 to 1, not 2"),
        ("gpt", {"dim": 6}, "dim must be a multiple of heads: 6 is not one of 4"),
        ("gpt", {"layers": 1001}, "layers must be a whole number from 1 to 1000, not 1001"),
    ],
)
def test_sizes_that_no_model_has(model, sizes, message):
    with pytest.raises(InputError, match=message):
        configure(model, **sizes)


def test_a_config_has_all_sizes():
    with pytest.raises(InputError, match="the model bag has a dim"):
        Config("bag", {"context": 3})


@each_model
def test_the_shapes_of_a_model_are_known_before_it_is_made(name):
    expected = {key: param.v.shape for key, param in parameters(build(small(name), V)).items()}
    assert list(shapes(small(name), V).items()) == list(expected.items())


def test_shapes_take_no_memory():
    """Here, of 10 TB of parameters."""
    assert shapes(configure("mlp", dim=10**6), 2_500_000)["E"] == (2_500_000, 10**6)


def test_parameters_are_found_in_parts_of_parts():
    names = list(parameters(build(small("gpt2"), V)))
    assert len(names) == len(set(names)) == 2 + 2 * 12 + 2 + 1
    assert names[:3] == ["wte", "wpe", "blocks.0.norm1.gain"]
    assert "blocks.1.down.b" in names and names[-1] == "head"


def test_the_mlp_refuses_contexts_of_another_length():
    model = build(small("mlp"), V)
    with pytest.raises(ValueError, match=r"contexts must be \(B, 3\), got \(2, 1\)"):
        model(np.zeros((2, 1), np.int32))
