"""Settings for all tests."""

import gc
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


@pytest.fixture(autouse=True, scope="module")
def _what_has_been_imported_stays():
    """The collector of garbage need not look at all of it, nor often; files of tests import more and more."""
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(autouse=True, scope="session")
def _no_process_is_left_behind():
    import commands

    yield
    for server in commands.SERVERS.values():
        server.close()


# Chromium takes a second to start, so all tests of a film's page share one.


@pytest.fixture(scope="session")
def chrome(tmp_path_factory):
    import film_pages

    driver = film_pages.start(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def bag():
    """The film of a bag that has learned the names. Its codes are short, as the page draws every number."""
    from films import filmed

    return filmed(steps=2000, dim=8)[0]


@pytest.fixture
def opened(chrome, tmp_path, bag):
    """The page of that film; nothing may have gone wrong in it by the end."""
    import film_pages

    opened = film_pages.Page(chrome, tmp_path, bag)
    yield opened
    opened.media()
    assert opened.errors() == []
    assert opened.run("return performance.getEntriesByType('resource').length") == 0


@pytest.fixture
def target(tmp_path):
    """Where a model is to be saved: a folder in which nothing is."""
    return tmp_path / "model"
