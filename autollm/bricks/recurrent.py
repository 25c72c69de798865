"""Reading words letter by letter, with a state."""

from __future__ import annotations

from autollm import buffers
from autollm.buffers import Array
from autollm.kernels.recurrent import gru_backward, gru_forward, rnn_backward, rnn_forward
from autollm.node import Input, Node


def rnn(r: Input, x: Input) -> Node:
    """A simple recurrent cell: r (H, H), x (B, T, H) -> the states h (B, T, H).

    h[t] = tanh(x[t] + r @ h[t-1]), where x[t] is what letter t says and h[-1] = 0 (Elman 1990).
    ELI5: "keep a note about the word so far, and write it anew after every letter". Blame goes the other way:
    every state passes its share on to the one before it.
    """
    h = buffers.empty(x.v.shape)
    rnn_forward(r.v, x.v, h)

    def back(g: Array) -> None:
        (dr, add_r), (dx, add_x) = r.bucket(), x.bucket()
        rnn_backward(r.v, h, g, dr, add_r, dx, add_x)
        r.back(dr)
        x.back(dx)

    return Node(h, back)


def gru(r: Input, x: Input) -> Node:
    """A gated recurrent unit: r (3, H, H), x (B, T, 3, H) -> the states h (B, T, H).

    h[t] = (1 - z) * h[t-1] + z * tanh(x[t, 2] + r[2] @ (reset * h[t-1])), h[-1] = 0, with two switches,
    reset = sigmoid(x[t, 0] + r[0] @ h[t-1]) and z = sigmoid(x[t, 1] + r[1] @ h[t-1]), for every number of the
    state (Cho et al. 2014, eqs. 5 to 8, where z and 1 - z are exchanged).
    ELI5: "of every line of the note, decide whether to keep it".
    """
    B, T, H = (x.v.shape[axis] for axis in (0, 1, -1))
    gates, h = buffers.empty(x.v.shape), buffers.empty((B, T, H))
    gru_forward(r.v, x.v, gates, h)

    def back(g: Array) -> None:
        (dr, add_r), (dx, add_x) = r.bucket(), x.bucket()
        gru_backward(r.v, gates, h, g, dr, add_r, dx, add_x)
        r.back(dr)
        x.back(dx)

    return Node(h, back)
