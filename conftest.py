"""`pytest` runs the tests; `pytest --benchmark` runs the benchmark suite, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("autollm")
    group.addoption("--benchmark", action="store_true", help="run the benchmark suite instead of the tests")
    group.addoption(
        "--smoke",
        action="store_true",
        help="with --benchmark: two short rounds each, to see that all of it works",
    )
    group.addoption(
        "--machine-label",
        metavar="LABEL",
        help="with --benchmark: what to call this machine in the results (default: its CPU)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.option.benchmark:
        for option in ("smoke", "machine_label"):
            if getattr(config.option, option):
                raise pytest.UsageError(f"--{option.replace('_', '-')} goes with --benchmark")
        for package in ("hypothesis", "scipy"):
            if find_spec(package) is None:
                raise pytest.UsageError(f"the tests need {package}: pip install -e '.[test]'")
        return
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("--benchmark needs the benchmark extra: pip install -e '.[benchmark]'")
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(BENCHMARKS)]
    config.option.benchmark_only = True
    with one_thread():
        from benchmarks import plugin  # only now: it needs what the benchmark extra installs

    config.pluginmanager.register(plugin.Suite(config), "autollm-benchmarks")


@contextmanager
def one_thread() -> Iterator[None]:
    """If NumPy is imported in here, its products use one thread: OpenBLAS reads this once. Processes that the
    suite starts are not to inherit it."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    yield
    del os.environ["OPENBLAS_NUM_THREADS"]
    if before is not None:
        os.environ["OPENBLAS_NUM_THREADS"] = before


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks are collected with --benchmark only, and then nothing else is."""
    if collection_path.is_dir() and collection_path != BENCHMARKS:
        return None
    is_benchmark = BENCHMARKS in (collection_path, *collection_path.parents)
    return True if is_benchmark != config.option.benchmark else None
