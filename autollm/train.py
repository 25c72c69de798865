"""Learning from a list of words for one second: `python -m autollm.train`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from autollm import cli
from autollm.errors import InputError
from autollm.interrupts import interrupts
from autollm.kernels.cache import is_empty_cache, report
from autollm.learning import checkpoint
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
from autollm.learning.optim import OPTIMISERS, RATES, SCHEDULES
from autollm.learning.plan import Budget, Plan, make_plan
from autollm.learning.words import read_words
from autollm.models import MAX_SIZE, MODELS, Config, configure, nets, sizes_of
from autollm.remarks import Remarks
from autollm.sample import add_options

SIZES = ("context", "dim", "hidden", "heads", "layers")
DATA = "names"  # what it learns from by default
MANY_WORDS = 20_000  # of which a net learns more than counting does
SETTINGS = ("batch", "optimiser", "lr", "schedule", "clip")


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="autollm train",
        description="Learn from a list of words for one second, then dream up new ones.",
        epilog="example:  autollm train --data pets.txt --seconds 2 --samples 10 --save pets.safetensors",
    )
    option = parser.add_argument
    default = " (default: %(default)s)"
    cli.add_data(parser, DATA)
    cli.add_budget(parser)
    option("--model", choices=MODELS, default="bag", help=", ".join(MODELS) + default)
    option("--counts", action="store_true", help="add the model to counts: it learns what counting misses")
    size = cli.whole(1, MAX_SIZE)
    option("--context", type=size, metavar="K", help="letters to look back" + _defaults("context"))
    option("--dim", type=size, metavar="D", help="numbers in a letter's code" + _defaults("dim"))
    option(
        "--hidden", type=size, metavar="H", help="numbers in the hidden layer or memory" + _defaults("hidden")
    )
    option("--heads", type=size, metavar="N", help="heads of attention" + _defaults("heads"))
    option("--layers", type=size, metavar="N", help="layers" + _defaults("layers"))
    option(
        "--batch",
        type=cli.whole(1, 10**9),
        metavar="B",
        help="examples in a step: places in words, or whole words" + _suits("batch"),
    )
    option(
        "--optimiser",
        choices=OPTIMISERS,
        help=f"{', '.join(OPTIMISERS)}" + _suits("optimiser"),
    )
    option(
        "--lr",
        type=cli.positive_float,
        metavar="RATE",
        help=f"learning rate at its highest (default: the bag 1.5 / context, less for batches below 16; "
        f"{_rates()}; on counts half of that; with an optimiser that is not the model's own: "
        f"{', '.join(f'{name} {rate:g}' for name, rate in RATES.items())})",
    )
    option(
        "--schedule",
        choices=SCHEDULES,
        help="how the learning rate goes on: as it is, down to 0 in a straight line or along a cosine, or up "
        "first and then straight down" + _suits("schedule"),
    )
    option(
        "--clip",
        type=cli.positive_float,
        metavar="NORM",
        help="the longest that a gradient may be; a longer one is cut" + _suits("clip"),
    )
    option(
        "--held-out",
        type=cli.whole(0, 10**9),
        metavar="N",
        help="words to keep back and judge the model by (default: 1 in 10, but 1000 at most, and none of "
        f"fewer than {FEW_WORDS} words)",
    )
    option(
        "--seed",
        type=cli.whole(0, 2**63),
        default=0,
        help="the same seed and --steps give the same words" + default,
    )
    option("--samples", type=cli.whole(0, 10**6), default=20, metavar="N", help="words to dream" + default)
    add_options(parser)
    option("--save", metavar="FILE", help="save the model, as safetensors")
    option("--quiet", action="store_true", help="nothing on standard error but errors")
    option("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def _defaults(size: str) -> str:
    """The models that have this size, and their defaults."""
    having = (f"{name} {sizes_of(name)[size]}" for name in MODELS if size in sizes_of(name))
    return f" (default: {', '.join(having)})"


def _rates() -> str:
    """The learning rates of the models that have one for all sizes."""
    rates = {name: recipe.lr for name, recipe in nets().items()}
    return ", ".join(f"{name} {rate:g}" for name, rate in rates.items() if not callable(rate))


def _suits(setting: str) -> str:
    """The models' defaults for a setting that all of them have."""
    models: dict[Any, list[str]] = {}
    for name, recipe in nets().items():
        models.setdefault(getattr(recipe, setting), []).append(name)
    if len(models) == 1:
        return f" (default: {next(iter(models)) or 'none'})"
    told = (f"{value or 'none'} for {', '.join(names)}" for value, names in models.items())
    return f" (default: {'; '.join(told)})"


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    tell = Remarks(options.quiet)
    if options.save is not None:
        checkpoint.check_target(options.save)
    words = read_words(options.data)
    corpus = Corpus.of(words, options.held_out, options.seed)
    corpus.alphabet.encode(options.prefix)  # an unknown letter is an error now, not after the training
    plan = plan_of(options)
    check_memory(plan, corpus, options.samples)
    tell(
        f"{len(words.distinct):,} words, {words.repeated:,} repetitions left out, "
        f"{len(corpus.held_out):,} held out"
    )
    if options.data != DATA and (remark := advice(len(words.distinct), plan.config)):
        tell(remark)

    if is_empty_cache():
        tell("compiling the kernels, which takes some seconds, first run only")
    warm_up(plan)
    startup = cli.seconds_since_start()
    how = "compiled, first run only" if report.compiled else "loaded"
    tell(f"{report.compiled or report.loaded} kernels {how}: {report.seconds:.2f} s")
    tell(f"ready {startup:.2f} s after the start")

    interrupts.start_learning()
    learned = learn(plan, corpus, tell.watch)
    tell.end_progress()
    unsaved = save(options.save, learned.checkpoint) if options.save else None
    if options.save and not unsaved:
        tell(f"saved to {options.save}")
    judgement = judge(learned)
    samples = dream_words(learned, options.samples, temperature=options.temperature, prefix=options.prefix)
    if options.json:
        cli.print_json(
            {
                "elapsed_seconds": learned.run.seconds,
                "steps": learned.run.steps,
                "steps_per_second": learned.run.steps / learned.run.seconds,
                "final_loss": judgement.final_loss,
                "held_out_loss": judgement.held_out_loss,
                "samples": samples.words,
                "new_samples": len(samples.new),
                "samples_in_training": samples.in_training,
                "samples_in_held_out": samples.in_held_out,
                "parameters": learned.parameters,
                "interrupted": learned.run.interrupted,
                "startup_seconds": startup,
                "compile_seconds": report.seconds,
                "compiled_kernels": report.compiled,
                "words": len(words.distinct),
                "held_out_words": len(corpus.held_out),
                "repeated_words": words.repeated,
                "examples": len(learned.examples),
                "alphabet": corpus.alphabet.characters,
                "config": vars(options) | settled(plan),
            }
        )
    else:
        print(_results(learned, judgement, samples))
    sys.stdout.flush()
    tell(f"{learned.run.steps / learned.run.seconds:,.0f} steps per second")
    if samples.words:
        new, count = len(samples.new), len(samples.words)
        tell(f"{new} of {count} samples are new ({new / count:.0%})")
    if unsaved:
        raise unsaved
    return interrupts.status


def save(path: str, learned: checkpoint.Checkpoint) -> InputError | None:
    """Save the model; why that failed, if it did: what was learned is to be printed all the same."""
    try:
        checkpoint.save(path, learned)
    except InputError as error:
        return error
    return None


def advice(words: int, config: Config) -> str:
    """Which model learns most of so many words, as measured in the README; nothing if it is this one."""
    name, options = ("mlp+counts", "mlp --counts") if words >= MANY_WORDS else ("counts", "counts")
    return "" if config.name == name else f"of {words:,} words --model {options} usually learns most"


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options make, with the model's own choice of what they leave open."""
    sizes = {name: getattr(options, name) for name in SIZES}
    config = configure(options.model, options.counts, **sizes)
    budget = Budget(options.seconds, options.steps)
    return make_plan(config, budget, options.seed, **{name: getattr(options, name) for name in SETTINGS})


def settled(plan: Plan) -> dict[str, Any]:
    """What the options left open, as the plan has it."""
    sizes = {name: plan.config.sizes.get(name) for name in SIZES}
    if plan.config.model not in nets():
        return sizes
    return sizes | {name: getattr(plan, name) for name in SETTINGS}


def _results(learned: Learned, judgement: Judgement, samples: Samples) -> str:
    """What is printed for a person: time, steps, loss, numbered samples."""
    lines = [
        f"Elapsed: {learned.run.seconds:.3f} seconds",
        f"Steps: {learned.run.steps}",
        f"Final loss: {judgement.final_loss:.4f}",
    ]
    if judgement.held_out_loss is not None:
        lines.append(f"Held-out loss: {judgement.held_out_loss:.4f}")
    lines.append("Samples:")
    remarks = dict.fromkeys(samples.in_training, "  (in the list)")
    remarks |= dict.fromkeys(samples.in_held_out, "  (held out)")
    for number, word in enumerate(samples.words, 1):
        lines.append(f"{number:2} : {word}{remarks.get(word, '')}")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.end(main)
