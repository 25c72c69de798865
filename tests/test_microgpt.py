"""`gpt` at microgpt's sizes against a derivation of it in plain Python, one number at a time.

It follows the final microgpt (Karpathy, February 2026): a small engine that sorts its graph, and a model
that reads one letter after the other and keeps the keys and values of those so far in a list.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from autollm import xent_from_logits
from autollm.learning.alphabet import Alphabet
from autollm.learning.examples import make_sequences
from autollm.models import build, configure, parameters

ALPHABET = Alphabet("abcdefghijklmnopqrstuvwxyz")
BLOCK, WIDTH, HEADS = 16, 16, 4


class Scalar:
    """A number with its parents, each of them with the slope of this number along it."""

    def __init__(self, value, *parents):
        self.value, self.parents, self.grad = value, parents, 0.0

    def __add__(self, other):
        return Scalar(self.value + other.value, (self, 1.0), (other, 1.0))

    def __mul__(self, other):
        return Scalar(self.value * other.value, (self, other.value), (other, self.value))

    def __pow__(self, power):
        return Scalar(self.value**power, (self, power * self.value ** (power - 1)))

    def exp(self):
        power = math.exp(self.value)
        return Scalar(power, (self, power))

    def log(self):
        return Scalar(math.log(self.value), (self, 1 / self.value))

    def relu(self):
        return Scalar(max(self.value, 0.0), (self, float(self.value > 0)))

    def back(self):
        """Fill in the gradient of every number that this one was made of."""
        order, seen = [], set()

        def visit(scalar):
            if scalar not in seen:
                seen.add(scalar)
                for parent, _ in scalar.parents:
                    visit(parent)
                order.append(scalar)

        visit(self)
        self.grad = 1.0
        for scalar in reversed(order):
            for parent, slope in scalar.parents:
                parent.grad += slope * scalar.grad


def total(scalars):
    return Scalar(sum(x.value for x in scalars), *((x, 1.0) for x in scalars))


def dot(a, b):
    pairs = list(zip(a, b, strict=True))
    slopes = [*((x, y.value) for x, y in pairs), *((y, x.value) for x, y in pairs)]
    return Scalar(sum(x.value * y.value for x, y in pairs), *slopes)


def add(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]


def linear(matrix, x):
    return [dot(row, x) for row in matrix]


def softmax(scores):
    highest = max(score.value for score in scores)
    powers = [(score + Scalar(-highest)).exp() for score in scores]
    scale = total(powers) ** -1
    return [power * scale for power in powers]


def rms_norm(x):
    scale = (dot(x, x) * Scalar(1 / len(x)) + Scalar(1e-5)) ** -0.5
    return [number * scale for number in x]


def next_letter(weights, letter, place, keys, values):
    """The probability of every letter to come next; this letter's key and value join the lists."""
    size = WIDTH // HEADS
    x = rms_norm(add(weights["wte"][letter], weights["wpe"][place]))
    normed = rms_norm(x)
    query, key, value = (
        linear(weights["blocks.0.qkv"][part * WIDTH : (part + 1) * WIDTH], normed) for part in range(3)
    )
    keys.append(key)
    values.append(value)
    mixed = []
    for head in (slice(start, start + size) for start in range(0, WIDTH, size)):
        looks = softmax([dot(query[head], key[head]) * Scalar(size**-0.5) for key in keys])
        mixed += [dot(looks, column) for column in zip(*(value[head] for value in values), strict=True)]
    x = add(x, linear(weights["blocks.0.out"], mixed))
    hidden = [number.relu() for number in linear(weights["blocks.0.up"], rms_norm(x))]
    x = add(x, linear(weights["blocks.0.down"], hidden))
    return softmax(linear(weights["head"], x))


def mean_cross_entropy(weights, words):
    """The loss over all letters of all words, each read from its beginning."""
    losses = []
    for word in words:
        tokens, keys, values = [0, *ALPHABET.encode(word), 0], [], []
        for place, (letter, target) in enumerate(itertools.pairwise(tokens)):
            chances = next_letter(weights, letter, place, keys, values)
            losses.append(chances[target].log() * Scalar(-1.0))
    return total(losses) * Scalar(1 / len(losses))


@pytest.mark.parametrize(
    ("words", "spread"),
    [(["emma"], 1), (["bo", "olivia"], 5), (["maximilianmaria"], 5)],
    ids=["new weights", "two words", "a word that fills the block"],
)
def test_gpt_is_microgpt(words, spread):
    """Attention is almost even with new weights; with weights five times as large it decides."""
    config = configure("gpt", context=BLOCK, dim=WIDTH, heads=HEADS, layers=1)
    model = build(config, ALPHABET.size, seed=1)
    params = parameters(model)
    assert sum(param.v.size for param in params.values()) == 4192
    for param in params.values():
        param.v *= spread
    examples = make_sequences(words, ALPHABET, BLOCK)
    letters, targets = examples.pairs()
    loss = xent_from_logits(model(letters), targets)
    loss.back(1.0)

    weights = {name: [[Scalar(x) for x in row] for row in param.v.tolist()] for name, param in params.items()}
    expected = mean_cross_entropy(weights, words)
    expected.back()
    assert loss.v == pytest.approx(expected.value, rel=1e-6)
    for name, param in params.items():
        grad = np.array([[x.grad for x in row] for row in weights[name]])
        # A float32 is rounded by 6e-8 of itself at most, and some dozens of roundings add up on the way.
        np.testing.assert_allclose(param.grad, grad, rtol=0, atol=5e-6 * np.abs(grad).max(), err_msg=name)
