"""GPT: letters that ask the letters before them (Vaswani et al. 2017; Radford et al. 2018)."""

from __future__ import annotations

from typing import ClassVar

from autollm.bricks.attention import causal_attention
from autollm.bricks.embedding import gather_rows
from autollm.bricks.layout import add_positions, reshape
from autollm.bricks.matmul import matmul_wh
from autollm.bricks.norm import rms_norm
from autollm.bricks.pointwise import add, relu
from autollm.buffers import Ids
from autollm.models.model import Initial, Model, Recipe
from autollm.node import Node, dup

SCALE = 0.08  # of all initial values


class Block:
    """x = x + out @ attention(qkv @ norm(x));  x = x + down @ relu(up @ norm(x))"""

    def __init__(self, dim: int, heads: int, new: Initial) -> None:
        self.heads = heads
        self.qkv = new.normal(3 * dim, dim, scale=SCALE)
        self.out = new.normal(dim, dim, scale=SCALE)
        self.up = new.normal(4 * dim, dim, scale=SCALE)
        self.down = new.normal(dim, 4 * dim, scale=SCALE)

    def __call__(self, x: Node, B: int, T: int) -> Node:
        """x (B * T, D) -> (B * T, D)"""
        D = x.v.shape[1]
        x, h = dup(x)
        h = reshape(matmul_wh(self.qkv, rms_norm(h)), B, T, 3, self.heads, D // self.heads)
        h = reshape(causal_attention(h), B * T, D)
        x, h = dup(add(x, matmul_wh(self.out, h)))
        return add(x, matmul_wh(self.down, relu(matmul_wh(self.up, rms_norm(h)))))


class GPT(Model):
    """microgpt: token and position embeddings, RMSNorm, attention, a ReLU MLP, no biases.

    x = norm(wte[c] + wpe), then the blocks one after the other, then logits = head @ x
    """

    sequence = True
    recipe = Recipe(optimiser="adam", lr=0.006, batch=16)
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
        self.wte = new.normal(vocabulary, dim, scale=SCALE)
        self.wpe = new.normal(context, dim, scale=SCALE)
        self.blocks = [Block(dim, heads, new) for _ in range(layers)]
        self.head = new.normal(vocabulary, dim, scale=SCALE)

    def __call__(self, words: Ids) -> Node:
        (B, T), D = words.shape, self.wte.v.shape[1]
        emb = add_positions(self.wpe, gather_rows(self.wte, words))  # (B, T, D)
        x = rms_norm(reshape(emb, B * T, D))
        for block in self.blocks:
            x = block(x, B, T)
        return matmul_wh(self.head, x)  # (B * T, V)
