"""Whether a run fits into memory, before it begins."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from autollm.errors import InputError
from autollm.learning.experiment import Corpus, judged_at_once
from autollm.learning.plan import Plan
from autollm.models import MODELS, shapes, sizes_of

CGROUPS = Path("/sys/fs/cgroup")


def check_memory(plan: Plan, corpus: Corpus, samples: int) -> None:
    """Raise InputError if a run needs more memory than this process can have."""
    available = available_memory()
    needed = _bytes_needed(plan, corpus, samples)
    if needed > available:
        raise InputError(
            f"these sizes need about {needed / 1e9:,.1f} GB of memory, and this machine has "
            f"{available / 1e9:,.1f} GB: "
            "choose smaller --batch, --context, --dim, --hidden, --layers or --samples"
        )


def available_memory() -> float:
    """Bytes that this process can have: the machine's, or what its container or `ulimit -v` allows, if that
    is less. Infinity where the system does not tell; a MemoryError will."""
    limits: list[float] = [math.inf]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    return min([*limits, *container_limits()])


def container_limits(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """The limits of memory of this process's control groups and of those above them, versions 1 and 2."""
    limits = []
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                base, name = root, "memory.max"
            elif "memory" in controllers.split(","):
                base, name = root / "memory", "memory.limit_in_bytes"
            else:
                continue
            inner = base / path.lstrip("/")
            for folder in (inner, *inner.parents):
                with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
                    limits.append(int((folder / name).read_text()))
                if folder == base:
                    break
    return limits


def _bytes_needed(plan: Plan, corpus: Corpus, samples: int) -> int:
    """Roughly what a run will hold at once: examples, batches, a step's arrays, parameters, dreamed words."""
    words = len(corpus.training) + len(corpus.held_out)
    letters = sum(map(len, corpus.training)) + sum(map(len, corpus.held_out)) + words
    config, sizes = plan.config, plan.config.sizes
    B, K, V = plan.batch, plan.config.context, corpus.alphabet.size
    D, H, layers = sizes.get("dim", 0), sizes.get("hidden", 0), sizes.get("layers", 0)
    targets = max(B * (K if MODELS[plan.config.model].sequence else 1), judged_at_once(V))
    row = D + V + H + layers * (16 * D + K * sizes.get("heads", 0))  # of a step's arrays
    params = sum(math.prod(shape) for shape in shapes(plan.config, V).values())
    counts = 0
    if config.counts or config.model == "counts":  # 14 numbers an n-gram at the most, and of a place
        context = config.sizes["context"] if config.model == "counts" else sizes_of("counts")["context"]
        counts = 14 * sum(min(letters, V ** min(n, 8)) for n in range(1, context + 2)) + 3 * letters
    dreamed = samples * (2 * corpus.longest + 60)  # a character is a byte at least, a string 60
    return 4 * (letters * (K + 1) + 2 * B * (K + 1) + 4 * targets * row + 4 * params + counts) + dreamed
