"""Forward and backward kernels: numba functions over float32, C-contiguous arrays.

The rules that all of them follow:

- inputs first, outputs last; outputs are passed in, nothing is returned but a scalar;
- a forward kernel writes its output; a backward kernel gets, with each array for a share, a number `add`: 1,
  add the share to what is there, or 0, write it, whatever is there;
- sizes and ids are checked inside, so that no call can touch memory outside an array: sizes by what the
  decorator says of the arguments, where letters can say it.
"""

import autollm.kernels.simd_llvm  # noqa: F401  (tells numba how vectors and tiles compile)
