"""Settings for all tests."""

import os
import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # What pytest-xdist tells its workers is not for the pytest runs that a test starts.
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        del os.environ[name]
    if getattr(config.option, "benchmark", False):
        return  # benchmarks do without hypothesis, and see to their threads themselves
    # Read when NumPy is loaded: on a busy machine, threads that wait for each other take ten times as long.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from hypothesis import HealthCheck, settings

    # Time never decides a test: the first call of a kernel compiles it, and a machine may be busy.
    settings.register_profile(
        "autollm",
        deadline=None,
        max_examples=30,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("autollm")


@pytest.fixture(autouse=True, scope="session")
def _signals_as_in_a_terminal():
    """What starts the tests may ignore Ctrl-C (`nohup`, `&`), and its children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def _no_process_is_left_behind():
    import commands

    yield
    for server in commands.SERVERS.values():
        server.close()
