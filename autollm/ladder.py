"""Every model, one second each, on the same words: `python -m autollm.ladder`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass

from autollm import cli
from autollm.errors import DivergedError, InputError
from autollm.kernels.cache import is_empty_cache
from autollm.kernels.kernel import report
from autollm.learning.experiment import (
    FEW_WORDS,
    Corpus,
    Learned,
    Plan,
    Samples,
    dream_words,
    learn,
    make_plan,
    warm_up,
)
from autollm.learning.memory import check_memory
from autollm.learning.training import Budget
from autollm.learning.words import read_words
from autollm.models import MODELS, configure

NAMES = 3  # dreamed by every model
MOMENTS = 16  # of a training run, at which the chart has the held-out loss
HEADER = ("model", "parameters", "steps", "steps/s", "tokens/s", "training", "held-out", "dreamed")


@dataclass(frozen=True)
class Rung:
    """One model of the ladder, and what became of it: what it learned, or why it could not."""

    name: str
    learned: Learned | None = None
    samples: Samples | None = None
    error: str = ""

    def facts(self) -> dict[str, object]:
        """For `--json`. A token is a letter, or the end of a word."""
        if not self.learned or not self.samples:
            return {"model": self.name, "error": self.error}
        run = self.learned.run
        return {
            "model": self.name,
            "parameters": self.learned.parameters,
            "steps": run.steps,
            "elapsed_seconds": run.seconds,
            "steps_per_second": run.steps / run.seconds,
            "tokens_per_second": self.learned.tokens_per_second,
            "final_loss": self.learned.final_loss,
            "held_out_loss": self.learned.held_out_loss,
            "samples": self.samples.words,
            "samples_in_training": self.samples.in_training,
            "samples_in_held_out": self.samples.in_held_out,
            "interrupted": run.interrupted,
        }

    def cells(self) -> list[str]:
        """For the table."""
        if not self.learned or not self.samples:
            return [self.name, *["-"] * 6, self.error]
        run, unseen = self.learned.run, self.learned.held_out_loss
        amounts = self.learned.parameters, run.steps, run.steps / run.seconds, self.learned.tokens_per_second
        losses = [f"{self.learned.final_loss:.3f}", "-" if unseen is None else f"{unseen:.3f}"]
        return [self.name, *(f"{amount:,.0f}" for amount in amounts), *losses, ", ".join(self.samples.words)]


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="autollm ladder",
        description="Train every model for one second on the same words, and compare them in one table: the "
        "losses on the words they learned from and on words held out, in nats per letter.",
        epilog="example:  autollm ladder --data towns.txt --models bag,mlp,gpt --plot ladder.png",
    )
    option = parser.add_argument
    cli.add_data(parser, "names-32k")
    cli.add_budget(parser)
    option(
        "--models",
        type=cli.some(MODELS, "model"),
        default=",".join(MODELS),
        metavar="NAME,...",
        help="which, in this order (default: %(default)s)",
    )
    option(
        "--seed",
        type=cli.whole(0, 2**63),
        default=0,
        help="the same seed and --steps give the same losses and words (default: %(default)s)",
    )
    option("--plot", metavar="FILE", help="draw the held-out losses against time, as FILE.png or FILE.svg")
    option("--quiet", action="store_true", help="nothing on standard error but errors")
    option("--json", action="store_true", help="print one JSON object instead of the table")
    return parser


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    talk = cli.Talker(options.quiet)
    words = read_words(options.data)
    corpus = Corpus.of(words, None, options.seed)
    if options.plot is not None:
        from autollm import chart

        chart.check(options.plot)
        if not corpus.held_out:
            raise InputError(
                f"--plot: it shows the loss on held-out words, and of {len(words.distinct)} words none are "
                f"held out (of {FEW_WORDS} or more, some are)"
            )
    budget = Budget(options.seconds, options.steps)
    plans = [make_plan(configure(name), budget, options.seed) for name in options.models]
    for plan in plans:
        check_memory(plan, corpus, NAMES)
    talk(
        f"{len(words.distinct):,} words, {words.repeated:,} repetitions left out, "
        f"{len(corpus.held_out):,} held out"
    )

    rungs, interrupted = climb(plans, corpus, talk, MOMENTS if options.plot else 0)
    if interrupted and not rungs:
        raise KeyboardInterrupt
    if options.json:
        facts = {
            "models": [rung.facts() for rung in rungs],
            "words": len(words.distinct),
            "held_out_words": len(corpus.held_out),
            "interrupted": interrupted,
            "config": vars(options),
        }
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print(table([list(HEADER), *(rung.cells() for rung in rungs)]))
    sys.stdout.flush()  # what was learned is out before anything else can fail
    curves = {rung.name: rung.learned.curve for rung in rungs if rung.learned}
    if options.plot and curves:
        chart.draw(curves, options.plot)
        talk(f"drawn in {options.plot}")
    if interrupted:
        return cli.INTERRUPTED
    return 1 if any(rung.error for rung in rungs) else 0


def climb(plans: list[Plan], corpus: Corpus, talk: cli.Talker, moments: int) -> tuple[list[Rung], bool]:
    """Train one model after the other; also whether Ctrl-C has ended it."""
    rungs: list[Rung] = []
    try:
        for plan in plans:
            rungs.append(rung := step_up(plan, corpus, talk, moments))
            if rung.learned and rung.learned.run.interrupted:
                return rungs, True
    except KeyboardInterrupt:
        return rungs, True
    finally:
        talk.end_progress()
    return rungs, False


def step_up(plan: Plan, corpus: Corpus, talk: cli.Talker, moments: int) -> Rung:
    """Train one model, after its kernels are compiled."""
    name = plan.config.model
    before, seconds = report.compiled, report.seconds
    if is_empty_cache():
        talk("compiling the kernels, which takes some seconds for every model, first run only")
    warm_up(plan)
    if report.compiled > before:
        talk(
            f"{name}: {report.compiled - before} kernels compiled, first run only: "
            f"{report.seconds - seconds:.2f} s"
        )
    talk.task = f"{name:<7}"
    try:
        learned = learn(plan, corpus, talk.progress if talk.watched else None, moments)
        return Rung(name, learned, dream_words(learned, plan, corpus, NAMES))
    except (DivergedError, MemoryError) as error:
        return Rung(name, error=str(error))


def table(rows: list[list[str]]) -> str:
    """Columns side by side: the first and the last to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *middle, last in rows:
        cells = (cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *cells, last]))
    return "\n".join(lines)


if __name__ == "__main__":
    cli.end(main)
