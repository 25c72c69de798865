"""A clone with nothing installed but numpy, numba and pytest-benchmark: what works, and what says why not."""

from __future__ import annotations

import importlib.metadata as metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = {"numpy", "numba", "llvmlite"}
RUNNER = {
    *("pytest", "pluggy", "iniconfig", "packaging", "pygments"),
    *("colorama", "exceptiongroup", "tomli"),  # of pytest, on other systems and for older Pythons
    *("pytest-benchmark", "py-cpuinfo", "py-cpuinfo2"),
}

# A plugin of pytest: whether NumPy has been imported, with how many threads, if they can be counted, and what
# the environment asks for; in the end, where the kernels are, and whether they are there a second time.
TELLING = """
import os, pytest, sys
@pytest.hookimpl(trylast=True)
def pytest_configure():
    threads = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 1
    print("numpy" in sys.modules, threads, os.environ.get("OPENBLAS_NUM_THREADS"))
def pytest_unconfigure():
    import autollm.data, autollm.kernels as kernels
    print(kernels.__name__, kernels.__file__, "kernels" in sys.modules)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")


def link(packages, folder):
    """Links to all files of some installed packages, and of no others, so that only they can be imported."""
    for package in packages:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            source = Path(str(metadata.distribution(package).locate_file(top)))
            if not (folder / top).exists():
                (folder / top).symlink_to(source)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Runs Python in the repository with so many packages, none of them this one."""
    folders = {}
    for name, packages in (("core", CORE), ("runner", CORE | RUNNER)):
        folders[name] = tmp_path_factory.mktemp(name)
        link(packages, folders[name])
    (folders["runner"] / "telling.py").write_text(TELLING)

    def run(which, *arguments):
        command = [sys.executable, "-S", *arguments]  # -S: no site-packages, no editable install
        environment = os.environ | {"PYTHONPATH": str(folders[which])}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)

    return run


def test_it_trains(clone):
    done = clone("core", "-m", "autollm.train", "--steps", "50", "--samples", "3", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Steps: 50" in done.stdout


def test_the_benchmarks_run_and_numpys_products_use_one_thread(clone, tmp_path, monkeypatch):
    """Of which processes that the suite starts inherit nothing."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    chosen = "interpreter or test_step[visit0-64x3x32] or test_import[visit0-pass]"
    done = clone(
        *("runner", "-m", "pytest", "-p", "no:cacheprovider", "--benchmark", "--smoke", "-q"),
        *("-s", "-p", "telling", "-k", chosen, f"--benchmark-json={tmp_path / 'x.json'}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [one["name"] for one in json.loads((tmp_path / "x.json").read_text())["benchmarks"]]
    assert sorted(found) == ["test_import[pass]", "test_interpreter", "test_step[64x3x32]"]
    assert "64x3x32" in done.stdout and "True 1 None\n" in done.stdout
    kernels = ROOT / "kernels" / "__init__.py"
    assert f"autollm.kernels {kernels} False\n" in done.stdout, "installed or not, by one name"


@pytest.mark.parametrize(
    ("which", "arguments", "told"),
    [
        (
            "runner",
            ["pytest", "-p", "no:cacheprovider"],
            "the tests need hypothesis: pip install -e '.[test]'",
        ),
        ("core", ["benchmarks.compare", "a", "b"], "comparing needs scipy: pip install -e '.[benchmark]'"),
    ],
    ids=["tests", "compare"],
)
def test_what_needs_more_says_so_in_a_line(clone, which, arguments, told):
    done = clone(which, "-m", *arguments)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode not in (0, 1)
    assert told in said and said.count("\n") == 0
