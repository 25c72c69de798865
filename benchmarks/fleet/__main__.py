"""The command: one run on every host of a Dask cluster, and then the comparison of all."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import re
import signal
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autollm import cli
from autollm.errors import InputError
from autollm.files import check_target, replace_file
from autollm.interrupts import interrupts
from autollm.remarks import Remarks, say
from benchmarks.compare.__main__ import chart_file, check_installed, with_base
from benchmarks.compare.chart import draw, lines_of
from benchmarks.compare.report import render
from benchmarks.compare.runs import file_stem, load, load_all, parse, plain
from benchmarks.compare.verdict import compare
from benchmarks.fleet import by_ssh, on_host

ROOT = Path(__file__).parents[2]
SOURCES = (
    *("autollm", "kernels", "data", "benchmarks", "conftest.py", "pyproject.toml"),
    "tests/conftest.py",  # the folder is named in the settings of pytest
)
PATIENCE = 10  # seconds for a scheduler to answer
PAUSE = 0.2  # seconds from one look at what has come to the next
SILENCE = 60  # seconds after which those that are still running are named


@dataclass(frozen=True)
class Host:
    """A machine of the fleet: what it is called, and the one of its workers that is to run the suite."""

    label: str
    worker: str

    def __str__(self) -> str:
        return f"{self.label} ({urlsplit(self.worker).hostname})"


Outcome = tuple[Host, bytes | None, str]  # its results if there are any, and what went wrong


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="python -m benchmarks.fleet",
        description="Run the suite once on every host of a Dask cluster, and compare the results. The hosts\n"
        "are sent these sources; they need Python, numpy, numba, pytest-benchmark and Dask.\n"
        f"A worker's environment variable {on_host.LABEL} names its host. Hosts of a FILE need\n"
        "this Python with its packages at the same path, must let you log in by SSH without\n"
        "a question, with a host key that is known, and must reach one another.",
        epilog="example:  python -m benchmarks.fleet --scheduler tcp://10.0.0.1:8786 --markdown",
    )
    option = parser.add_argument
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a cluster that runs, as tcp://HOST:PORT")
    where.add_argument(
        "--hosts", type=Path, metavar="FILE", help="[USER@]HOST to start one on by SSH, one a line"
    )
    where.add_argument("--local", type=cli.whole(1, 64), metavar="N", help="to try it: N workers here")
    option("--results", type=Path, default=ROOT / "results", metavar="FOLDER",
           help="where the files go (default: results/)")  # fmt: skip
    option("--smoke", action="store_true", help="two short rounds each, to see that all of it works")
    option("-k", metavar="EXPRESSION", help="only the benchmarks whose names match, as pytest has it")
    option("--base", metavar="MACHINE", help="the label of the machine that counts as 1 (default: the first)")
    option("--plot", type=chart_file, metavar="FILE", help="draw the ratios, as .png or .svg")
    option("--markdown", action="store_true", help="tables to paste")
    return parser


@contextlib.contextmanager
def cluster(options: argparse.Namespace, logins: Sequence[by_ssh.Login]) -> Iterator[Any]:
    """A client of the cluster that the options name, or of one on the hosts of these logins. Raises
    InputError if it cannot be reached."""
    import cloudpickle
    import distributed

    cloudpickle.register_pickle_by_value(on_host)  # the hosts have no module of this name
    for name in ("distributed", "distributed.client"):  # what they would say is said here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "Mismatched versions")
    with contextlib.ExitStack() as stack:
        try:
            if options.local:
                with children_ignoring_ctrl_c():
                    workers = distributed.LocalCluster(
                        n_workers=options.local,
                        threads_per_worker=1,
                        dashboard_address=None,
                        # Even without a dashboard there is a server; at its usual port may be another's.
                        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                        silence_logs=logging.CRITICAL,
                    )
                address = stack.enter_context(workers)
            elif options.hosts:
                address = stack.enter_context(by_ssh.start(logins))
            else:
                address = options.scheduler
            client = stack.enter_context(distributed.Client(address, timeout=PATIENCE, set_as_default=False))
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            where = options.scheduler or options.hosts or "this machine"
            raise InputError(f"no cluster at {where}: {plain(str(error)) or type(error).__name__}") from None
        with contextlib.suppress(TimeoutError):  # those that have come by then go on
            client.wait_for_workers(max(len(logins), 1), timeout=PATIENCE)
        yield client


@contextlib.contextmanager
def children_ignoring_ctrl_c() -> Iterator[None]:
    """A terminal sends Ctrl-C to the children too; those that are started in here leave it to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which children inherit
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def hosts_of(client: Any, workers: Sequence[str]) -> list[Host]:
    """Every host of these workers once, however many it has. Those of one label get numbers."""
    told = client.run(by_value(on_host.identify), workers=workers, on_error="ignore")
    first = {key: (label, worker) for worker, (key, label) in sorted(told.items(), reverse=True)}
    hosts: list[Host] = []
    for label, worker in sorted(first.values()):
        alike = sum(host.label == label or host.label.startswith(f"{label} ") for host in hosts)
        hosts.append(Host(f"{label} {alike + 1}" if alike else label, worker))
    return hosts


def unlike(client: Any) -> dict[str, str]:
    """The workers that understand another language than this process, and what keeps them from it: functions
    are sent as bytecode, by a protocol that Dask may change with every version."""

    def spoken(facts: Any) -> str:
        python, distributed = (facts["packages"][name] for name in ("python", "distributed"))
        return f"Python {'.'.join(python.split('.')[:2])} and distributed {distributed}"

    versions = client.get_versions()
    here = spoken(versions["client"])
    there = {worker: spoken(facts) for worker, facts in versions["workers"].items()}
    return {worker: f"it has {one}, this is {here}" for worker, one in there.items() if one != here}


def by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is sent whole, to hosts that have no such module.

    Dask tries plain pickle first, which would only name it; a lambda cannot be named.
    """
    return lambda *arguments: function(*arguments)


def zipped() -> bytes:
    """The sources that every host is to measure."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in SOURCES:
            path = ROOT / name
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and "__pycache__" not in file.parts:
                    archive.write(file, file.relative_to(ROOT))
    return content.getvalue()


def run_all(client: Any, hosts: Sequence[Host], options: Sequence[str]) -> Iterator[Outcome]:
    """Run the suite on all hosts at once; what came of each, as soon as it has ended."""
    sources = client.scatter(zipped(), broadcast=True, hash=False)
    task, futures = by_value(on_host.run_suite), {}
    for host in hosts:
        arguments = (sources, host.label, options)
        futures[host] = client.submit(task, *arguments, workers=[host.worker], pure=False, retries=0)
    why, told = "interrupted", time.perf_counter()
    while futures and not interrupts.came:
        if time.perf_counter() - told > SILENCE:
            told = time.perf_counter()
            say(f"still running: {', '.join(host.label for host in futures)}")
        try:
            alive = set(client.nthreads())  # asks the scheduler; others are told from memory
        except OSError:
            why = "the scheduler is gone"
            break
        for host, future in list(futures.items()):
            if future.done():
                del futures[host]
                if future.status == "finished":
                    yield (host, *future.result())
                else:
                    yield host, None, plain(str(future.exception())) or future.status
            elif host.worker not in alive:
                del futures[host]
                future.cancel()
                yield host, None, "its worker is gone"
        time.sleep(PAUSE)
    if interrupts.came and futures:
        stop(client, list(futures), [future.key for future in futures.values()])
    for host, future in futures.items():
        future.cancel()
        yield host, None, why


def stop(client: Any, hosts: Sequence[Host], tasks: Sequence[str]) -> None:
    """End these tasks, as far as their hosts can be reached: Dask does not end one that has begun."""
    stop_it = on_host.stop
    with contextlib.suppress(OSError):
        client.run(
            lambda dask_worker: stop_it(dask_worker, tasks),
            workers=[host.worker for host in hosts],
            on_error="ignore",
        )


def keep(content: bytes, folder: Path) -> Path:
    """Write a file of results under a name that tells what it is. Raises InputError if it is not one."""
    try:
        run = parse(json.loads(content), Path("results"))
    except ValueError as error:
        raise InputError(f"damaged results ({error})") from None
    date = re.sub(r"\D", "", run.identity)[:14]
    path = folder / f"{file_stem(run.label)}-{date[:8]}-{date[8:]}{'-smoke' if run.smoke else ''}.json"
    replace_file(str(path), content)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    if find_spec("distributed") is None:
        raise InputError("the fleet needs Dask: pip install -e '.[fleet]'")
    check_installed(options)
    if options.plot:
        check_target(str(options.plot))
    options.results.mkdir(parents=True, exist_ok=True)
    interrupts.start_learning()  # from here on Ctrl-C ends the waiting, and what has come is compared
    kept, failed = collect(options, Remarks(quiet=False))
    if len(kept) > 1:
        show(kept, options)
    elif not kept:
        if interrupts.came:
            raise KeyboardInterrupt
        raise InputError("no host has sent results")
    else:
        say(f"one run cannot be compared: {load(kept[0]).label}")
    return 1 if failed else 0


def collect(options: argparse.Namespace, talk: Remarks) -> tuple[list[Path], list[str]]:
    """Run the suite everywhere: the files that have come, and the hosts that sent none or failed."""
    kept: list[Path] = []
    logins, failed = look_at(by_ssh.logins_in(options.hosts), talk) if options.hosts else ([], [])
    with cluster(options, logins) as client:
        strange, workers = unlike(client), client.nthreads()
        for address, obstacle in {urlsplit(worker).hostname: one for worker, one in strange.items()}.items():
            talk(f"{address}: left out: {obstacle}")
            failed.append(str(address))
        if len(workers) < len(logins):
            failed.append(f"{len(logins) - len(workers)} of {len(logins)} hosts")
            talk(f"{failed[-1]} have not reached the scheduler, which is on {logins[0].text}")
        hosts = hosts_of(client, sorted(set(workers) - set(strange)))
        if not hosts:
            raise InputError("this cluster has no worker that can take part")
        talk(f"running on {len(hosts)} hosts, each once: {', '.join(map(str, hosts))}")
        arguments = ["--smoke"] * options.smoke + (["-k", options.k] if options.k else [])
        start = time.perf_counter()
        for host, content, told in run_all(client, hosts, arguments):
            after = f"after {time.perf_counter() - start:.0f} s"
            try:
                if content is None:
                    raise InputError(told)
                kept.append(keep(content, options.results))
                talk(f"{host.label}: {f'failed, {told}; kept' if told else 'done'} {after}")
            except InputError as error:
                talk(f"{host.label}: no results {after}: {error}")
                told = "no results"
            if told:
                failed.append(host.label)
    return kept, failed


def look_at(logins: Sequence[by_ssh.Login], talk: Remarks) -> tuple[list[by_ssh.Login], list[str]]:
    """Which of the hosts can take part, and which cannot. Raises InputError if none can."""
    talk(f"looking for Dask on {len(logins)} hosts")
    obstacles = dict(zip(logins, by_ssh.obstacles(logins), strict=True))
    if interrupts.came:
        raise KeyboardInterrupt
    for login, obstacle in obstacles.items():
        if obstacle:
            talk(f"{login.text}: left out: {obstacle}")
    usable = [login for login in logins if not obstacles[login]]
    if not usable:
        raise InputError("none of the hosts can take part")
    return usable, [login.text for login in logins if obstacles[login]]


def show(kept: Sequence[Path], options: argparse.Namespace) -> None:
    """The comparison of all, with the first or the named machine as 1."""
    runs, left_out = load_all(list(kept))
    for line in left_out:
        say(f"left out: {line}")
    if options.base:
        runs = with_base(runs, options.base)
    rows = compare(runs)
    if options.plot:
        draw(*lines_of(runs, rows), options.plot)
    print(render(runs, rows, options.markdown))


if __name__ == "__main__":
    cli.end(main)
