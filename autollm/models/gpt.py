"""GPT: letters that ask the letters before them (Vaswani et al. 2017; Radford et al. 2018)."""

from __future__ import annotations

import numpy as np

from autollm.bricks.attention import causal_attention
from autollm.bricks.embedding import gather_rows
from autollm.bricks.layout import add_positions, reshape
from autollm.bricks.matmul import matmul_wh
from autollm.bricks.norm import rms_norm
from autollm.bricks.pointwise import add, relu
from autollm.buffers import Ids
from autollm.node import Node, Param, dup


class GPT:
    """microgpt: token and position embeddings, RMSNorm, attention, a ReLU MLP, no biases.

    x = norm(wte[c] + wpe);  in every layer  x = x + O @ attention(QKV @ norm(x));
    x = x + down @ relu(up @ norm(x));  logits = head @ x
    """

    sequence = True

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
