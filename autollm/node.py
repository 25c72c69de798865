"""A derivative is just a function: every computation returns a value that knows whom to blame.

    Node(v, back)     v: the value we computed;  back(g): "inputs, this is how much you matter"

A primitive computes `v` from its inputs' values and returns a Node whose `back`, given the upstream
sensitivity `g` (how much the loss changes when `v` does), pushes to every input the input's own
share. Calling functions composes values; their `back`s, calling each other, compose derivatives in
reverse. That is all of reverse-mode automatic differentiation: no tape, no graph object, no global
state (Conal Elliott, "The Simple Essence of Automatic Differentiation", 2018).

    >>> x = Param([[3.0]])
    >>> def square(a):
    ...     return Node(a.v * a.v, lambda g: a.back(2 * a.v * g))
    >>> y = square(square(x))           # x to the fourth power
    >>> y.back(np.float32(1))           # d x^4 / dx = 4 x^3
    >>> float(y.v[0, 0]), float(x.grad[0, 0])
    (81.0, 108.0)

Why is there no topological sort? Other engines need one because a value may be used twice:

    b = a + a
    c = b + b

Here `c.back` would call `b.back` once for each use of b, and each of those calls a twice: right, but
the work doubles at every fork, 2^n calls for n of them. An engine that sorts the graph first visits b
once, after both shares have arrived. Elliott's answer needs no graph: copying is itself a primitive,
and the derivative of a copy is a sum. So a *Node* that is used twice is copied first,

    a1, a2 = dup(a)
    b1, b2 = dup(add(a1, a2))
    c = add(b1, b2)

and `dup` adds up what its copies report and passes it on once. A `Param` may be used freely: nothing
lies below it, it only fills its bucket.

How deep may a chain be? Every primitive in it takes one Python call on the way back, a `dup` two, so
with Python's default limit of 1,000 nested calls a chain of about 900 primitives works; a deeper one
raises RecursionError, and `sys.setrecursionlimit` lifts it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from autollm import buffers
from autollm.buffers import Array


def _nobody(g: Any) -> None:
    """A constant has nobody to blame."""


class Node:
    """A value `v` and its backpropagator `back(g)`. Without a `back` it is a constant.

    `v` is a C-contiguous float32 array, or a float for a loss. `back` takes a `g` of v's shape, must
    not change it, and returns nothing.
    """

    __slots__ = ("back", "v")

    def __init__(self, v: Any, back: Callable[[Any], None] = _nobody) -> None:
        self.v = v
        self.back = back

    def bucket(self) -> tuple[Array, int]:
        """Where a primitive puts this Node's share, to be passed to `back`: an array of v's shape, and 0.

        0 says "write": what the array holds means nothing yet. A Param's bucket comes with 1.
        """
        return buffers.empty(self.v.shape), 0

    def __repr__(self) -> str:
        return _shown("Node", self.v)


class Param:
    """A trainable knob: a value `v` with a bucket `grad` of the same shape for its gradient.

    `back(g)` adds to the bucket, so a Param may be used as often as one likes; whoever reads the
    gradient empties the bucket (the optimiser does). `v` is copied to a C-contiguous float32 array.

    To assign to `v` or `grad` copies the numbers into the array that is there, which an optimiser may know as
    a part of its own vector; ValueError if the shape is another.
    """

    __slots__ = ("grad", "v")
    v: Array
    grad: Array

    def __init__(self, v: npt.ArrayLike) -> None:
        value = np.array(v, np.float32, order="C")
        self.keep_in(value, np.zeros_like(value))

    def keep_in(self, v: Array, grad: Array) -> None:
        """Let these arrays be the value and the bucket from now on."""
        object.__setattr__(self, "v", v)
        object.__setattr__(self, "grad", grad)

    def __setattr__(self, name: str, numbers: npt.ArrayLike) -> None:
        array = getattr(self, name)
        if numbers is array:
            return
        if np.shape(numbers) != array.shape:
            raise ValueError(f"{name} of shape {np.shape(numbers)} for a Param of {array.shape}")
        array[...] = numbers

    def __getstate__(self) -> tuple[Array, Array]:
        return self.v, self.grad

    def __setstate__(self, state: tuple[Array, Array]) -> None:
        """What a copy, or a pickled Param, is made of: arrays of its own."""
        v, grad = (np.array(array, np.float32, order="C") for array in state)
        self.keep_in(v, grad)

    def bucket(self) -> tuple[Array, int]:
        """The bucket itself, and 1, which says "add": a primitive adds its share to what is there."""
        return self.grad, 1

    def back(self, g: Any) -> None:
        """Add `g` to the bucket; when `g` is the bucket, its share is already in it."""
        grad = self.grad
        if g is grad:
            return
        if np.shape(g) != grad.shape:
            raise ValueError(f"a gradient of shape {np.shape(g)} for a Param of {grad.shape}")
        grad += g

    def __repr__(self) -> str:
        return _shown("Param", self.v)


def _shown(name: str, v: Any) -> str:
    """A value as NumPy shows it, with its shape if not all of it is shown."""
    numbers = np.array2string(np.asarray(v), separator=", ", prefix=f"{name}(", threshold=50)
    shape = f", shape={np.shape(v)}" if np.size(v) > 50 else ""
    return f"{name}({numbers}{shape})"


Input = Node | Param  # what a primitive takes


def pullback(x: Input, backward: Callable[..., None], *known: Any) -> Callable[[Any], None]:
    """The `back` of a primitive of one input x: `backward(*known, g, dx, add)` puts x's share into dx."""

    def back(g: Any) -> None:
        dx, add = x.bucket()
        backward(*known, g, dx, add)
        x.back(dx)

    return back


class _Copies:
    """What the copies of one value share: the sum of their reports, and how many are still due."""

    __slots__ = ("count", "due", "total", "x")

    def __init__(self, x: Node | Param, count: int) -> None:
        self.x, self.count, self.due = x, count, count
        self.total: Any = None

    def report(self, g: Any) -> None:
        self.total = g if self.total is None else self.total + g
        self.due -= 1
        if self.due == 0:
            total, self.total, self.due = self.total, None, self.count
            self.x.back(total)

    def __del__(self) -> None:
        if self.due != self.count:
            warnings.warn(
                f"dup: {self.due} of {self.count} copies were not used in what was differentiated, "
                "so the gradient stopped there; make as many copies as are used",
                RuntimeWarning,
                stacklevel=2,
            )


def dup(x: Node | Param, count: int = 2) -> tuple[Node, ...]:
    """Copy a value: `count` Nodes with x's value. The derivative of a copy is a sum.

    Each copy must be used once in what is differentiated; when all have reported, their sum goes to
    `x`, in one call. If some never report, the gradient stops here and a RuntimeWarning says so.
    """
    if count < 1:
        raise ValueError(f"dup makes at least 1 copy, got {count}")
    copies = _Copies(x, count)
    return tuple(Node(x.v, copies.report) for _ in range(count))
