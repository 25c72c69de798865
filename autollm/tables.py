"""Tables as text: aligned for a terminal, or Markdown to paste."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Collection[int] = (0,),
    markdown: bool = False,
) -> str:
    """Lines of columns; those whose numbers are in `left` are aligned to the left, the others to the right.
    A negative number counts from the last column."""
    cells = [[cell.replace("|", r"\|") if markdown else cell for cell in row] for row in (header, *rows)]
    to_left = {i % len(header) for i in left}
    least = 2 if markdown else 0  # a rule is a dash and a colon at least
    widths = [max(least, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        [cell.ljust(widths[i]) if i in to_left else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        for row in cells
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = ["-" * width if i in to_left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def number(value: float | None) -> str:
    """Three significant digits or all before the point: 93,012 or 1.84."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
