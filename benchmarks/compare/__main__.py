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
from benchmarks.compare.report import LETTERS, as_json, render
from benchmarks.compare.runs import CALIBRATORS, load_all
from benchmarks.compare.verdict import SLOWER, Row, compare


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="python -m benchmarks.compare",
        description="Compare results of `pytest --benchmark` with the first: ratios above 1 are faster.",
        epilog="example:  python -m benchmarks.compare before.json after.json --any-source --fail-below 0.9",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="FILE", help="results, or folders of them")
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
    if len(options.runs) > len(LETTERS):
        raise InputError(f"at most {len(LETTERS)} runs can be compared, got {len(options.runs)}")
    runs, left_out = load_all(options.runs, options.any_source)
    for line in left_out:
        say(f"left out: {line}")
    rows = compare(runs)
    if options.fail_below and not any(one.ratio for row in rows for one in row.verdicts):
        raise InputError("--fail-below: none of these runs' benchmarks can be compared")
    if options.plot:
        from benchmarks.compare.chart import draw

        first, *others = (f"{run.label}, {run.when}" for run in runs)
        draw([f"{other}\nrelative to {first}" for other in others], rows, options.plot)
    print(as_json(runs, rows) if options.json else render(runs, rows, options.markdown))
    slow = too_slow(rows, options.fail_below) if options.fail_below else []
    if slow:
        say(f"below {options.fail_below:g}: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    cli.end(main)
