"""Every model once more, from its paper's equations: float64 NumPy, one line for each line of the paper.

A function takes a model's parameters by name, its sizes, and letters (B, K or T), and returns its logits. A
model that has no entry in LOGITS fails its tests.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from table import attention, layer_norm, sigmoid

Params = dict[str, np.ndarray]
Sizes = dict[str, int]


def bag(p: Params, sizes: Sizes, contexts: np.ndarray) -> np.ndarray:
    """Mikolov et al. 2013, continuous bag of words, with a sum for the mean: W @ (E[c1] + ... + E[cK])."""
    return p["E"][contexts].sum(axis=1) @ p["W"].T


def bigram(p: Params, sizes: Sizes, contexts: np.ndarray) -> np.ndarray:
    """The last letter's row of the table."""
    return p["W"][contexts[:, -1]]


def mlp(p: Params, sizes: Sizes, contexts: np.ndarray) -> np.ndarray:
    """Bengio et al. 2003, eq. (1): y = b + U tanh(d + H x), x being the codes put end to end."""
    x = p["E"][contexts].reshape(len(contexts), -1)  # (B, K * D)
    H = np.concatenate(np.split(p["H"], sizes["context"]), axis=1)  # (hidden, K * D)
    return p["b"] + np.tanh(p["d"] + x @ H.T) @ p["U"].T


def scores_of_states(p: Params, words: np.ndarray, step: Callable[..., np.ndarray]) -> np.ndarray:
    """Logits (B * T, V) from the states of a network, h[t] = step(code of letter t, h[t-1]), h[-1] = 0."""
    h, states = np.zeros((len(words), p["U"].shape[1])), []
    for letters in words.T:
        h = step(p["E"][letters], h)
        states.append(h)
    return (np.stack(states, axis=1) @ p["U"].T + p["u"]).reshape(words.size, -1)


def rnn(p: Params, sizes: Sizes, words: np.ndarray) -> np.ndarray:
    """Elman 1990; Mikolov et al. 2010, eqs. (1) to (3), with tanh."""
    return scores_of_states(p, words, lambda x, h: np.tanh(x @ p["W"].T + p["b"] + h @ p["R"].T))


def gru(p: Params, sizes: Sizes, words: np.ndarray) -> np.ndarray:
    """Cho et al. 2014, eqs. (5) to (8), with z and 1 - z exchanged, and biases."""

    def step(x: np.ndarray, h: np.ndarray) -> np.ndarray:
        for_r, for_z, for_candidate = np.split(x @ p["W"].T + p["b"], 3, axis=1)
        r, z = sigmoid(for_r + h @ p["R"][0].T), sigmoid(for_z + h @ p["R"][1].T)
        candidate = np.tanh(for_candidate + (r * h) @ p["R"][2].T)
        return (1 - z) * h + z * candidate

    return scores_of_states(p, words, step)


def self_attention(qkv: np.ndarray, heads: int) -> np.ndarray:
    """Vaswani et al. 2017, eq. (1), for every head: (B, T, 3 * D) -> (B, T, D)."""
    B, T, _ = qkv.shape
    return attention(qkv.reshape(B, T, 3, heads, -1)).reshape(B, T, -1)


def gpt(p: Params, sizes: Sizes, words: np.ndarray) -> np.ndarray:
    """microgpt (Karpathy 2026): GPT-2 with RMSNorm, ReLU and without biases."""

    def norm(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)

    x = norm(p["wte"][words] + p["wpe"][: words.shape[1]])  # (B, T, D)
    for i in range(sizes["layers"]):
        x = x + self_attention(norm(x) @ p[f"blocks.{i}.qkv"].T, sizes["heads"]) @ p[f"blocks.{i}.out"].T
        x = x + np.maximum(norm(x) @ p[f"blocks.{i}.up"].T, 0) @ p[f"blocks.{i}.down"].T
    return (x @ p["head"].T).reshape(words.size, -1)


def gpt2(p: Params, sizes: Sizes, words: np.ndarray) -> np.ndarray:
    """Radford et al. 2019, section 2.3: a norm before every part, and one at the end."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        rows = x.reshape(-1, x.shape[-1])
        return layer_norm(p[f"{name}.gain"], p[f"{name}.bias"], rows).reshape(x.shape)

    def layer(x: np.ndarray, name: str) -> np.ndarray:
        return x @ p[f"{name}.w"].T + p[f"{name}.b"]

    def gelu(x: np.ndarray) -> np.ndarray:
        """Hendrycks and Gimpel 2016, eq. (2)."""
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    x = p["wte"][words] + p["wpe"][: words.shape[1]]  # (B, T, D)
    for block in (f"blocks.{i}" for i in range(sizes["layers"])):
        qkv = layer(norm(x, f"{block}.norm1"), f"{block}.qkv")
        x = x + layer(self_attention(qkv, sizes["heads"]), f"{block}.out")
        x = x + layer(gelu(layer(norm(x, f"{block}.norm2"), f"{block}.up")), f"{block}.down")
    return (norm(x, "norm") @ p["head"].T).reshape(words.size, -1)


LOGITS: dict[str, Callable[[Params, Sizes, np.ndarray], np.ndarray]] = {
    "bag": bag, "bigram": bigram, "mlp": mlp, "rnn": rnn, "gru": gru, "gpt": gpt, "gpt2": gpt2,
}  # fmt: skip
