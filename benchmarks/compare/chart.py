"""The comparison as a picture: a dot for each ratio, a bar for its interval."""

from __future__ import annotations

import io
from pathlib import Path

from autollm.errors import InputError
from autollm.files import replace_file
from benchmarks.compare.ranking import headline, ranking
from benchmarks.compare.runs import Run
from benchmarks.compare.verdict import FASTER, SAME, SLOWER, Row, Verdict

DETAILS = ("kernel", "batch", "words")  # many rows, left to the table
COLOURS = {FASTER: "#0072b2", SLOWER: "#d55e00"}  # told apart by colour-blind readers too
NEITHER = "#888888"
Line = tuple[str, Verdict]


def lines_of(runs: list[Run], rows: list[Row]) -> tuple[str, list[Line]]:
    """A title and the lines of the picture: of two runs every benchmark, of more every machine, the fastest
    first. Raises InputError if there is nothing to draw."""
    names = [f"{run.label}, {run.when}" for run in runs]
    if len(runs) == 2:
        return f"{names[1]}\nrelative to {names[0]}", lines_of_rows(rows)
    row = headline(rows)
    if row is None:
        raise InputError("--plot: these runs have no training step in common")
    first = Verdict(SAME, 1.0, 1.0, 1.0)
    lines = [(names[one.run], one.verdict or first) for one in ranking(rows)]
    return f"{row.name}\nrelative to {names[0]}", lines


def lines_of_rows(rows: list[Row]) -> list[Line]:
    return [(row.name, row.verdicts[0]) for row in rows if row.name.split("[")[0] not in DETAILS]


def draw(title: str, lines: list[Line], target: Path) -> None:
    """Write the picture, the first line topmost. Raises InputError if it cannot be saved."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure, axis = plt.subplots(figsize=(8, 1.7 + 0.24 * len(lines)), layout="constrained")
    for y, (_, verdict) in enumerate(lines):
        _dot(axis, y, verdict)
    axis.axvline(1, color="black", linewidth=0.8, zorder=0)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    low, high = _range([verdict for _, verdict in lines])
    axis.set_xlim(min(low, 0.8) / 1.05, max(high, 1.25) * 1.05)
    axis.grid(axis="x", color="#dddddd", zorder=0)
    axis.set_title(title, fontsize=9, parse_math=False)  # a label may have a dollar sign
    axis.set_xlabel("speed ratio: slower  ←  1  →  faster")
    axis.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=8, parse_math=False)
    axis.set_ylim(len(lines) - 0.5, -0.5)
    for word, colour in (*COLOURS.items(), (SAME, NEITHER)):
        axis.plot([], [], "o", color=colour, label=word)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    _save(figure, target)
    plt.close(figure)


def _dot(axis, y: int, verdict: Verdict) -> None:  # type: ignore[no-untyped-def]
    if verdict.ratio is not None:
        colour = COLOURS.get(verdict.word, NEITHER)
        axis.plot([verdict.low, verdict.high], [y, y], color=colour, linewidth=2, alpha=0.5)
        axis.plot(verdict.ratio, y, "o", color=colour, markersize=5)


def _range(verdicts: list[Verdict]) -> tuple[float, float]:
    ends = [end for verdict in verdicts for end in (verdict.low, verdict.high) if end is not None]
    return min(ends, default=1.0), max(ends, default=1.0)


def _save(figure, target: Path) -> None:  # type: ignore[no-untyped-def]
    picture = io.BytesIO()
    figure.savefig(picture, format=target.suffix[1:], dpi=150)
    replace_file(str(target), picture.getvalue())
