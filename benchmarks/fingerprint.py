"""What makes two results comparable: the same configuration, the same data, the same source."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import cache
from pathlib import Path

import autollm
import autollm.kernels
from benchmarks.workloads import ALPHABET, GOLDEN_STEPS, WORDS, WORKLOADS


@cache
def fingerprint() -> dict[str, str]:
    """Digests of each, and one of them all."""
    configuration = {
        name: [workload.batch, asdict(workload.config), workload.rate, workload.make.__name__]
        for name, workload in WORKLOADS.items()
    }
    parts = {
        "configuration": _digest(repr([configuration, GOLDEN_STEPS]).encode()),
        "data": _digest("\n".join([*WORDS, ALPHABET.characters]).encode()),
        "source": _digest(*map(_text, measured_sources())),
    }
    return parts | {"digest": _digest("".join(parts.values()).encode())}


def measured_sources() -> list[Path]:
    """The files whose code is timed, or times it: the package, its kernels, and the benchmarks."""
    package, kernels = Path(autollm.__file__).parent, Path(autollm.kernels.__file__).parent
    here = Path(__file__).parent
    timing = [here / f"{name}.py" for name in ("ceiling", "plugin", "tracing", "workloads")]
    return (
        sorted(package.glob("*.py")) + sorted(kernels.glob("*.py")) + timing + sorted(here.glob("test_*.py"))
    )


def _text(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")  # Git may write either


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
