"""The comparison as text: a table, what differs between the machines, and what may explain the ratios."""

from __future__ import annotations

import json
from dataclasses import asdict
from statistics import mean

from autollm.tables import number, table
from benchmarks.compare.ranking import headline, ranking
from benchmarks.compare.runs import CALIBRATORS, Run
from benchmarks.compare.verdict import (
    CONFIDENCE,
    NOT_COMPARABLE,
    SAME,
    Row,
    Verdict,
    differences,
    expectations,
)

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SOFTWARE = ("python", "numba")  # facts about the machine that head the comparison


def render(runs: list[Run], rows: list[Row], markdown: bool = False) -> str:
    """The whole comparison as text."""
    legend = [
        [letter, run.label, run.when, *(str(run.machine.get(one, "-")) for one in SOFTWARE), run.path.name]
        for letter, run in zip(LETTERS, runs, strict=False)
    ]
    parts = [
        table(["", "machine", "date (UTC)", *SOFTWARE, "file"], legend, left=range(6), markdown=markdown),
        *([ranking_table(runs, rows, markdown)] if len(runs) > 2 else []),
        rows_table(len(runs), rows, markdown),
        *(["~: no difference shown. -: not comparable."] if len(runs) > 2 else []),
        shares_table(len(runs), rows, markdown),
        *(["\n".join(_losses(runs))] if any("one_second" in row.name for row in rows) else []),
        *_differences(runs, markdown),
        *(["They measured different versions of this program."] if _have_other_sources(runs) else []),
        "\n".join(line for i in range(1, len(runs)) for line in _explanation(runs, rows, i)),
    ]
    return "\n\n".join(part for part in parts if part)


def rows_table(count: int, rows: list[Row], markdown: bool = False, confidence: float = CONFIDENCE) -> str:
    """A line for each benchmark: its median in each of `count` runs, and verdicts for all but the first, with
    intervals of that confidence.

    Of two runs everything is told; of more, the ratios, with a ~ where no difference is shown.
    """
    header = ["benchmark", "unit", "A"]
    if count == 2:
        header += ["B", "B/A", f"{100 * confidence:g}% interval", ""]
        lines = [[*_begin(row), number(row.medians[1]), *_cells(row.verdicts[0])] for row in rows]
    else:
        header += [f"{letter}/A" for letter in LETTERS[1:count]]
        lines = [[*_begin(row), *map(_ratio, row.verdicts)] for row in rows]
    return table(header, lines, markdown=markdown)


def _begin(row: Row) -> list[str]:
    return [row.name, row.unit, number(row.medians[0])]


def _cells(verdict: Verdict) -> list[str]:
    if verdict.word == NOT_COMPARABLE:
        return ["-", "-", f"{verdict.word}: {verdict.reason}"]
    return [f"{verdict.ratio:.2f}", f"{verdict.low:.2f} .. {verdict.high:.2f}", verdict.word]


def _ratio(verdict: Verdict) -> str:
    if verdict.ratio is None:
        return "-"
    return f"~{verdict.ratio:.2f}" if verdict.word == SAME else f"{verdict.ratio:.2f}"


def shares_table(count: int, rows: list[Row], markdown: bool = False) -> str:
    """What each kernel reaches of the fma calibrator's peak, and a product relative to np.dot, in each of
    `count` runs; nothing where no kernel was measured. A slow path for some processor shows here."""
    lines = [[row.name, *map(shares, row.of_peak, row.of_numpy)] for row in rows if any(row.of_peak)]
    header = ["share of the fma peak (and speed relative to np.dot)", *LETTERS[:count]]
    return table(header, lines, markdown=markdown) if lines else ""


def shares(of_peak: float | None, of_numpy: float | None) -> str:
    """A share of the peak and, of a product, its speed relative to np.dot."""
    if of_peak is None:
        return "-"
    return f"{of_peak:.0%}" + (f" ({of_numpy:.2f})" if of_numpy else "")


def ranking_table(runs: list[Run], rows: list[Row], markdown: bool = False) -> str:
    """A line for each machine, the fastest first; nothing without a benchmark that all have."""
    standings, row = ranking(rows), headline(rows)
    if row is None:
        return ""
    header = ["", "machine", row.name, "to A", f"{CONFIDENCE:.0%} interval", "", "all steps", "all rates"]
    lines = []
    for one in standings:
        cells = _cells(one.verdict) if one.verdict else ["1.00", "", ""]
        means = ["-" if mean is None else f"{mean:.2f}" for mean in (one.steps, one.rates)]
        lines.append([LETTERS[one.run], runs[one.run].label, number(one.speed), *cells, *means])
    return table(header, lines, left=(0, 1, 5), markdown=markdown)


def _losses(runs: list[Run]) -> list[str]:
    """The loss that one second of training reached in each run, beside the least there is."""
    lines = []
    for size, optimum in runs[0].optimum.items():
        series = [run.series.get(f"one_second[{size}]") for run in runs]
        losses = ", ".join(
            f"{letter} {mean(one.facts['loss']):.4f}"
            for letter, one in zip(LETTERS, series, strict=False)
            if one and one.facts["loss"]
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
    shown = (("A", runs[0]), (letter, run)) if i == 1 else ((letter, run),)
    lines = [f"{name} is incomplete: not every visit was made." for name, one in shown if not one.complete]
    lines += [f"{name} before measuring: {one.probe}." for name, one in shown]
    lines += [
        f"{name} was noisy: {'; '.join(noisy.noise['why'])}." for name, noisy in shown if noisy.noise["noisy"]
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
        f"{one.name}: {one.python_share:.0%} of A's time is Python; from interpreter and fma beside it one "
        f"expects {letter}/A = {one.expected:.2f} ({one.low:.2f} .. {one.high:.2f}), "
        f"measured {one.measured:.2f}."
        for one in expectations(runs[0], run)
    ]
    return lines


def as_json(runs: list[Run], rows: list[Row]) -> str:
    """The whole comparison as JSON."""
    content = {
        "runs": [
            {
                "file": str(run.path),
                "label": run.label,
                "when": run.when,
                "complete": run.complete,
                "noise": run.noise,
            }
            for run in runs
        ],
        "ranking": [asdict(one) for one in ranking(rows)],
        "rows": [asdict(row) for row in rows],
        "differences": differences(runs),
        "expectations": [[asdict(one) for one in expectations(runs[0], run)] for run in runs[1:]],
    }
    return json.dumps(content, indent=2)
