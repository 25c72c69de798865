"""GPT-2 (Radford et al. 2019), as makemore has it."""

from __future__ import annotations

import numpy as np

from autollm.bricks.attention import causal_attention
from autollm.bricks.embedding import gather_rows
from autollm.bricks.layout import add_positions, reshape
from autollm.bricks.matmul import linear, matmul_wh
from autollm.bricks.norm import layer_norm
from autollm.bricks.pointwise import add, gelu
from autollm.buffers import Ids
from autollm.node import Node, Param, dup


class GPT2:
    """The plan of `GPT` with LayerNorm (and one more before the head), GELU and biases:

    x = wte[c] + wpe;  in every layer  x = x + out(attention(qkv(norm(x))));
    x = x + down(gelu(up(norm(x))));  logits = head @ norm(x)
    """

    sequence = True

    def __init__(
        self, vocabulary: int, context: int, dim: int, heads: int, layers: int, rng: np.random.Generator
    ) -> None:
        def matrix(rows: int, columns: int, scale: float = 1.0) -> Param:
            return Param(scale * rng.standard_normal((rows, columns)) / np.sqrt(columns))

        def vectors(value: float, size: int) -> list[Param]:
            return [Param(np.full(size, value)) for _ in range(layers)]

        self.heads = heads
        self.wte = Param(0.1 * rng.standard_normal((vocabulary, dim)))
        self.wpe = Param(0.1 * rng.standard_normal((context, dim)))
        residual = 1 / np.sqrt(2 * layers)  # two additions to x in every layer (GPT-2, section 2.3)
        self.norm1_gain, self.norm1_bias = vectors(1, dim), vectors(0, dim)
        self.qkv, self.qkv_bias = [matrix(3 * dim, dim) for _ in range(layers)], vectors(0, 3 * dim)
        self.out, self.out_bias = [matrix(dim, dim, residual) for _ in range(layers)], vectors(0, dim)
        self.norm2_gain, self.norm2_bias = vectors(1, dim), vectors(0, dim)
        self.up, self.up_bias = [matrix(4 * dim, dim) for _ in range(layers)], vectors(0, 4 * dim)
        self.down, self.down_bias = [matrix(dim, 4 * dim, residual) for _ in range(layers)], vectors(0, dim)
        self.norm_gain, self.norm_bias = Param(np.ones(dim)), Param(np.zeros(dim))
        self.head = matrix(vocabulary, dim)

    def __call__(self, words: Ids) -> Node:
        (B, T), D = words.shape, self.wte.v.shape[1]
        x: Node = reshape(add_positions(gather_rows(self.wte, words), self.wpe), B * T, D)
        for layer in range(len(self.qkv)):
            x, h = dup(x)
            h = layer_norm(self.norm1_gain[layer], self.norm1_bias[layer], h)
            h = linear(self.qkv[layer], self.qkv_bias[layer], h)
            h = causal_attention(reshape(h, B, T, 3, self.heads, D // self.heads))
            h = linear(self.out[layer], self.out_bias[layer], reshape(h, B * T, D))
            x, h = dup(add(x, h))
            h = layer_norm(self.norm2_gain[layer], self.norm2_bias[layer], h)
            h = gelu(linear(self.up[layer], self.up_bias[layer], h))
            x = add(x, linear(self.down[layer], self.down_bias[layer], h))
        return matmul_wh(self.head, layer_norm(self.norm_gain, self.norm_bias, x))  # (B * T, V)
