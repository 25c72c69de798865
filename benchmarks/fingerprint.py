"""What makes two results comparable: the same configuration, the same data, the same source."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import cache
from pathlib import Path

import autollm
import autollm.kernels
from benchmarks.workloads import ALPHABET, GOLDEN_STEPS, MIXED, RATED, WORDS, WORKLOADS


@cache
def fingerprint() -> dict[str, str]:
    """Digests of each, and one of them all."""
    configuration = {
        name: [
            workload.batch,
            asdict(workload.config),
            workload.rate,
            workload.make.__name__,
            workload.optimiser,
        ]
        for name, workload in WORKLOADS.items()
    }
    parts = {
        "configuration": _digest(repr([configuration, GOLDEN_STEPS, RATED, MIXED]).encode()),
        "data": _digest("\n".join([*WORDS, ALPHABET.characters]).encode()),
        "source": _digest(*sorted(map(_content, measured_sources()))),
    }
    return parts | {"digest": _digest("".join(parts.values()).encode())}


def measured_sources() -> set[Path]:
    """The files whose code is timed, or times it: the package, its kernels, and the benchmarks."""
    here = Path(__file__).parent
    timing = ("calibrators", "ceiling", "copies", "plugin", "tracing", "worker", "workloads")
    found = {here / f"{name}.py" for name in timing} | set(here.glob("test_*.py"))
    for package in (autollm, autollm.kernels):  # in the repository, the kernels stand elsewhere
        found |= set(Path(str(package.__file__)).parent.rglob("*.py"))
    return found


def _content(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")  # Git may write either


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
