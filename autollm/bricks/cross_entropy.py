"""How surprised the model was by the right answers."""

from __future__ import annotations

from typing import Any

from autollm.buffers import Ids, empty
from autollm.kernels.cross_entropy import (
    masked_xent_from_logits_forward,
    xent_from_logits_backward,
    xent_from_logits_forward,
)
from autollm.node import Input, Node


def xent_from_logits(logits: Input, targets: Ids) -> Node:
    """Mean cross-entropy: logits (B, V), targets (B,) int32 -> a float, in nats.

    ELI5: "how surprised were we by the right answer?" loss = mean_b -log softmax(logits[b])[targets[b]],
    and its derivative is (softmax(logits) - onehot(targets)) / B (Bishop 2006, eq. 4.109), which the
    forward pass saves. Raises IndexError for a target outside 0..V-1.
    """
    surprise = empty(logits.v.shape)
    loss = xent_from_logits_forward(logits.v, targets, surprise)

    def back(g: Any = 1.0) -> None:
        if g == 1.0 and isinstance(logits, Node):
            logits.back(surprise)  # nothing to scale and nothing to add to
            return
        dlogits = logits.bucket()
        xent_from_logits_backward(surprise, g, dlogits)
        logits.back(dlogits)

    return Node(loss, back)


def masked_xent_from_logits(logits: Input, targets: Ids) -> Node:
    """`xent_from_logits` over the rows whose target is not -1: logits (B, V), targets (B,) -> nats.

    For words of different lengths in one array: what pads them is left out of the mean, which is 0 if
    everything is. Raises IndexError for a target outside -1..V-1.
    """
    surprise = empty(logits.v.shape)
    loss = masked_xent_from_logits_forward(logits.v, targets, surprise)

    def back(g: Any = 1.0) -> None:
        if g == 1.0 and isinstance(logits, Node):
            logits.back(surprise)  # nothing to scale and nothing to add to
            return
        dlogits = logits.bucket()
        xent_from_logits_backward(surprise, g, dlogits)
        logits.back(dlogits)

    return Node(loss, back)
