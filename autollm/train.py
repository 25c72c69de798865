"""Learning from a list of words for one second: `python -m autollm.train`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autollm import cli, options
from autollm.errors import InputError
from autollm.interrupts import interrupts
from autollm.kernels.cache import is_empty_cache, report
from autollm.learning import checkpoint
from autollm.learning.experiment import (
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
from autollm.learning.optim import OPTIMISERS, SCHEDULES
from autollm.learning.plan import Budget, Plan, make_plan
from autollm.models import MAX_SIZE, MODELS, Config, configure, nets, sizes_of
from autollm.models.counts import counts_of
from autollm.remarks import Remarks
from autollm.tables import table

if TYPE_CHECKING:
    from autollm.film.record import Recorder

SIZES = ("context", "dim", "hidden", "heads", "layers")
DATA = "names"  # what it learns from by default
TOO_FEW_FOR_A_NET = 200  # words: of fewer, counting alone learns more
SETTINGS = ("batch", "optimiser", "lr", "schedule", "clip")


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="autollm train",
        usage="autollm train [options]",
        add_help=False,  # it stands among the last options
        description="Learn from a list of words for one second, then dream up new ones.",
        epilog=f"defaults of the models:\n{_defaults()}\n\n"
        "example:  autollm train --data pets.txt --seconds 2 --samples 10 --save pets.safetensors",
    )
    words = options.add_words(parser, DATA)
    words.add_argument(
        "--held-out",
        type=cli.whole(0, 10**9),
        metavar="N",
        help="to judge by (default: of 1000 or more 1 in 10, up to 1000)",
    )
    words.add_argument(
        "--graphemes", action="store_true", help="keep letters with their marks and joiners whole"
    )

    group = parser.add_argument_group("model")
    start = group.add_mutually_exclusive_group()
    start.add_argument("--model", choices=MODELS, metavar="NAME", help=f"{', '.join(MODELS)} (default: bag)")
    start.add_argument(
        "--from", dest="start", metavar="MODEL", help="go on with a saved one, of this alphabet"
    )
    group.add_argument(
        "--counts", action="store_true", help="add it to counts, and learn what they miss, at half the lr"
    )
    size = cli.whole(1, MAX_SIZE)
    for name, what in (
        ("context", "letters to look back (of counts: 4)"),
        ("dim", "numbers in a letter's code"),
        ("hidden", "numbers in the hidden layer or state"),
        ("heads", "heads of attention"),
        ("layers", "layers"),
    ):
        group.add_argument(f"--{name}", type=size, metavar="N", help=what)

    group = parser.add_argument_group("training")
    options.add_budget(group)
    group.add_argument("--batch", type=cli.whole(1, 10**9), metavar="N", help="examples in a step")
    group.add_argument("--optimiser", choices=OPTIMISERS, metavar="NAME", help=", ".join(OPTIMISERS))
    group.add_argument("--lr", type=cli.positive_float, metavar="RATE", help="learning rate at its highest")
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        metavar="NAME",
        help=f"of that rate: {', '.join(SCHEDULES)}".replace(Plan.schedule, f"{Plan.schedule} (default)"),
    )
    group.add_argument(
        "--clip",
        type=cli.positive_float,
        metavar="NORM",
        help="the longest that a gradient may be (default: any)",
    )
    options.add_seed(group, "the same, and --steps, give the same words")

    group = parser.add_argument_group("dreaming")
    group.add_argument(
        "--samples",
        type=cli.whole(0, 10**6),
        default=20,
        metavar="N",
        help="words to dream" + options.DEFAULT,
    )
    options.add_dreaming(group)
    group.add_argument("--new", action="store_true", help="none that is in the list, and none twice")

    group = parser.add_argument_group("output")
    group.add_argument("--save", metavar="FILE", help="save the model, as safetensors")
    group.add_argument("--film", metavar="FILE.html", help="a page that replays how it learned")
    group.add_argument("--quiet", action="store_true", help="nothing on standard error but errors")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    group.add_argument("-h", "--help", action="help", help="show this")
    return parser


def _defaults() -> str:
    """A table of the models' sizes and of how each is trained unless told otherwise."""
    rows = []
    for name, recipe in nets().items():
        sizes = sizes_of(name)
        lr = "by size" if callable(recipe.lr) else f"{recipe.lr:g}"
        own = [str(sizes.get(size, "-")) for size in SIZES]
        rows.append([name, *own, str(recipe.batch), recipe.optimiser, lr])
    return table(["", *SIZES, "batch", "optimiser", "lr"], rows)


def main(argv: list[str] | None = None) -> int:
    given = build_parser().parse_args(argv)
    tell = Remarks(given.quiet)
    if given.save is not None:
        checkpoint.check_target(given.save)
    if given.film is not None:
        check_film(given.film, given.save)
    known = None if given.start is None else checkpoint.load(given.start)
    words = options.words_of(given, tell)
    corpus = Corpus.of(words, given.held_out, given.seed, known, given.graphemes)
    corpus.alphabet.encode(given.prefix)  # an unknown letter is an error now, not after the training
    wanted = options.wanted_of(given, corpus.alphabet, words.distinct if given.new else None)
    plan = plan_of(given, known.config if known else None)
    check_memory(plan, corpus, given.samples)
    options.tell_of_words(tell, words, corpus)
    if corpus.alphabet.has_parts and not given.graphemes:
        tell("some letters have marks or joiners, which may come out apart: --graphemes keeps them whole")
    if known and corpus.held_out:
        tell(f"{given.start} may have learned the words held out, unless --seed is the same as then")
    if known and counts_of(known.model):
        tell(f"{given.start} counts anew: what it had counted in other words is forgotten")
    if given.data != DATA and (remark := advice(len(words.distinct), plan.config)):
        tell(remark)

    if is_empty_cache():
        tell("compiling the kernels, which takes some seconds, first run only")
    warm_up(plan)
    startup = cli.seconds_since_start()
    how = "compiled, first run only" if report.compiled else "loaded"
    tell(f"{report.compiled or report.loaded} kernels {how}: {report.seconds:.2f} s")
    tell(f"ready {startup:.2f} s after the start")

    interrupts.start_learning()
    recorder = recorder_of(plan, corpus) if given.film else None
    record = recorder.begin if recorder else None
    learned = learn(plan, corpus, tell.watch, model=known.model if known else None, record=record)
    tell.end_progress()
    unsaved = [keep(given.save, lambda path: checkpoint.save(path, learned.checkpoint), tell)]
    if recorder:
        unsaved.append(keep(given.film, lambda path: recorder.write(path, learned), tell))
    judgement = judge(learned)
    options.tell_of_estimates(tell, learned, judgement)
    samples = dream_words(
        learned,
        given.samples,
        temperature=given.temperature,
        prefix=given.prefix,
        wanted=wanted,
        stop=lambda: interrupts.came > 0,
    )
    if given.json:
        cli.print_json(
            facts(learned, judgement, samples)
            | {
                "startup_seconds": startup,
                "compile_seconds": report.seconds,
                "compiled_kernels": report.compiled,
                "words": len(words.distinct),
                "repeated_words": words.repeated,
                "config": vars(given) | settings_of(plan),
            }
        )
    else:
        print(_results(learned, judgement, samples))
    sys.stdout.flush()
    tell(told_speed(learned))
    if not interrupts.came:
        options.tell_of_few(tell, samples.words, given.samples)
    if samples.words:
        new, count = len(samples.new), len(samples.words)
        tell(f"{new} of {count} samples are new ({new / count:.0%})")
    if any(unsaved):
        raise InputError("; ".join(filter(None, unsaved)))
    return interrupts.status


def advice(words: int, config: Config) -> str:
    """Which model learns most of so many words, as measured in the README; nothing if it is this one."""
    name, options = ("mlp+counts", "mlp --counts") if words >= TOO_FEW_FOR_A_NET else ("counts", "counts")
    return "" if config.name == name else f"of {words:,} words --model {options} usually learns most"


def told_speed(learned: Learned) -> str:
    """How fast it learned: by steps, or by counting."""
    run = learned.run
    if not learned.parameters:
        return f"{len(learned.corpus.training):,} words counted in {run.seconds:.3f} seconds"
    return f"{run.steps / run.seconds:,.0f} steps per second"


def plan_of(given: argparse.Namespace, known: Config | None) -> Plan:
    """The plan that the options make, with the model's own choice of what they leave open. Raises
    InputError for a size beside a model that has its sizes already."""
    sizes = {name: getattr(given, name) for name in SIZES if getattr(given, name) is not None}
    if known and sizes:
        raise InputError(f"--from {given.start}: the model has its sizes; leave out --{next(iter(sizes))}")
    for option in ("counts", "graphemes"):
        if known and getattr(given, option):
            raise InputError(f"--from {given.start}: the model has that settled; leave out --{option}")
    config = known or configure(given.model or "bag", given.counts, **sizes)
    budget = Budget(given.seconds, given.steps)
    return make_plan(config, budget, given.seed, **{name: getattr(given, name) for name in SETTINGS})


def settings_of(plan: Plan) -> dict[str, Any]:
    """The model, its sizes and settings, also those that the options left open."""
    sizes = {name: plan.config.sizes.get(name) for name in SIZES}
    config = plan.config
    trained = {name: getattr(plan, name) for name in SETTINGS} if config.model in nets() else {}
    return {"model": config.model, "counts": config.counts} | sizes | trained


def check_film(path: str, save: str | None) -> None:
    """Raise InputError if no film can be written to `path`, or the model is to be saved there."""
    from autollm.film import page  # which few runs need

    page.check_target(path)
    if save and os.path.realpath(save) == os.path.realpath(path):
        raise InputError(f"--save and --film are both {path}")


def recorder_of(plan: Plan, corpus: Corpus) -> Recorder:
    """What looks at the model while it learns."""
    from autollm.film.record import Recorder  # which few runs need

    return Recorder(plan, corpus)


def keep(path: str | None, write: Callable[[str], None], tell: Remarks) -> str:
    """Write a file, if one is wanted; why that failed, if it did: what was learned is to be printed all the
    same."""
    if not path:
        return ""
    try:
        write(path)
    except InputError as error:
        return str(error)
    tell(f"saved to {path}")
    return ""


def facts(learned: Learned, judgement: Judgement, samples: Samples) -> dict[str, Any]:
    """What came of it, for `--json`."""
    run = learned.run
    return {
        "elapsed_seconds": run.seconds,
        "steps": run.steps,
        "steps_per_second": run.steps / run.seconds,
        "final_loss": judgement.final_loss,
        "held_out_loss": judgement.held_out_loss,
        "samples": samples.words,
        "new_samples": len(samples.new),
        "samples_in_training": samples.in_training,
        "samples_in_held_out": samples.in_held_out,
        "parameters": learned.parameters,
        "interrupted": run.interrupted,
        "held_out_words": len(learned.corpus.held_out),
        "examples": len(learned.examples),
        "alphabet": learned.corpus.alphabet.text,
    }


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
