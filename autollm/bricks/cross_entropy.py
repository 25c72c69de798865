"""How surprised the model was by the right answers."""

from __future__ import annotations

from typing import Any

from autollm import buffers
from autollm.buffers import Ids
from autollm.kernels.cross_entropy import xent_from_logits_backward, xent_from_logits_forward
from autollm.node import Input, Node


def xent_from_logits(logits: Input, targets: Ids) -> Node:
    """Mean cross-entropy: logits (B, V), targets (B,) int32 -> a float, in nats.

    ELI5: "how surprised were we by the right answer?" loss = mean_b -log softmax(logits[b])[targets[b]],
    and its derivative is (softmax(logits) - onehot(targets)) / B (Bishop 2006, eq. 4.109), which the
    forward pass saves. Rows with target -1, which pad words of different lengths, are left out, and
    without any others the mean is 0. Raises IndexError for a target outside -1..V-1.
    """
    dlogits = buffers.empty(logits.v.shape)
    loss = xent_from_logits_forward(logits.v, targets, dlogits)

    def back(g: Any = 1.0) -> None:
        if g == 1.0:
            logits.back(dlogits)  # nothing to scale
            return
        share, add = logits.bucket()
        xent_from_logits_backward(dlogits, g, share, add)
        logits.back(share)

    return Node(loss, back)
