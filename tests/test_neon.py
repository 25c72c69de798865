"""Kernels compiled for ARM, which can be looked at without one: `show`, run with the settings of such a
processor, prints the innermost loops of a matrix product."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numba
import pytest
from commands import python
from llvmlite import binding

from autollm.kernels.kernel import OPTIONS

ROOT = Path(__file__).parent.parent
TRIPLE = "aarch64-unknown-linux-gnu"
STORES = re.compile(r"st\w*\s+[qsvdw{].*\[(?!sp)").match  # anywhere but on the stack


def assembly(function, signature):
    """What a function's instructions, as LLVM has them for this machine, become on an ARM processor."""
    (code,) = numba.njit(signature, **OPTIONS)(function).inspect_llvm().values()
    machine = binding.Target.from_triple(TRIPLE).create_target_machine(cpu="neoverse-n1", opt=3)
    for pattern, other in (
        (r'target triple = ".*"', f'target triple = "{TRIPLE}"'),
        (r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"'),
        (r'"target-(cpu|features)"="[^"]*"', ""),
        (r"(tail |notail )?call i8 @llvm\.x86\.atomic.*", "freeze i8 0"),  # in giving memory back
    ):
        code = re.sub(pattern, other, code)
    return machine.emit_assembly(binding.parse_assembly(code))


def innermost_loops(text):
    """The instructions between a label and a branch back to it, with no other such branch between."""
    lines = [line.split("//")[0].strip() for line in text.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\.LBB\w+:", line)}
    loops = []
    for i, line in enumerate(lines):
        target = re.fullmatch(r"[bct]\S*\s.*?(\.LBB\w+)", line)
        if target and labels[target[1]] < i:
            loops.append((labels[target[1]], i))
    inner = [(a, b) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]
    return [[line for line in lines[a : b + 1] if not line.startswith(".")] for a, b in inner]


def show():
    from autollm.kernels import simd
    from autollm.kernels.matmul import product

    def of_rows(a, x, out):
        """The product of a layer without what comes before it, which takes as long again to compile."""
        product(a, a.shape[1], 1, a.shape[1], x, out, False)

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    loops = innermost_loops(assembly(of_rows, (numba.float32[:, ::1],) * 3))
    print(json.dumps([simd.LANES, simd.ROWS, loops]))


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="kernels run as plain Python")
def test_a_product_on_arm_stays_in_registers(tmp_path):
    """The loop has an instruction for each register of a tile, or of all but one row, and no spills."""
    settings = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+neon", "NUMBA_CACHE_DIR": str(tmp_path)}
    program = "import sys; sys.path.append('tests'); import test_neon; test_neon.show()"
    done = python("-c", program, warm="imported", cwd=ROOT, env=os.environ | settings)
    if "No available targets" in done.stderr:
        pytest.skip("this LLVM knows no ARM")
    lanes, rows, loops = json.loads(done.stdout)
    assert (lanes, rows) == (8, 9)
    # Where a tile is stored, the branch back is that of the loop around, over whatever lies between.
    sums = [loop for loop in loops if "fmla" in "".join(loop) and not any(map(STORES, loop))]
    products = max(sums, key=lambda loop: sum(line.startswith("fmla") for line in loop))
    assert sum(line.startswith("fmla") for line in products) in (2 * rows, 2 * (rows - 1))
    assert not any("[sp" in line for loop in sums for line in loop)
    assert len(products) <= 2 * 2 * rows
