"""Two versions of this project on one machine: `python -m benchmarks.duet A B`.

A machine's speed changes from second to second, and both versions feel it. So they play a duet: each waits
in a warm process, and they take turns on one core, a burst of steps each, in an order that is drawn anew for
every pair. Only the ratio within a pair counts, in processor time. Where a process happens to have its code
and data makes it faster or slower, by a percent or so, for as long as it lives; so every now and then both
are started afresh, and it is these lives that are counted, not the pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from autollm import cli
from autollm.errors import InputError
from autollm.files import check_target
from autollm.interrupts import interrupts
from autollm.remarks import say
from benchmarks.compare.__main__ import chart_file, check_installed
from benchmarks.compare.chart import draw, lines_of_rows
from benchmarks.compare.report import rows_table
from benchmarks.compare.verdict import FASTER, NOT_COMPARABLE, SAME, SLOWER, Row, Verdict
from benchmarks.copies import ROOT, Copy, cores
from benchmarks.workloads import GOLDEN_TOLERANCE, RATED, WORKLOADS

BURST = 0.03  # seconds
LIFE = 8.0  # seconds of bursts, at most, after which both processes are started afresh
LIVES = 12  # so many fit in the time, or more, if starting takes none
LEAST_LIVES = 5  # fewer show no difference: how far they lie apart is not known well enough
LEAST_EFFECT = 0.01  # a smaller difference is never called one
CONFIDENCE = 0.995  # so that of 200 rows without a difference one shows one


@dataclass(frozen=True)
class Version:
    """A Python and the clone that it runs; None: what is installed there."""

    name: str
    python: str = sys.executable
    root: Path | None = None


@contextlib.contextmanager
def version(text: str) -> Iterator[Version]:
    """What an argument names: a clone's folder, a Python, or a commit, of which a worktree is made for the
    time. Raises InputError if it is none of these."""
    path = Path(text)
    if path.is_dir():
        if not (path / "autollm" / "node.py").exists():
            raise InputError(f"{text}: there is no autollm in this folder")
        yield Version(text, root=path.resolve())
    elif path.is_file():
        yield Version(text, python=str(path.absolute()))  # not resolved: a virtual environment's is a link
    else:
        commit = _git("rev-parse", "--verify", "--quiet", f"{text}^{{commit}}", "--")
        if not commit:
            raise InputError(f"{text}: neither a folder, nor a Python, nor a commit of this repository")
        with tempfile.TemporaryDirectory(prefix="autollm-") as folder:
            tree = Path(folder) / "tree"
            _git("worktree", "add", "--detach", "--quiet", str(tree), commit[0])
            try:
                if not (tree / "autollm" / "node.py").exists():
                    raise InputError(f"{text}: there is no autollm in this commit")
                yield Version(text, root=tree)
            finally:
                _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> list[str]:
    """The words that Git answers; none if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    except OSError:
        raise InputError("a commit needs Git, which is not installed") from None
    return done.stdout.split() if done.returncode == 0 else []


@dataclass
class Pairs:
    """What was measured of one workload: the speeds of A and B in each pair, and in which life it was."""

    speeds: list[tuple[float, float]] = field(default_factory=list)
    lives: list[int] = field(default_factory=list)
    reason: str = ""  # why it cannot be compared

    def verdict(self) -> Verdict:
        """The mean over the lives of the processes of the median ratio, B to A, with Student's interval.

        Means are of logarithms, so that B to A is the inverse of A to B. A difference is one if 1 is outside
        of the interval, if it is larger than LEAST_EFFECT, and if there were LEAST_LIVES.
        """
        from scipy.special import stdtrit  # Student's quantiles: scipy.stats takes half a second to import

        if self.reason:
            return Verdict(NOT_COMPARABLE, reason=self.reason)
        lives = self._lives()
        if len(lives) < 2:
            return Verdict(NOT_COMPARABLE, reason="too few pairs in this time")
        middle, error = np.mean(lives), np.std(lives, ddof=1) / np.sqrt(len(lives))
        margin = stdtrit(len(lives) - 1, (1 + CONFIDENCE) / 2) * error
        ratio, low, high = (float(np.exp(one)) for one in (middle, middle - margin, middle + margin))
        word = SAME
        if len(lives) >= LEAST_LIVES and abs(middle) > max(margin, np.log(1 + LEAST_EFFECT)):
            word = FASTER if ratio > 1 else SLOWER
        return Verdict(word, ratio, low, high)

    def _lives(self) -> list[float]:
        """The logarithm of the median ratio in each life; one that was cut short does not count."""
        ratios = np.log([b / a for a, b in self.speeds])
        lives = np.array(self.lives, int)
        names, counts = np.unique(lives, return_counts=True)
        whole = names[2 * counts >= max(counts, default=0)]
        return [float(np.median(ratios[lives == life])) for life in whole]

    def is_narrow(self, width: float) -> bool:
        """Whether there is no more to be learned: an interval as narrow as that, from enough lives."""
        found = self.verdict()
        if found.low is None or found.high is None:
            return bool(self.reason)
        return len(self._lives()) >= LEAST_LIVES and found.high - found.low <= width

    def row(self, name: str) -> Row:
        medians = [median(each) for each in zip(*self.speeds, strict=True)] or [None, None]
        return Row(f"step[{name}]", "steps/s", medians, [self.verdict()])


def measure(
    versions: Sequence[Version], workloads: Sequence[str], seconds: float, width: float, seed: int = 0
) -> dict[str, Pairs]:
    """Measure both versions in turn until every interval is as narrow as `width`, or the time is up."""
    rng, pairs = random.Random(seed), {name: Pairs() for name in workloads}
    end, life, length = time.perf_counter() + seconds, 0, min(LIFE, seconds / LIVES)
    while time.perf_counter() + length <= end and not interrupts.came:
        with contextlib.ExitStack() as stack:
            both = []
            for one in versions:
                both.append(Copy(cores()[-1], one.python, one.root))
                stack.callback(both[-1].close)
            for copy in both:
                copy.answer()
            if life == 0:
                say("compiling or loading kernels")
                for name in workloads:
                    pairs[name].reason = check(both, name)
                end = time.perf_counter() + seconds  # what was compiled first does not count
            open_ = [name for name in workloads if not pairs[name].reason]
            steps = {name: burst(both, name) for name in open_}
            until = time.perf_counter() + length
            while open_ and time.perf_counter() < until and not interrupts.came:
                for name in rng.sample(open_, len(open_)):
                    pairs[name].speeds.append(pair(both, name, steps[name], rng))
                    pairs[name].lives.append(life)
            life += 1
        if all(one.is_narrow(width) for one in pairs.values()):
            break
    return pairs


def check(both: Sequence[Copy], name: str) -> str:
    """Have both make the golden steps, which loads the kernels; why they cannot be compared, if so."""
    losses = []
    for copy in both:
        copy.order(name, golden=1)
        losses.append(copy.answer()["loss"])
    if not abs(losses[1] / losses[0] - 1) <= GOLDEN_TOLERANCE:  # nor if one is not a number
        return f"the golden steps end with losses of {losses[0]:.6f} and {losses[1]:.6f}"
    return ""


def burst(both: Sequence[Copy], name: str) -> int:
    """How many steps take the slower one about as long as a burst is meant to, if nobody disturbs it."""
    best = (max(copy.speed(name, seconds=BURST) for _ in range(5)) for copy in both)
    return max(1, round(BURST * min(best)))


def pair(both: Sequence[Copy], name: str, steps: int, rng: random.Random) -> tuple[float, float]:
    """A burst of each, in an order that is drawn; their speeds."""
    found = [0.0, 0.0]
    for i in rng.sample((0, 1), 2):
        found[i] = both[i].speed(name, steps=steps)
    return found[0], found[1]


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="python -m benchmarks.duet",
        description="Compare two versions of this project on this machine, in turn and on one core, by the\n"
        "processor's time: ratios above 1 mean that B is faster. A version is the folder of a\n"
        "clone, the Python of a virtual environment, or a commit of this repository.",
        epilog="example:  python -m benchmarks.duet HEAD . --workloads 64x3x32",
    )
    option = parser.add_argument
    option("a", metavar="A", help="a clone's folder, a Python, or a commit")
    option("b", metavar="B", help="another, or the same")
    option("--workloads", type=cli.some(WORKLOADS), default=list(RATED), metavar="NAME,...",
           help=f"what to train: some of {', '.join(WORKLOADS)} (default: {','.join(RATED)})")  # fmt: skip
    option("--seconds", type=cli.positive_float, default=120.0, metavar="S",
           help="measure so long at most (default: %(default)g)")  # fmt: skip
    option("--width", type=cli.positive_float, default=0.006, metavar="W",
           help="or until all intervals are as narrow as this (default: %(default)g)")  # fmt: skip
    option("--plot", type=chart_file, metavar="FILE", help="draw the ratios, as .png or .svg")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--markdown", action="store_true", help="a table to paste")
    output.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    check_installed(options)
    if options.plot:
        check_target(str(options.plot))
    interrupts.start_learning()  # from here on Ctrl-C ends the measuring, and what was found is shown
    with contextlib.ExitStack() as stack:
        versions = [stack.enter_context(version(text)) for text in (options.a, options.b)]
        say(f"measuring for {options.seconds:g} s at most; Ctrl-C shows what was found until then")
        pairs = measure(versions, options.workloads, options.seconds, options.width)
    rows = [pairs[name].row(name) for name in options.workloads]
    if options.plot:
        title = f"B: {versions[1].name}\nrelative to A: {versions[0].name}"
        draw(title, lines_of_rows(rows), options.plot)
    if options.json:
        counts = {name: len(one.speeds) for name, one in pairs.items()}
        cli.print_json(
            {"versions": [options.a, options.b], "rows": [asdict(row) for row in rows], "pairs": counts}
        )
    else:
        print(f"A: {versions[0].name}\nB: {versions[1].name}\n")
        print(rows_table(2, rows, options.markdown, CONFIDENCE))
    return 0


if __name__ == "__main__":
    cli.end(main)
