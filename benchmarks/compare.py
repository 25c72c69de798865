"""Compare runs: `python -m benchmarks.compare A.json B.json`, or a folder of results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from autollm.tables import number, table
from benchmarks.comparison import (
    CONFIDENCE,
    NOT_COMPARABLE,
    SLOWER,
    Row,
    Verdict,
    compare,
    differences,
    expectations,
)
from benchmarks.runs import CALIBRATORS, InputError, Run, load_all

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m benchmarks.compare",
        description="Compare results of `pytest --benchmark` with the first: ratios above 1 are faster.",
        epilog="example:  python -m benchmarks.compare before.json after.json --any-source --fail-below 0.9",
        allow_abbrev=False,
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


def render(runs: list[Run], rows: list[Row], markdown: bool = False) -> str:
    """The whole comparison as text."""
    legend = [
        [letter, run.label, run.when, run.machine["python"], f"{run.machine['numba']}", run.path.name]
        for letter, run in zip(LETTERS, runs, strict=False)
    ]
    parts = [
        table(
            ["", "machine", "date (UTC)", "Python", "numba", "file"], legend, left=range(6), markdown=markdown
        ),
        table(*_rows(runs, rows), markdown=markdown),
        *(["\n".join(_losses(runs))] if any("one_second" in row.name for row in rows) else []),
        *_differences(runs, markdown),
        *(["They measured different versions of this program."] if _have_other_sources(runs) else []),
        "\n".join(line for i in range(1, len(runs)) for line in _explanation(runs, rows, i)),
    ]
    return "\n\n".join(part for part in parts if part)


def _rows(runs: list[Run], rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    header = ["benchmark", "unit", "A"]
    for letter in LETTERS[1 : len(runs)]:
        header += [letter, f"{letter}/A", f"{CONFIDENCE:.0%} interval", ""]
    lines = []
    for row in rows:
        line = [row.name, row.unit, number(row.medians[0])]
        for median, verdict in zip(row.medians[1:], row.verdicts, strict=True):
            line += [number(median), *_cells(verdict)]
        lines.append(line)
    return header, lines


def _cells(verdict: Verdict) -> list[str]:
    if verdict.word == NOT_COMPARABLE:
        return ["-", "-", f"{verdict.word}: {verdict.reason}"]
    return [f"{verdict.ratio:.2f}", f"{verdict.low:.2f} .. {verdict.high:.2f}", verdict.word]


def _losses(runs: list[Run]) -> list[str]:
    """The loss that one second of training reached in each run, beside the least there is."""
    lines = []
    for size, optimum in runs[0].optimum.items():
        series = [run.series.get(f"one_second[{size}]") for run in runs]
        losses = ", ".join(
            f"{letter} {sum(one.facts['loss']) / len(one.facts['loss']):.4f}"
            for letter, one in zip(LETTERS, series, strict=False)
            if one
        )
        if losses:
            lines.append(f"Loss after one second, {size}: {losses}; the least possible is {optimum:.4f}.")
    return lines


def _differences(runs: list[Run], markdown: bool) -> list[str]:
    found = [[key, *values] for key, values in differences(runs).items()]
    if not found:
        return ["The machines and their software are the same."]
    header = ["what differs", *LETTERS[: len(runs)]]
    return [table(header, found, left=range(len(header)), markdown=markdown)]


def _have_other_sources(runs: list[Run]) -> bool:
    return len({run.fingerprint["source"] for run in runs}) > 1


def _explanation(runs: list[Run], rows: list[Row], i: int) -> list[str]:
    """Noise, and what the calibrators say about why run i differs from the first."""
    letter, run = LETTERS[i], runs[i]
    lines = [
        f"{name} was noisy: {'; '.join(noisy.noise['why'])}."
        for name, noisy in ((("A", runs[0]),) if i == 1 else ()) + ((letter, run),)
        if noisy.noise["noisy"]
    ]
    verdicts = {row.name: row.verdicts[i - 1] for row in rows}
    ratios = [
        f"{name} {verdicts[name].ratio:.2f}"
        for name in CALIBRATORS
        if name in verdicts and verdicts[name].ratio
    ]
    if ratios:
        lines.append(f"Calibrators, {letter}/A: {', '.join(ratios)}.")
    lines += [
        f"{one.name}: {one.python_share:.0%} of A's time is Python; from interpreter and fma one expects "
        f"{letter}/A = {one.expected:.2f}, measured {one.measured:.2f}."
        for one in expectations(runs[0], run)
    ]
    return lines


def as_json(runs: list[Run], rows: list[Row]) -> str:
    """The whole comparison as JSON."""
    content = {
        "runs": [
            {"file": str(run.path), "label": run.label, "when": run.when, "noise": run.noise} for run in runs
        ],
        "rows": [asdict(row) for row in rows],
        "differences": differences(runs),
        "expectations": [[asdict(one) for one in expectations(runs[0], run)] for run in runs[1:]],
    }
    return json.dumps(content, indent=2)


def too_slow(rows: list[Row], limit: float) -> list[str]:
    """The benchmarks that are shown to be slower, and whose ratio is below the limit."""
    return [
        f"{row.name} ({verdict.ratio:.2f})"
        for row in rows
        if row.name not in CALIBRATORS
        for verdict in row.verdicts
        if verdict.word == SLOWER and verdict.ratio is not None and verdict.ratio < limit
    ]


def main(argv: Sequence[str] | None = None) -> int:
    try:
        options = build_parser().parse_args(argv)
        if len(options.runs) > len(LETTERS):
            raise InputError(f"at most {len(LETTERS)} runs can be compared, got {len(options.runs)}")
        runs, problems = load_all(options.runs, options.any_source)
        for problem in problems:
            print(f"compare: {problem}", file=sys.stderr)
        rows = compare(runs)
        if options.fail_below and not any(one.ratio for row in rows for one in row.verdicts):
            raise InputError("--fail-below: none of these runs' benchmarks can be compared")
        if options.plot:
            from benchmarks.plot import draw

            draw(runs, rows, options.plot)
    except InputError as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"compare: error: {error.name} is needed: pip install -e '.[benchmark]'", file=sys.stderr)
        return 2
    try:
        print(as_json(runs, rows) if options.json else render(runs, rows, options.markdown), flush=True)
    except BrokenPipeError:  # the reader has gone (`| head`)
        from autollm.cli import BROKEN_PIPE, discard_stdout

        discard_stdout()
        return BROKEN_PIPE
    slow = too_slow(rows, options.fail_below) if options.fail_below else []
    if slow:
        print(f"compare: below {options.fail_below:g}: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
