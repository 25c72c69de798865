"""The command: options in, the comparison out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from autollm import cli
from autollm.errors import InputError
from autollm.files import check_target
from autollm.remarks import say
from benchmarks.compare.chart import draw, lines_of
from benchmarks.compare.ranking import confirmation
from benchmarks.compare.report import LETTERS, as_json, render
from benchmarks.compare.runs import CALIBRATORS, Run, load_all
from benchmarks.compare.verdict import SLOWER, Row, compare


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="python -m benchmarks.compare",
        description="Compare results of `pytest --benchmark` with the first: ratios above 1 are faster.",
        epilog="example:  python -m benchmarks.compare before.json after.json --any-source --fail-below 0.9",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="FILE", help="results, or folders of them")
    parser.add_argument(
        "--base", metavar="MACHINE", help="the label of the run that counts as 1 (default: the first)"
    )
    parser.add_argument(
        "--replicates",
        type=Path,
        metavar="FILE",
        help="say whether the one run given confirms this earlier one; exit with status 1 if not",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--markdown", action="store_true", help="a table to paste")
    output.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--any-source",
        action="store_true",
        help="compare different versions of this program too, say before and after a change",
    )
    parser.add_argument("--plot", type=chart_file, metavar="FILE", help="draw the ratios, as .png or .svg")
    parser.add_argument(
        "--fail-below",
        type=ratio,
        metavar="RATIO",
        help="exit with status 1 if a benchmark is slower than the first run's, and its ratio below this",
    )
    return parser


def chart_file(text: str) -> Path:
    """An option that names a picture."""
    if Path(text).suffix not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png or .svg")
    return Path(text)


def ratio(text: str) -> float:
    """An option between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a ratio above 0 and up to 1")
    return value


def with_base(runs: list[Run], label: str) -> list[Run]:
    """The runs with the one of that label first. Raises InputError if there is none, or more than one."""
    count = [run.label for run in runs].count(label)
    if count != 1:
        found = "there is no run" if not count else f"there are {count} runs"
        raise InputError(f"--base {label}: {found} of that label; {', '.join(run.label for run in runs)}")
    return sorted(runs, key=lambda run: run.label != label)


def too_slow(rows: list[Row], limit: float) -> list[str]:
    """The benchmarks that are shown to be slower, and whose ratio is below the limit."""
    return [
        f"{row.name} ({verdict.ratio:.2f})"
        for row in rows
        if row.name not in CALIBRATORS
        for verdict in row.verdicts
        if verdict.word == SLOWER and verdict.ratio is not None and verdict.ratio < limit
    ]


def check_installed(options: argparse.Namespace) -> None:
    """Raise InputError unless what the options need is there."""
    needed = {"scipy": "comparing"} | ({"matplotlib": "--plot"} if options.plot else {})
    for package, purpose in needed.items():
        if find_spec(package) is None:
            raise InputError(f"{purpose} needs {package}: pip install -e '.[benchmark]'")


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    check_installed(options)
    if options.plot:
        check_target(str(options.plot))
    if options.replicates and (len(options.runs) > 1 or options.runs[0].is_dir()):
        raise InputError("--replicates takes one other run, FILE --replicates EARLIER_FILE")
    earlier = [options.replicates] if options.replicates else []
    runs, left_out = load_all([*earlier, *options.runs], options.any_source)
    if len(runs) > len(LETTERS):
        raise InputError(f"at most {len(LETTERS)} runs can be compared, got {len(runs)}")
    for line in left_out:
        say(f"left out: {line}")
    if options.base:
        runs = with_base(runs, options.base)
    rows = compare(runs)
    if options.fail_below and not any(one.ratio for row in rows for one in row.verdicts):
        raise InputError("--fail-below: none of these runs' benchmarks can be compared")
    if options.plot:
        draw(*lines_of(runs, rows), options.plot)
    print(as_json(runs, rows) if options.json else render(runs, rows, options.markdown))
    if options.replicates:
        is_confirmed, told = confirmation(runs[0], runs[1], rows)
        say(told)
        return 0 if is_confirmed else 1
    slow = too_slow(rows, options.fail_below) if options.fail_below else []
    if slow:
        say(f"below {options.fail_below:g}: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    cli.end(main)
