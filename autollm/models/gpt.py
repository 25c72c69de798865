"""GPT: letters that ask the letters before them (Vaswani et al. 2017; Radford et al. 2018, 2019)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from autollm.layers import add_positions, causal_attention, layer_norm, linear, reshape, rms_norm
from autollm.node import Node, Param, dup
from autollm.pointwise import add, gelu, relu
from autollm.primitives import Ids, gather_rows, matmul_wh


class GPT:
    """microgpt: token and position embeddings, RMSNorm, attention, a ReLU MLP, no biases.

    x = norm(wte[c] + wpe);  in every layer  x = x + O @ attention(QKV @ norm(x));
    x = x + down @ relu(up @ norm(x));  logits = head @ x
    """

    sequence: ClassVar[bool] = True

    def __init__(
        self, vocabulary: int, context: int, dim: int, heads: int, layers: int, rng: np.random.Generator
    ) -> None:
        def matrix(rows: int, columns: int) -> Param:
            return Param(0.08 * rng.standard_normal((rows, columns)))

        self.heads = heads
        self.wte, self.wpe = matrix(vocabulary, dim), matrix(context, dim)
        self.qkv = [matrix(3 * dim, dim) for _ in range(layers)]
        self.out = [matrix(dim, dim) for _ in range(layers)]
        self.up = [matrix(4 * dim, dim) for _ in range(layers)]
        self.down = [matrix(dim, 4 * dim) for _ in range(layers)]
        self.head = matrix(vocabulary, dim)

    def __call__(self, words: Ids) -> Node:
        (B, T), D = words.shape, self.wte.v.shape[1]
        emb = add_positions(gather_rows(self.wte, words), self.wpe)  # (B, T, D)
        x = rms_norm(reshape(emb, B * T, D))
        for qkv, out, up, down in zip(self.qkv, self.out, self.up, self.down, strict=True):
            x, h = dup(x)
            h = reshape(matmul_wh(qkv, rms_norm(h)), B, T, 3, self.heads, D // self.heads)
            h = reshape(causal_attention(h), B * T, D)
            x, h = dup(add(x, matmul_wh(out, h)))
            x = add(x, matmul_wh(down, relu(matmul_wh(up, rms_norm(h)))))
        return matmul_wh(self.head, x)  # (B * T, V)


class GPT2:
    """GPT-2 as makemore has it: the same plan with LayerNorm (one more before the head), GELU and biases."""

    sequence: ClassVar[bool] = True

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
