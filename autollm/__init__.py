"""AutoLLM: a language model you can explain to a five-year-old.

The bricks, for a model of your own: `Node`, `Param`, `dup`, the primitives, and the optimisers. They are
imported when one is first asked for: what only reads words or draws a table does without numba.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from autollm import interrupts

if TYPE_CHECKING:
    from autollm.bricks.attention import causal_attention
    from autollm.bricks.cross_entropy import xent_from_logits
    from autollm.bricks.embedding import embedding_bag, gather_rows, sum_over_k
    from autollm.bricks.layout import add_bias, add_positions, concat, reshape
    from autollm.bricks.matmul import linear, matmul_wh
    from autollm.bricks.norm import layer_norm, rms_norm
    from autollm.bricks.pointwise import add, blend, gelu, mul, relu, sigmoid, tanh
    from autollm.bricks.recurrent import gru, rnn
    from autollm.learning.optim import SGD, Adam, Momentum
    from autollm.node import Node, Param, dup

__all__ = [
    "SGD",
    "Adam",
    "Momentum",
    "Node",
    "Param",
    "add",
    "add_bias",
    "add_positions",
    "blend",
    "causal_attention",
    "concat",
    "dup",
    "embedding_bag",
    "gather_rows",
    "gelu",
    "gru",
    "layer_norm",
    "linear",
    "matmul_wh",
    "mul",
    "relu",
    "reshape",
    "rms_norm",
    "rnn",
    "sigmoid",
    "sum_over_k",
    "tanh",
    "xent_from_logits",
]

_HOMES = (  # `linear` is also a schedule of learning.optim, so that comes last
    "node", "bricks.attention", "bricks.cross_entropy", "bricks.embedding", "bricks.layout", "bricks.matmul",
    "bricks.norm", "bricks.pointwise", "bricks.recurrent", "learning.optim",
)  # fmt: skip

# In a wheel, kernels/ and data/ are inside this package. In a clone they stand beside it, so the folder
# above becomes a second place for its modules: `autollm.kernels` is the same wherever it is imported.
_FOLDER = os.path.dirname(os.path.abspath(__file__))
if not os.path.isdir(os.path.join(_FOLDER, "kernels")):
    __path__.append(os.path.dirname(_FOLDER))


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'autollm' has no attribute {name!r}")
    for home in _HOMES:
        module = importlib.import_module(f"autollm.{home}")
        if hasattr(module, name):
            return getattr(module, name)
    raise AssertionError(f"{name} has no home")


def __dir__() -> list[str]:
    return [*globals(), *__all__]


if interrupts.is_command():
    interrupts.interrupts.install()  # from here on, so that also while numba is imported Ctrl-C is one line
    # As if these were not there: numba would take 0.2 s to load them for what no kernel uses.
    for name in ("scipy", "coverage", "cffi"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
