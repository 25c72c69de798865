"""Training for one second: `python -m autollm.train`."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autollm import checkpoint, cli
from autollm.dataset import Alphabet, Examples, Words, batches, make_examples, read_words
from autollm.errors import DivergedError
from autollm.kernels.jit import report
from autollm.models import MAX_SIZE, Config, Model, build, parameters
from autollm.optim import SGD
from autollm.primitives import xent_from_logits
from autollm.sample import add_options, dream


@dataclass(frozen=True)
class Budget:
    """How long to train: seconds of clock time, or a number of steps."""

    seconds: float = 1.0
    steps: int | None = None

    def clock(self) -> tuple[Callable[[], float], float]:
        """A clock to be read after every step, and how far it may go: one that ticks once a reading,
        or one that shows the time."""
        if self.steps is not None:
            return itertools.count().__next__, self.steps
        return time.perf_counter, self.seconds


@dataclass(frozen=True)
class Run:
    """What a training run came to."""

    steps: int
    seconds: float
    interrupted: bool


def default_lr(context: int, batch: int) -> float:
    """A learning rate that suits the bag: it adds up K codes, so a step moves the logits K times as
    far; and a small batch's gradient is mostly noise."""
    return 1.5 / context * min(batch / 16, 1.0)


def train(
    model: Model,
    examples: Examples,
    *,
    budget: Budget = Budget(),
    batch: int = 64,
    lr: float | None = None,
    seed: int = 0,
    watch: Callable[[int, float, float], None] | None = None,
) -> Run:
    """Train `model` in place on random batches of `examples` until the budget is used.

    The learning rate falls linearly from `lr` to 0 over the budget. `watch(step, loss, used)` is called
    now and then. Ctrl-C ends training early. Raises DivergedError when the loss is no longer a
    reasonable number.
    """
    lr = lr or default_lr(examples.contexts.shape[1], batch)
    optimiser = SGD(parameters(model).values())
    blocks = batches(examples, batch, seed)
    step, interrupted, used = 0, False, 0.0
    start = time.perf_counter()
    clock, amount = budget.clock()
    began = clock()
    try:
        while used < 1.0:
            for contexts, targets in next(blocks):
                loss = xent_from_logits(model(contexts), targets)
                loss.back(1.0)
                optimiser.step(lr * (1.0 - used))
                step += 1
                used = (clock() - began) / amount
                if used >= 1.0:
                    break
            check_loss(loss.v, step, lr)
            if watch:
                watch(step, loss.v, used)
    except KeyboardInterrupt:
        interrupted = True
    return Run(step, time.perf_counter() - start, interrupted)


def check_loss(loss: float, steps: int, lr: float) -> None:
    """Raise DivergedError for a NaN, infinite or absurd loss: pure guessing costs ln(V), under 14 nats."""
    if not loss < 1000.0:
        raise DivergedError(f"the loss is {loss:g} after {steps} steps; try a --lr below {lr:g}")


def mean_loss(model: Model, examples: Examples, chunk: int = 4096) -> float:
    """The mean loss over all examples, in nats per letter."""
    total = 0.0
    for start in range(0, len(examples), chunk):
        targets = examples.targets[start : start + chunk]
        loss = xent_from_logits(model(examples.contexts[start : start + chunk]), targets)
        total += loss.v * len(targets)
    return total / len(examples)


def warm_up(config: Config) -> None:
    """Compile or load every kernel that training needs, by a run in small."""
    alphabet = Alphabet("a")
    model = build(config, alphabet.size)
    examples = make_examples(["a", "aa"], alphabet, config.context)
    train(model, examples, budget=Budget(steps=1), batch=1)
    mean_loss(model, examples)
    dream(model, alphabet, config.context, 1, np.random.default_rng(0), max_letters=2)


# --- the command line ------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="autollm train",
        description="Learn from a list of words for one second, then dream up new ones.",
        epilog="example:  autollm train --data pets.txt --seconds 2 --samples 10 --save pets.safetensors",
    )
    option = parser.add_argument
    default = " (default: %(default)s)"
    option(
        "--data",
        default="names",
        metavar="FILE",
        help="UTF-8 text, one word a line; - for standard input; names or names-32k for a built-in list"
        + default,
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--seconds", type=cli.positive_float, default=1.0, metavar="S", help="train so long" + default
    )
    budget.add_argument("--steps", type=cli.whole(1, 10**12), metavar="N", help="or for so many steps")
    option("--batch", type=cli.whole(1, 10**9), default=64, metavar="B", help="examples in a step" + default)
    option(
        "--context",
        type=cli.whole(1, MAX_SIZE),
        default=3,
        metavar="K",
        help="letters to look back" + default,
    )
    option(
        "--dim",
        type=cli.whole(1, MAX_SIZE),
        default=32,
        metavar="D",
        help="numbers in a letter's code" + default,
    )
    option(
        "--lr",
        type=cli.positive_float,
        metavar="RATE",
        help="learning rate at the start; it falls to 0 (default: 1.5 / context, less for batches below 16)",
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


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    talk = cli.Talker(options.quiet)
    if options.save:
        checkpoint.check_target(options.save)
    words = read_words(options.data)
    alphabet = Alphabet.of(words.distinct)
    alphabet.encode(options.prefix)  # an unknown letter is an error now, not after the training
    config = Config(options.context, options.dim)
    options.lr = options.lr or default_lr(config.context, options.batch)
    cli.check_memory(_bytes_needed(options, words, alphabet), "--batch, --context or --dim")
    examples = make_examples(words.distinct, alphabet, config.context)
    model = build(config, alphabet.size, options.seed)
    talk(
        f"{len(words.distinct):,} words, {words.repeated:,} repetitions left out; {len(examples):,} examples"
    )

    warm_up(config)
    startup = cli.seconds_since_start()
    how = "compiled, first run only" if report.compiled else "loaded"
    talk(f"{report.compiled or report.loaded} kernels {how}: {report.seconds:.2f} s")
    talk(f"ready {startup:.2f} s after the start")

    run = train(
        model,
        examples,
        budget=Budget(options.seconds, options.steps),
        batch=options.batch,
        lr=options.lr,
        seed=options.seed,
        watch=talk.progress if talk.watched else None,
    )
    talk.end_progress()
    final_loss = mean_loss(model, examples)
    check_loss(final_loss, run.steps, options.lr)
    samples = dream(
        model,
        alphabet,
        config.context,
        options.samples,
        np.random.Generator(np.random.PCG64([options.seed, 1])),
        temperature=options.temperature,
        prefix=options.prefix,
        max_letters=2 * max(map(len, words.distinct)) + len(options.prefix),
    )
    in_list = set(words.distinct)
    new = sum(word not in in_list for word in samples)
    if options.json:
        facts = {
            "elapsed_seconds": run.seconds,
            "steps": run.steps,
            "steps_per_second": run.steps / run.seconds,
            "final_loss": final_loss,
            "samples": samples,
            "new_samples": new,
            "startup_seconds": startup,
            "compile_seconds": report.seconds,
            "compiled_kernels": report.compiled,
            "interrupted": run.interrupted,
            "words": len(words.distinct),
            "repeated_words": words.repeated,
            "examples": len(examples),
            "alphabet": alphabet.characters,
            "config": vars(options),
        }
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print(_results(run, final_loss, samples, in_list))
    sys.stdout.flush()  # what was learned is out before anything else can fail

    if options.save:
        checkpoint.save(options.save, model, config, alphabet)
        talk(f"saved to {options.save}")
    talk(f"{run.steps / run.seconds:,.0f} steps per second")
    if samples:
        talk(f"{new} of {len(samples)} samples are new ({new / len(samples):.0%})")
    return cli.INTERRUPTED if run.interrupted else 0


def _results(run: Run, final_loss: float, samples: list[str], in_list: set[str]) -> str:
    """What is printed for a person: time, steps, loss, numbered samples."""
    lines = [
        f"Elapsed: {run.seconds:.3f} seconds",
        f"Steps: {run.steps}",
        f"Final loss: {final_loss:.4f}",
        "Samples:",
    ]
    for number, word in enumerate(samples, 1):
        lines.append(f"{number:2} : {word}{'  (in the list)' if word in in_list else ''}")
    return "\n".join(lines)


def _bytes_needed(options: argparse.Namespace, words: Words, alphabet: Alphabet) -> int:
    """Roughly what a run will hold at once: examples, batches, a step's arrays, parameters."""
    places = sum(map(len, words.distinct)) + len(words.distinct)
    V = alphabet.size
    B, K, D = options.batch, options.context, options.dim
    rows = places + len(words.distinct) + options.samples  # of contexts; twice, while they are made
    needed: int = 4 * (2 * rows * (K + 1) + 2 * B * (K + 1) + 4 * max(B, 4096) * (D + V) + 6 * V * D)
    return needed


if __name__ == "__main__":
    sys.exit(cli.run(main))
