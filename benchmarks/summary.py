"""The short tables at the end of a run."""

from __future__ import annotations

import re
from statistics import mean

from autollm.tables import number, table
from benchmarks.compare.report import shares
from benchmarks.compare.runs import CALIBRATORS, OF_KERNELS, Run, Series

ORIGINAL_STEPS = 4200  # in one second, at the first workload's size, as the original reports


def render(run: Run) -> str:
    """Everything a person wants to know after a run; what was not measured is left out."""
    parts = (_workloads, _rates, _kernels, _products, _scale, _waiting, _calibrators, _noise)
    return "\n\n".join(text for part in parts if (text := part(run)))


def _within(run: Run, benchmark: str) -> dict[str, Series]:
    """A benchmark's series by what stands in the brackets of their names."""
    found = {name: re.fullmatch(rf"{benchmark}\[(.*)\]", name) for name in run.series}
    return {match[1]: run.series[name] for name, match in found.items() if match}


def _workloads(run: Run) -> str:
    steps, ceilings, seconds = (_within(run, name) for name in ("step", "ceiling", "one_second"))
    header = ["B x K x D", "steps/s", "steps in 1 s", "loss after it", "least possible", "of original's"]
    header += ["µs a step", "in kernels", "in Python"]
    rows = []
    for i, size in enumerate(dict.fromkeys([*steps, *seconds])):
        row = [size, number(steps[size].speed) if size in steps else "-"]
        if size in seconds:
            done, losses = seconds[size].facts["work"], seconds[size].facts["loss"]
            multiple = f"{mean(done) / ORIGINAL_STEPS:.1f} x" if i == 0 else "-"
            row += [number(mean(done)), f"{mean(losses):.4f}", f"{run.optimum[size]:.4f}", multiple]
        else:
            row += ["-"] * 4
        if size in steps and size in ceilings:
            total, kernels = 1e6 / steps[size].speed, 1e6 / ceilings[size].speed
            row += [f"{total:.1f}", _share(kernels, total)]
            row += [_share(total - kernels, total) if kernels < total else "-"]  # less than the noise
        else:
            row += [f"{1e6 / steps[size].speed:.1f}" if size in steps else "-", "-", "-"]
        rows.append(row)
    return table(header, rows) if rows else ""


def _rates(run: Run) -> str:
    """A copy on every core, against one."""
    rows = []
    for size, series in _within(run, "rate").items():
        copies = series.facts["copies"]
        alone, slowest = mean(series.facts["alone"]), mean(series.facts["slowest"])
        efficiency = series.speed / (copies * alone)
        rows.append([size, str(copies), *map(number, (series.speed, alone, slowest)), f"{efficiency:.0%}"])
    header = ["a copy on every core", "copies", "steps/s of all", "one alone", "the slowest", "efficiency"]
    text = [table(header, rows)] if rows else []
    if mixed := run.series.get("rate_mixed"):
        text.append(f"every core another model: {number(mixed.speed)} {mixed.unit}")
    return "\n".join(text)


def _share(part: float, total: float) -> str:
    return f"{part:.1f} ({part / total:.0%})"


def _kernels(run: Run) -> str:
    """For every size: a kernel's µs in a step, its rate, and its shares of the peak and of the step."""
    steps, cells = _within(run, "step"), _within(run, "kernel")
    names = dict.fromkeys(cell.split("-", 1)[1] for cell in cells)
    sizes = [size for size in dict.fromkeys(cell.split("-", 1)[0] for cell in cells) if size in steps]
    rows = []
    for name in names:
        row = [name]
        for size in sizes:
            series = cells[f"{size}-{name}"]
            seconds = series.facts["work_per_call"] * series.facts["calls_per_step"] / series.speed
            rate = f"{number(series.shown())} {series.unit}"
            peak, step = shares(series.relative("of_peak"), None), f"{seconds * steps[size].speed:.0%}"
            row.append(f"{seconds * 1e6:.2f}  {rate:>12}  {peak:>4}  {step:>4}")
        rows.append(row)
    header = ["kernel: µs a step, rate, share of fma's, of the step", *sizes]
    return table(header, rows) if rows and sizes else ""


def _products(run: Run) -> str:
    """For every size: the rate of each matrix product, its shares of the peak and of np.dot's."""
    cells = _within(run, "product")
    sizes, names = ([*dict.fromkeys(cell.split("-", 1)[i] for cell in cells)] for i in (0, 1))
    rows = []
    for name in names:
        found = [cells.get(f"{size}-{name}") for size in sizes]
        rows.append([name, *(_product(one) if one else "-" for one in found)])
    return table(["product: rate, share of fma's (times np.dot)", *sizes], rows) if rows else ""


def _product(series: Series) -> str:
    return f"{number(series.shown())} {series.unit}  {shares(*map(series.relative, OF_KERNELS))}"


def _scale(run: Run) -> str:
    """Time per example as the batch grows, and steps per second as the list of words does."""
    by_batch, by_words = _within(run, "batch"), _within(run, "words")
    parts = []
    if by_batch:
        times = [f"{1e9 / series.speed:.0f}" for series in by_batch.values()]
        parts.append(table(["batch", *by_batch], [["ns an example", *times]]))
    if by_words:
        header = ["words", *(number(series.facts["words"]) for series in by_words.values())]
        parts.append(table(header, [["steps/s", *(number(series.speed) for series in by_words.values())]]))
    for words, series in _within(run, "counting").items():
        parts.append(f"counting {words} words: {number(series.speed)} words/s")
    return "\n\n".join(parts)


def _waiting(run: Run) -> str:
    """What a user waits for: start-up, words, memory."""
    lines = []
    imports = _within(run, "import")
    if imports:
        lines.append(
            "processes: " + ", ".join(f"{code} {one.shown():.0f} ms" for code, one in imports.items())
        )
    for name, kind in (("first_step_warm", "loaded"), ("first_step_cold", "compiled")):
        if series := run.series.get(name):
            kernels = mean(series.facts["kernel_seconds"])
            lines.append(f"first step, kernels {kind}: {series.shown() / 1e3:.2f} s ({kernels:.2f} s of it)")
    if series := run.series.get("prompt_to_prompt"):
        lines.append(f"prompt to prompt, training left out: {series.shown() / 1e3:.2f} s")
    if series := run.series.get("default_run"):
        peak, idle = mean(series.facts["peak_memory_mb"]), mean(series.facts["idle_memory_mb"])
        lines.append(
            f"peak memory of the default run: {peak:.0f} MB; with numba imported and idle: {idle:.0f} MB"
        )
    if series := run.series.get("sampling"):
        lines.append(f"sampling: {number(series.speed)} names/s")
    return "\n".join(lines)


def _calibrators(run: Run) -> str:
    found = {name: run.series[name] for name in CALIBRATORS if name in run.series}
    told = ", ".join(f"{name} {number(one.shown())} {one.unit}" for name, one in found.items())
    return f"calibrators: {told}" if told else ""


def _noise(run: Run) -> str:
    if run.smoke:
        return "This was a smoke run: its figures mean nothing."
    if not run.complete:
        return "This run is incomplete: not every visit was made."
    before = f"Before measuring: {run.probe}.\n"
    if run.noise["noisy"]:
        return before + f"This run was NOISY: {'; '.join(run.noise['why'])}."
    return before + "This run was quiet."
