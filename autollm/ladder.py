"""Every model, one second each, on the same words: `python -m autollm.ladder`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from autollm import cli, options
from autollm.errors import DivergedError, InputError
from autollm.interrupts import interrupts
from autollm.kernels.cache import is_empty_cache, report
from autollm.learning.experiment import (
    FEW_WORDS,
    Corpus,
    Judgement,
    Learned,
    Samples,
    dream_words,
    judge,
    learn,
    warm_up,
)
from autollm.learning.memory import check_memory
from autollm.learning.plan import Budget, Plan, make_plan
from autollm.models import MODELS, Config, configure, nets
from autollm.remarks import Remarks
from autollm.tables import table

ON_COUNTS = "+counts"  # what the name of a model that is added to counts ends with
BEST = "mlp" + ON_COUNTS
NAMES = 3  # dreamed by every model
MOMENTS = 16  # of a training run, at which the chart has the held-out loss
HEADER = ("model", "parameters", "steps", "steps/s", "tokens/s", "training", "held-out", "dreamed")


@dataclass(frozen=True)
class Rung:
    """One model of the ladder, and what became of it: what it learned, or why it could not."""

    name: str
    learned: Learned | None = None
    judgement: Judgement | None = None
    samples: Samples | None = None
    error: str = ""

    def facts(self) -> dict[str, object]:
        """For `--json`. A token is a letter, or the end of a word."""
        if not (self.learned and self.judgement and self.samples):
            return {"model": self.name, "error": self.error}
        run = self.learned.run
        return {
            "model": self.name,
            "parameters": self.learned.parameters,
            "steps": run.steps,
            "elapsed_seconds": run.seconds,
            "steps_per_second": run.steps / run.seconds,
            "tokens_per_second": self.learned.tokens_per_second,
            "final_loss": self.judgement.final_loss,
            "held_out_loss": self.judgement.held_out_loss,
            "samples": self.samples.words,
            "samples_in_training": self.samples.in_training,
            "samples_in_held_out": self.samples.in_held_out,
            "interrupted": run.interrupted,
        }

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Held-out losses against seconds of training, the first one before it, the last one after it."""
        if not self.learned or not self.judgement or self.judgement.held_out_loss is None:
            return []
        return [*self.learned.curve, (self.learned.run.seconds, self.judgement.held_out_loss)]

    def cells(self) -> list[str]:
        """For the table."""
        if not (self.learned and self.judgement and self.samples):
            return [self.name, *["-"] * 6, self.error]
        run, unseen = self.learned.run, self.judgement.held_out_loss
        amounts = self.learned.parameters, run.steps, run.steps / run.seconds, self.learned.tokens_per_second
        losses = [f"{self.judgement.final_loss:.3f}", "-" if unseen is None else f"{unseen:.3f}"]
        return [self.name, *(f"{amount:,.0f}" for amount in amounts), *losses, ", ".join(self.samples.words)]


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="autollm ladder",
        usage="autollm ladder [options]",
        description="Train every model for one second on the same words, and compare them in one table: the "
        "losses on the words they learned from and on words held out, in nats per letter.",
        epilog="example:  autollm ladder --data towns.txt --models bag,mlp,gpt --plot ladder.png",
    )
    options.add_words(parser, "names-32k")
    group = parser.add_argument_group("training")
    options.add_budget(group)
    group.add_argument(
        "--models",
        type=cli.some([*MODELS, *(name + ON_COUNTS for name in nets())], "model"),
        default=",".join(rungs()),
        metavar="NAME,...",
        help=f"which, in this order; NAME{ON_COUNTS} is one that is added to counts" + options.DEFAULT,
    )
    options.add_seed(group, "the same, and --steps, give the same losses and words")
    option = parser.add_argument_group("output").add_argument
    option("--plot", metavar="FILE", help="draw the held-out losses against time, as FILE.png or FILE.svg")
    option("--quiet", action="store_true", help="nothing on standard error but errors")
    option("--json", action="store_true", help="print one JSON object instead of the table")
    return parser


def main(argv: list[str] | None = None) -> int:
    given = build_parser().parse_args(argv)
    tell = Remarks(given.quiet)
    words = options.words_of(given, tell)
    corpus = Corpus.of(words, None, given.seed)
    if given.plot is not None:
        from autollm import chart

        chart.check(given.plot)
        if not corpus.held_out:
            raise InputError(
                f"--plot: it shows the loss on held-out words, and of {len(words.distinct)} words none are "
                f"held out (of {FEW_WORDS} or more, some are)"
            )
    budget = Budget(given.seconds, given.steps)
    plans = [make_plan(config_of(name), budget, given.seed) for name in given.models]
    for plan in plans:
        check_memory(plan, corpus, NAMES)
    options.tell_of_words(tell, words, corpus)

    rungs = train_in_turn(plans, corpus, tell, MOMENTS if given.plot else 0)
    if given.json:
        cli.print_json(
            {
                "models": [rung.facts() for rung in rungs],
                "words": len(words.distinct),
                "held_out_words": len(corpus.held_out),
                "interrupted": bool(interrupts.came),
                "config": vars(given),
            }
        )
    else:
        print(table(HEADER, [rung.cells() for rung in rungs], left=(0, -1)))
    sys.stdout.flush()  # what was learned is out before anything else can fail
    curves = {rung.name: rung.curve for rung in rungs if rung.learned}
    if given.plot and curves:
        chart.draw(curves, given.plot)
        tell(f"drawn in {given.plot}")
    return interrupts.status or int(any(rung.error for rung in rungs))


def rungs() -> list[str]:
    """All models, and then the best of both: a net on counts."""
    return [*MODELS, BEST]


def config_of(name: str) -> Config:
    """What a rung is called, as a Config."""
    return configure(name.removesuffix(ON_COUNTS), name.endswith(ON_COUNTS))


def train_in_turn(plans: list[Plan], corpus: Corpus, tell: Remarks, moments: int) -> list[Rung]:
    """Train one model after the other, until a signal comes."""
    rungs: list[Rung] = []
    for plan in plans:
        if interrupts.came:
            break
        try:
            get_ready(plan, tell)
            interrupts.start_learning()  # only now is there something to lose
            if interrupts.came:
                break
            rungs.append(Rung(plan.config.name, *train_one(plan, corpus, tell, moments)))
        except (DivergedError, MemoryError) as error:
            reason = str(error) if isinstance(error, DivergedError) else cli.told_of_memory(error)
            rungs.append(Rung(plan.config.name, error=reason))
        finally:
            tell.end_progress()
    return rungs


def get_ready(plan: Plan, tell: Remarks) -> None:
    """Compile or load a model's kernels."""
    before, seconds = report.compiled, report.seconds
    if is_empty_cache():
        tell("compiling the kernels, which takes some seconds for every model, first run only")
    warm_up(plan)
    if report.compiled > before:
        tell(
            f"{plan.config.name}: {report.compiled - before} kernels compiled, first run only: "
            f"{report.seconds - seconds:.2f} s"
        )


def train_one(plan: Plan, corpus: Corpus, tell: Remarks, moments: int) -> tuple[Learned, Judgement, Samples]:
    """Train one model, and see what it has learned."""
    tell.task = f"{plan.config.name:<10}"
    learned = learn(plan, corpus, tell.watch, moments)
    tell.end_progress()
    judgement = judge(learned)
    options.tell_of_estimates(tell, learned, judgement)
    return learned, judgement, dream_words(learned, NAMES)


if __name__ == "__main__":
    cli.end(main)
