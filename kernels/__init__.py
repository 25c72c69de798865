"""Forward and backward kernels: numba functions over float32, C-contiguous arrays.

The rules that all of them follow:

- inputs first, outputs last; outputs are passed in, nothing is returned but a scalar;
- a forward kernel overwrites its output, a backward kernel *adds* to its outputs;
- shapes and ids are checked inside, so that no call can touch memory outside an array.
"""

import autollm.kernels.simd_llvm  # noqa: F401  (tells numba how vectors and tiles compile)
