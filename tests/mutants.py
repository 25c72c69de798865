"""Do the tests bite? Put one fault at a time into a copy of the project, and see whether a test fails.

    python tests/mutants.py                    every fault: some minutes for each hundred of them
    python tests/mutants.py --random 20        so many, drawn anew each time; the seed is printed
    python tests/mutants.py --only kernels/    those in files whose path begins so

The faults are in mutants.toml, each with what to find, what to put in its place, and the tests that should
notice. A fault that they do not notice survives, and then this command ends with status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from glob import glob
from pathlib import Path

ROOT = Path(__file__).parent.parent
FAULTS = Path(__file__).with_name("mutants.toml")
LONGEST = 300  # seconds that a fault may take; one that makes the tests hang is noticed too


@dataclass(frozen=True)
class Fault:
    """A piece of a file, made wrong. It stands there exactly once."""

    file: str
    find: str
    replace: str
    tests: str  # for pytest, as in a shell: the tests that should fail; or the reason why none can

    def put_into(self, root: Path) -> None:
        """Make the fault in a copy of the project. Raises ValueError unless its text is there once."""
        path = root / self.file
        source = path.read_text(encoding="utf-8")
        if source.count(self.find) != 1 or self.find == self.replace:
            raise ValueError(f"{self.file}: found {source.count(self.find)} times: {self.find!r}")
        path.write_text(source.replace(self.find, self.replace), encoding="utf-8")

    def __str__(self) -> str:
        return f"{self.file}: {self.find!r} -> {self.replace!r}"


def read_faults(kind: str = "faults") -> list[Fault]:
    """Those to be noticed, or the "harmless" ones, as far as what their tests need is there."""
    with FAULTS.open("rb") as file:
        listed = tomllib.load(file)["file"]
    return [
        Fault(entry["path"], find, replace, *(own or [entry["tests"]]))
        for entry in listed
        if shutil.which(entry.get("needs", sys.executable))
        for find, replace, *own in entry.get(kind, [])
    ]


def copy_project(target: Path) -> None:
    """The files that tests need, without what was made from them."""
    made = shutil.ignore_patterns("__pycache__", "*.json")
    for name in ("autollm", "kernels", "data", "benchmarks", "tests", "results"):
        shutil.copytree(ROOT / name, target / name, ignore=made, dirs_exist_ok=True)
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix in (".md", ".py", ".toml"):
            shutil.copy(path, target)


def run_tests(tests: str, cache: Path, fault: Fault | None = None) -> int | None:
    """pytest's exit status in a copy of the project, with a fault or without; None if it takes too long."""
    # The copies of one thread take the same place: where a module lies is a part of numba's key.
    root = cache / f"copy-{threading.get_ident()}"
    shutil.rmtree(root, ignore_errors=True)
    copy_project(root)
    if fault:
        fault.put_into(root)
        if fault.file.startswith("kernels/"):
            cache = root / "cache"  # what is compiled from a fault is kept for nobody else
    arguments = [one for word in shlex.split(tests) for one in glob(word, root_dir=root) or [word]]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(cache),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(root),  # for the processes that tests start elsewhere
    }
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL, start_new_session=True,
    ) as tests_run:  # fmt: skip
        try:
            return tests_run.wait(LONGEST)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):  # with all that the tests have started
                os.killpg(tests_run.pid, signal.SIGKILL)


def is_noticed(fault: Fault, cache: Path) -> bool:
    """Whether a test fails, or cannot be collected, in a copy of the project that has the fault.

    Raises ValueError if the fault names tests that do not exist.
    """
    status = run_tests(fault.tests, cache, fault)
    if status in (4, 5):  # pytest's: wrong arguments, no tests collected
        raise ValueError(f"there are no such tests: {fault.tests}")
    return status != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--random", type=int, metavar="N", help="try N faults, drawn at random")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="for --random")
    parser.add_argument("--only", default="", metavar="PATH", help="files whose path begins so")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="so many at once")
    options = parser.parse_args()
    faults = [fault for fault in read_faults() if fault.file.startswith(options.only)]
    if options.random is not None:
        print(f"--random {options.random} --seed {options.seed}")
        faults = random.Random(options.seed).sample(faults, min(options.random, len(faults)))
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(options.jobs) as pool:
        cache = Path(folder)
        if run_tests("tests/test_node.py", cache) != 0:
            parser.error("tests/test_node.py fails in a copy of the project that has no fault")
        for fault, noticed in zip(
            faults, pool.map(lambda fault: is_noticed(fault, cache), faults), strict=True
        ):
            survivors += not noticed
            print(f"{'noticed ' if noticed else 'SURVIVES'}  {fault}", flush=True)
    print(f"{len(faults) - survivors} of {len(faults)} faults were noticed")
    return 1 if survivors or not faults else 0


if __name__ == "__main__":
    sys.exit(main())
