"""Every model, brick and optimiser against PyTorch, in float64: `pip install torch`, then run pytest.

The models are written once more from their papers' equations, with PyTorch's own functions, and their
gradients come from PyTorch's autograd. Without PyTorch these tests are skipped.
"""

from __future__ import annotations

import numpy as np
import pytest
from cases import Case, Probe, letters
from hypothesis import given
from hypothesis import strategies as st
from table import ROWS

from autollm import SGD, Adam, Momentum, Param, xent_from_logits
from autollm.learning.examples import PADDING
from autollm.models import build, configure, nets, parameters, reads_words, sizes_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed; `pip install torch` for this file")
F = torch.nn.functional


def wide(array):
    """A float64 tensor that gathers a gradient."""
    return torch.tensor(np.asarray(array, np.float64), requires_grad=True)


def assert_close(name, ours, theirs, largest):
    """Equal but for float32's rounding: 6e-8 of a number at most at every step, and some dozens of steps
    add up, all relative to `largest`, the largest of the numbers that were summed."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-5 * largest, err_msg=name)


def draw_size(data, name, label):
    """A size from 1 to 20. But a layer norm of 2 or 3 numbers that happen to be nearly equal multiplies
    rounding by up to 1 / sqrt(1e-5) = 316, PyTorch's float32 as much as ours."""
    lowest = 4 if (name, label) in [("layer_norm", "D"), ("gpt2", "dim of a head")] else 1
    return data.draw(st.integers(lowest, 20), label=label)


# --- models: a function of parameters by name, sizes, and letters (B, K or T) to logits --------------


def bag(p, sizes, contexts):
    """Mikolov et al. 2013, continuous bag of words."""
    return F.linear(F.embedding_bag(contexts, p["E"], mode="sum"), p["W"])


def bigram(p, sizes, contexts):
    return F.one_hot(contexts[:, 0], len(p["W"])).double() @ p["W"]


def mlp(p, sizes, contexts):
    """Bengio et al. 2003, eq. (1): y = b + U tanh(d + H x), x being the codes put end to end."""
    x = F.embedding(contexts, p["E"]).flatten(1)
    H = torch.cat(p["H"].chunk(sizes["context"]), dim=1)
    return p["b"] + torch.tanh(p["d"] + x @ H.T) @ p["U"].T


def recurrent(p, words, h, step):
    """The logits at every place of a network whose next state is step(code of a letter, state)."""
    states = []
    for x in F.embedding(words, p["E"]).unbind(1):
        h = step(x, h)
        states.append(h)
    return F.linear(torch.stack(states, 1), p["U"], p["u"]).flatten(0, 1)


def rnn(p, sizes, words):
    """Elman 1990, with PyTorch's cell; it has two biases, of which one is enough."""
    none = torch.zeros_like(p["b"])
    start = torch.zeros(len(words), sizes["hidden"]).double()
    return recurrent(p, words, start, lambda x, h: torch.rnn_tanh_cell(x, h, p["W"], p["R"], p["b"], none))


def gru(p, sizes, words):
    """Cho et al. 2014, eqs. (5) to (8), where r is applied to the state before its matrix is, which
    PyTorch's own cell does the other way round; and z lets the new in, not the old stay."""

    def step(x, h):
        for_r, for_z, for_new = F.linear(x, p["W"], p["b"]).chunk(3, dim=1)
        r, z = torch.sigmoid(for_r + h @ p["R"][0].T), torch.sigmoid(for_z + h @ p["R"][1].T)
        return torch.lerp(h, torch.tanh(for_new + (r * h) @ p["R"][2].T), z)

    return recurrent(p, words, torch.zeros(len(words), sizes["hidden"]).double(), step)


def self_attention(qkv, heads):
    """(B, T, 3 D) -> (B, T, D)"""
    q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def embedded(p, words):
    return F.embedding(words, p["wte"]) + p["wpe"][: words.shape[1]]


def gpt(p, sizes, words):
    """microgpt: GPT-2 with RMSNorm, ReLU and without biases."""

    def norm(x):
        return F.rms_norm(x, x.shape[-1:], eps=1e-5)

    x = norm(embedded(p, words))
    for i in range(sizes["layers"]):
        x = x + F.linear(
            self_attention(F.linear(norm(x), p[f"blocks.{i}.qkv"]), sizes["heads"]), p[f"blocks.{i}.out"]
        )
        x = x + F.linear(F.relu(F.linear(norm(x), p[f"blocks.{i}.up"])), p[f"blocks.{i}.down"])
    return F.linear(x, p["head"]).flatten(0, 1)


def gpt2(p, sizes, words):
    """Radford et al. 2019, section 2.3: a norm before every part, and one at the end."""

    def layer(name, x):
        return F.linear(x, p[f"{name}.w"], p[f"{name}.b"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.gain"], p[f"{name}.bias"], eps=1e-5)

    x = embedded(p, words)
    for block in (f"blocks.{i}" for i in range(sizes["layers"])):
        qkv = layer(f"{block}.qkv", norm(f"{block}.norm1", x))
        x = x + layer(f"{block}.out", self_attention(qkv, sizes["heads"]))
        x = x + layer(
            f"{block}.down", F.gelu(layer(f"{block}.up", norm(f"{block}.norm2", x)), approximate="tanh")
        )
    return F.linear(norm("norm", x), p["head"]).flatten(0, 1)


THEIRS = {"bag": bag, "bigram": bigram, "mlp": mlp, "rnn": rnn, "gru": gru, "gpt": gpt, "gpt2": gpt2}


def draw_sizes(data, name):
    """Sizes for a model."""
    sizes = {size: draw_size(data, name, size) for size in sizes_of(name)}
    if "heads" in sizes:
        sizes["heads"], sizes["layers"] = sizes["heads"] % 4 + 1, sizes["layers"] % 3 + 1
        sizes["dim"] = sizes["heads"] * draw_size(data, name, "dim of a head")
    return sizes | ({"context": 1} if name == "bigram" else {})


@pytest.mark.parametrize("name", nets())  # what is counted has no gradient
@given(data=st.data())
def test_loss_and_every_gradient_of_every_model(name, data):
    sizes = draw_sizes(data, name)
    V, B = data.draw(st.integers(2, 40), label="V"), data.draw(st.integers(1, 20), label="B")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    model = build(configure(name, **sizes), V)
    params = parameters(model)
    for param in params.values():  # biases, too, are to be more than 0
        param.v += 0.3 * rng.standard_normal(param.v.shape).astype(np.float32)
    places = data.draw(st.integers(1, sizes["context"])) if reads_words(model) else sizes["context"]
    contexts = rng.integers(0, V, (B, places), np.int32)
    targets = rng.integers(0, V, B * places if reads_words(model) else B, np.int32)
    if reads_words(model):
        targets[1:][rng.random(targets.size - 1) < 0.3] = PADDING

    loss = xent_from_logits(model(contexts), targets)
    loss.back(1.0)
    theirs = {key: wide(param.v) for key, param in params.items()}
    logits = THEIRS[name](theirs, sizes, torch.tensor(contexts).long())
    expected = F.cross_entropy(logits, torch.tensor(targets).long(), ignore_index=PADDING)
    expected.backward()

    assert loss.v == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    grads = {key: tensor.grad.numpy() for key, tensor in theirs.items()}
    # A good guess's gradient, its chance less 1, is small, but rounded as the 1 is: hence the 0.1.
    largest = max(0.1, *(np.abs(grad).max() for grad in grads.values()))
    for key, param in params.items():
        assert_close(name, param.grad, grads[key], largest)


# --- bricks ------------------------------------------------------------------------------------------

BRICKS = {
    "embedding_bag": lambda table, ids: F.embedding_bag(ids.long(), table, mode="sum"),
    "linear": lambda w, b, h: F.linear(h, w, b),
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "blend": torch.lerp,
    "rms_norm": lambda x: F.rms_norm(x, x.shape[1:], eps=1e-5),
    "layer_norm": lambda gain, bias, x: F.layer_norm(x, x.shape[1:], gain, bias, eps=1e-5),
    "causal_attention": lambda qkv: self_attention(qkv.flatten(2), qkv.shape[3]).unflatten(2, qkv.shape[3:]),
    "xent_from_logits": lambda logits, targets: torch.nan_to_num(
        F.cross_entropy(logits, targets.long(), ignore_index=PADDING)
    ),
}


@pytest.mark.parametrize("name", BRICKS)
@given(data=st.data())
def test_value_and_gradients_of_bricks(name, data):
    row = ROWS[name]
    sizes = {letter: draw_size(data, name, letter) for letter in letters(row)}
    case = Case.draw(row, sizes, data.draw(st.integers(0, 2**32), label="seed"))
    theirs = [wide(value) for value in case.floats.values()]
    value = BRICKS[name](*theirs, *map(torch.tensor, case.ids.values()))
    u = np.random.default_rng(1).standard_normal(tuple(value.shape)).astype(np.float32)
    value.backward(torch.tensor(u).double())
    ours, grads = case.run(u if u.shape else float(u), wrap=Probe)
    expected = value.detach().numpy()
    assert_close(name, ours, expected, max(np.abs(expected).max(), 1.0))
    for grad, tensor in zip(grads, theirs, strict=True):
        expected = tensor.grad.numpy()
        assert_close(name, grad, expected, max(np.abs(expected).max(), np.abs(u).max()))


# --- optimisers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "options", "theirs"),
    [
        (SGD, {}, lambda p: torch.optim.SGD(p, lr=1)),
        (Momentum, {"keep": 0.8}, lambda p: torch.optim.SGD(p, lr=1, momentum=0.8)),
        (Adam, {}, lambda p: torch.optim.Adam(p, lr=1, betas=(0.9, 0.99))),
        (
            Adam,
            {"beta1": 0.85, "decay": 0.1},
            lambda p: torch.optim.AdamW(p, lr=1, betas=(0.85, 0.99), weight_decay=0.1),
        ),
    ],
)
def test_30_steps_of_every_optimiser(ours, options, theirs):
    rng = np.random.default_rng(0)
    param = Param(rng.standard_normal((7, 5)))
    tensor = wide(param.v)
    optimiser, reference = ours([param], **options), theirs([tensor])
    for step in range(30):
        rate = 0.1 * (1 - step / 30)
        param.grad[...] = rng.standard_normal((7, 5))
        tensor.grad = torch.tensor(param.grad).double()
        reference.param_groups[0]["lr"] = rate
        optimiser.step(rate)
        reference.step()
        assert_close(ours.__name__, param.v, tensor.detach().numpy(), 1.0)
