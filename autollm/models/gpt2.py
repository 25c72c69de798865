"""GPT-2 (Radford et al. 2019), as makemore has it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from autollm.bricks.attention import causal_attention
from autollm.bricks.embedding import gather_rows
from autollm.bricks.layout import add_positions, reshape
from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.norm import layer_norm
from autollm.bricks.pointwise import add, gelu
from autollm.buffers import Ids
from autollm.models.model import Initial, Model, Recipe
from autollm.node import Node, dup


class Linear:
    """w @ x + b"""

    def __init__(self, rows: int, columns: int, new: Initial, scale: float = 1.0) -> None:
        self.w = new.normal(rows, columns, scale=scale / np.sqrt(columns))
        self.b = new.constant(0.0, rows)

    def __call__(self, x: Node) -> Node:
        return linear(self.w, self.b, x)


class Norm:
    """LayerNorm with a gain and a bias."""

    def __init__(self, dim: int, new: Initial) -> None:
        self.gain, self.bias = new.constant(1.0, dim), new.constant(0.0, dim)

    def __call__(self, x: Node) -> Node:
        return layer_norm(self.gain, self.bias, x)


class Block:
    """x = x + out(attention(qkv(norm1(x))));  x = x + down(gelu(up(norm2(x))))"""

    def __init__(self, dim: int, heads: int, layers: int, new: Initial) -> None:
        self.heads = heads
        residual = 1 / np.sqrt(2 * layers)  # two additions to x in every block (GPT-2, section 2.3)
        self.norm1, self.qkv = Norm(dim, new), Linear(3 * dim, dim, new)
        self.out = Linear(dim, dim, new, residual)
        self.norm2, self.up = Norm(dim, new), Linear(4 * dim, dim, new)
        self.down = Linear(dim, 4 * dim, new, residual)

    def __call__(self, x: Node, B: int, T: int) -> Node:
        """x (B * T, D) -> (B * T, D)"""
        D = x.v.shape[1]
        x, h = dup(x)
        h = causal_attention(reshape(self.qkv(self.norm1(h)), B, T, 3, self.heads, D // self.heads))
        x, h = dup(add(x, self.out(reshape(h, B * T, D))))
        return add(x, self.down(gelu(self.up(self.norm2(h)))))


class GPT2(Model):
    """The plan of `GPT` with LayerNorm (and one more before the head), GELU and biases:

    x = wte[c] + wpe, then the blocks one after the other, then logits = head @ norm(x)
    """

    sequence = True
    recipe = Recipe(optimiser="adamw", lr=0.007, batch=32)
    at_most: ClassVar = {"layers": 1000}  # far more than Python's nested calls allow by default

    def __init__(
        self,
        vocabulary: int,
        new: Initial,
        *,
        context: int = 16,
        dim: int = 32,
        heads: int = 4,
        layers: int = 1,
    ) -> None:
        self.wte = new.normal(vocabulary, dim, scale=0.1)
        self.wpe = new.normal(context, dim, scale=0.1)
        self.blocks = [Block(dim, heads, layers, new) for _ in range(layers)]
        self.norm = Norm(dim, new)
        self.head = new.normal(vocabulary, dim, scale=1 / np.sqrt(dim))

    def __call__(self, words: Ids) -> Node:
        (B, T), D = words.shape, self.wte.v.shape[1]
        x: Node = reshape(add_positions(self.wpe, gather_rows(self.wte, words)), B * T, D)
        for block in self.blocks:
            x = block(x, B, T)
        return matmul_wh(self.head, self.norm(x))  # (B * T, V)
