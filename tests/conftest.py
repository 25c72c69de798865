"""Settings for all tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "benchmark", False):
        return  # benchmarks do without hypothesis
    from hypothesis import settings

    # Timings never decide a test: the first call of a kernel compiles it.
    settings.register_profile("autollm", deadline=None, max_examples=30, derandomize=True, database=None)
    settings.load_profile("autollm")
