"""The comparison as a picture: a dot for each benchmark's ratio, a bar for its interval."""

from __future__ import annotations

import io
import re
from pathlib import Path

from autollm.files import replace_file
from benchmarks.compare.verdict import FASTER, SLOWER, Row, Verdict

DETAILS = ("kernel", "batch", "words")  # many rows, left to the table
COLOURS = {FASTER: "#0072b2", SLOWER: "#d55e00"}  # told apart by colour-blind readers too
NEITHER = "#888888"


def draw(titles: list[str], rows: list[Row], target: Path) -> None:
    """Write the picture, with a panel for each verdict of a row. Raises InputError if it cannot be saved."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    chosen = [row for row in rows if re.split(r"\[", row.name)[0] not in DETAILS]
    panels = len(titles)
    size = (3.4 + 4.2 * panels, 1.5 + 0.24 * len(chosen))
    figure, axes = plt.subplots(1, panels, sharey=True, squeeze=False, figsize=size, layout="constrained")
    for i, (axis, title) in enumerate(zip(axes[0], titles, strict=True)):
        for y, row in enumerate(chosen):
            _dot(axis, y, row.verdicts[i])
        axis.axvline(1, color="black", linewidth=0.8, zorder=0)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        low, high = _range([row.verdicts[i] for row in chosen])
        axis.set_xlim(min(low, 0.8) / 1.05, max(high, 1.25) * 1.05)
        axis.grid(axis="x", color="#dddddd", zorder=0)
        axis.set_title(title, fontsize=9, parse_math=False)  # a label may have a dollar sign
        axis.set_xlabel("speed ratio: slower  ←  1  →  faster")
    axes[0][0].set_yticks(range(len(chosen)), [row.name for row in chosen], fontsize=8)
    axes[0][0].set_ylim(len(chosen) - 0.5, -0.5)
    for word, colour in (*COLOURS.items(), ("no difference shown", NEITHER)):
        axes[0][-1].plot([], [], "o", color=colour, label=word)
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
