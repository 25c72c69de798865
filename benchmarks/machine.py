"""The machine and its software, as far as they decide how fast a run is; never the host's name."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cpuinfo  # type: ignore[import-untyped]
from llvmlite import binding as llvm

SETTINGS = (  # environment variables that change speed
    "MKL_NUM_THREADS", "NUMBA_CPU_FEATURES", "NUMBA_CPU_NAME", "NUMBA_NUM_THREADS", "NUMBA_OPT",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHON_GIL", "PYTHON_JIT", "PYTHONMALLOC",
)  # fmt: skip
CPU = Path("/sys/devices/system/cpu/cpu0")


def label() -> str:
    """What to call this machine: its CPU, and what LLVM takes it for."""
    brand = re.sub(r"\((R|TM)\)|CPU|Processor|\d+-Core|@.*", "", _model(), flags=re.IGNORECASE)
    return "-".join(re.findall(r"[a-z0-9]+", f"{brand} {llvm.get_host_cpu_name()}".lower()))


def describe() -> dict[str, Any]:
    """The facts, for the file of results."""
    features = llvm.get_host_cpu_features()
    return {
        "cpu": {
            "model": _model(),
            "architecture": platform.machine(),
            "llvm_name": llvm.get_host_cpu_name(),
            "llvm_features": sorted(name for name, present in features.items() if present),
            "cores": os.cpu_count(),
            "affinity": _affinity(),
            "caches": _caches(),
            "governor": _read(CPU / "cpufreq/scaling_governor"),
        },
        "memory_gb": _memory_gb(),
        "virtual_machine": _virtual_machine(),
        "container": _container(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_compiler": platform.python_compiler(),
        **{name: _version(name) for name in ("numpy", "numba", "llvmlite", "scipy")},
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }


def _version(package: str) -> str | None:
    """None if it is not installed: numba uses SciPy, where it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _info() -> dict[str, Any]:
    return cpuinfo.get_cpu_info() or {}


def _model() -> str:
    return _info().get("brand_raw") or platform.processor() or platform.machine()


def _affinity() -> list[int] | None:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _caches() -> dict[str, str]:
    """The caches that the first core sees."""
    caches = {}
    for index in sorted(CPU.glob("cache/index*")):
        kind = {"Data": "d", "Instruction": "i"}.get(_read(index / "type") or "", "")
        caches[f"L{_read(index / 'level')}{kind}"] = _read(index / "size") or "?"
    return caches or {key: str(value) for key, value in _info().items() if "cache_size" in key}


def last_level_cache_bytes() -> int:
    """The size of the largest cache; 32 MB where it is not told."""
    units = {"K": 2**10, "M": 2**20}
    sizes = [
        int(size[:-1]) * units[size[-1]] for size in _caches().values() if re.fullmatch(r"\d+[KM]", size)
    ]
    return max(sizes, default=32 * 2**20)


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None  # not told by this system


def _virtual_machine() -> bool | None:
    """Whether the CPU says that it runs under a hypervisor."""
    flags = _info().get("flags")
    return None if flags is None else "hypervisor" in flags


def _container() -> bool:
    marks = Path("/.dockerenv"), Path("/run/.containerenv")
    return "container" in os.environ or any(mark.exists() for mark in marks)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
