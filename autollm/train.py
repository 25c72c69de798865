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
from autollm.dataset import (
    Alphabet,
    Examples,
    Words,
    batches,
    make_examples,
    make_sequences,
    read_words,
    split,
)
from autollm.errors import DivergedError, InputError
from autollm.kernels.jit import report
from autollm.layers import masked_xent_from_logits
from autollm.models import MAX_SIZE, MODELS, Config, Model, build, configure, parameters, reads_words
from autollm.node import Node
from autollm.optim import SGD, Optimiser
from autollm.primitives import Ids, xent_from_logits
from autollm.sample import add_options, dream

FEW_WORDS = 1000  # fewer than so many are all learned from


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
    optimiser: type[Optimiser] = SGD,
    watch: Callable[[int, float, float], None] | None = None,
) -> Run:
    """Train `model` in place on random batches of `examples` until the budget is used.

    The learning rate falls linearly from `lr` to 0 over the budget. `watch(step, loss, used)` is called
    now and then. Ctrl-C ends training early. Raises DivergedError when the loss is no longer a
    reasonable number.
    """
    lr = lr or default_lr(examples.contexts.shape[1], batch)
    update = optimiser(parameters(model).values()).step
    surprise = loss_function(model)
    blocks = batches(examples, batch, seed)
    step, interrupted, used = 0, False, 0.0
    start = time.perf_counter()
    clock, amount = budget.clock()
    began = clock()
    try:
        while used < 1.0:
            for contexts, targets in next(blocks):
                loss = surprise(model(contexts), targets)
                loss.back(1.0)
                update(lr * (1.0 - used))
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
    surprise = loss_function(model)
    total, letters = 0.0, 0
    for contexts, targets, count in examples.parts(chunk):
        total += surprise(model(contexts), targets).v * count
        letters += count
    return total / letters


def loss_function(model: Model) -> Callable[[Node, Ids], Node]:
    """The mean surprise at the targets; of whole words, without the places that only pad them."""
    return masked_xent_from_logits if reads_words(model) else xent_from_logits


def examples_for(model: Model, words: list[str], alphabet: Alphabet, context: int) -> Examples:
    """Examples of the kind that the model reads: windows, or whole words."""
    make = make_sequences if reads_words(model) else make_examples
    return make(words, alphabet, context)


def warm_up(config: Config) -> None:
    """Compile or load every kernel that training needs, by a run in small."""
    alphabet = Alphabet("a")
    model = build(config, alphabet.size)
    examples = examples_for(model, ["a", "aa"], alphabet, config.context)
    train(model, examples, budget=Budget(steps=1), batch=1, lr=0.1, optimiser=MODELS[config.model].optimiser)
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
    option("--model", choices=MODELS, default="bag", help=", ".join(MODELS) + default)
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
        help="examples in a step; whole words for rnn, gru, gpt, gpt2"
        f" (default: {', '.join(f'{name} {kind.batch}' for name, kind in MODELS.items())})",
    )
    option(
        "--lr",
        type=cli.positive_float,
        metavar="RATE",
        help="learning rate at the start; it falls to 0 (default: the bag 1.5 / context, less for batches "
        f"below 16; {', '.join(f'{name} {kind.lr:g}' for name, kind in MODELS.items() if kind.lr)})",
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
    having = (f"{name} {kind.sizes[size]}" for name, kind in MODELS.items() if size in kind.sizes)
    return f" (default: {', '.join(having)})"


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    talk = cli.Talker(options.quiet)
    if options.save:
        checkpoint.check_target(options.save)
    words = read_words(options.data)
    alphabet = Alphabet.of(words.distinct)
    alphabet.encode(options.prefix)  # an unknown letter is an error now, not after the training
    config = settle(options)
    kept, held_out = split(
        words.distinct, words_to_hold_out(options.held_out, len(words.distinct)), options.seed
    )
    cli.check_memory(_bytes_needed(options, words, alphabet), "--batch, --context or --dim")
    model = build(config, alphabet.size, options.seed)
    examples = examples_for(model, kept, alphabet, config.context)
    talk(
        f"{len(words.distinct):,} words, {words.repeated:,} repetitions left out, "
        f"{len(held_out):,} held out; "
        f"{len(examples):,} examples"
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
        optimiser=MODELS[config.model].optimiser,
        watch=talk.progress if talk.watched else None,
    )
    talk.end_progress()
    final_loss = mean_loss(model, examples)
    check_loss(final_loss, run.steps, options.lr)
    held_out_loss = None
    if held_out:
        held_out_loss = mean_loss(model, examples_for(model, held_out, alphabet, config.context))
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
    sorted_samples = Samples.sort(samples, kept, held_out)
    new = len(sorted_samples.new)
    if options.json:
        facts = {
            "elapsed_seconds": run.seconds,
            "steps": run.steps,
            "steps_per_second": run.steps / run.seconds,
            "final_loss": final_loss,
            "held_out_loss": held_out_loss,
            "samples": samples,
            "new_samples": new,
            "samples_in_training": sorted_samples.in_training,
            "samples_in_held_out": sorted_samples.in_held_out,
            "parameters": sum(param.v.size for param in parameters(model).values()),
            "startup_seconds": startup,
            "compile_seconds": report.seconds,
            "compiled_kernels": report.compiled,
            "interrupted": run.interrupted,
            "words": len(words.distinct),
            "held_out_words": len(held_out),
            "repeated_words": words.repeated,
            "examples": len(examples),
            "alphabet": alphabet.characters,
            "config": vars(options),
        }
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print(_results(run, final_loss, held_out_loss, samples, sorted_samples))
    sys.stdout.flush()  # what was learned is out before anything else can fail

    if options.save:
        checkpoint.save(options.save, model, config, alphabet)
        talk(f"saved to {options.save}")
    talk(f"{run.steps / run.seconds:,.0f} steps per second")
    if samples:
        talk(f"{new} of {len(samples)} samples are new ({new / len(samples):.0%})")
    return cli.INTERRUPTED if run.interrupted else 0


@dataclass(frozen=True)
class Samples:
    """Dreamed words, sorted by where else they are to be found; all in the order dreamed."""

    in_training: list[str]
    in_held_out: list[str]
    new: list[str]

    @classmethod
    def sort(cls, samples: list[str], kept: list[str], held_out: list[str]) -> Samples:
        old, unseen = set(kept), set(held_out)
        return cls(
            [word for word in samples if word in old],
            [word for word in samples if word in unseen],
            [word for word in samples if word not in old and word not in unseen],
        )


def settle(options: argparse.Namespace) -> Config:
    """The model's Config; fills in what the options leave to the model."""
    names = ("context", "dim", "hidden", "heads", "layers")
    config = configure(options.model, **{name: getattr(options, name) for name in names})
    kind = MODELS[config.model]
    for name in names:
        setattr(options, name, getattr(config, name))
    options.batch = options.batch or kind.batch
    options.lr = options.lr or kind.lr or default_lr(config.context, options.batch)
    return config


def words_to_hold_out(wanted: int | None, count: int) -> int:
    """How many of `count` words to keep back. Raises InputError if fewer than 2 would be left."""
    if wanted is None:
        return min(count // 10, 1000) if count >= FEW_WORDS else 0
    if wanted > count - 2:
        raise InputError(f"--held-out {wanted} leaves fewer than 2 of {count} words to learn from")
    return wanted


def _results(
    run: Run, final_loss: float, held_out_loss: float | None, samples: list[str], found: Samples
) -> str:
    """What is printed for a person: time, steps, loss, numbered samples."""
    lines = [
        f"Elapsed: {run.seconds:.3f} seconds",
        f"Steps: {run.steps}",
        f"Final loss: {final_loss:.4f}",
    ]
    if held_out_loss is not None:
        lines.append(f"Held-out loss: {held_out_loss:.4f}")
    lines.append("Samples:")
    remarks = dict.fromkeys(found.in_training, "  (in the list)") | dict.fromkeys(
        found.in_held_out, "  (held out)"
    )
    for number, word in enumerate(samples, 1):
        lines.append(f"{number:2} : {word}{remarks.get(word, '')}")
    return "\n".join(lines)


def _bytes_needed(options: argparse.Namespace, words: Words, alphabet: Alphabet) -> int:
    """Roughly what a run will hold at once: examples, batches, a step's arrays, parameters."""
    places = sum(map(len, words.distinct)) + len(words.distinct)
    B, K, V = options.batch, options.context, alphabet.size
    D, H, layers = options.dim or 0, options.hidden or 0, options.layers or 0
    rows = places + len(words.distinct) + options.samples  # of contexts; twice, while they are made
    row = D + V + H + layers * (16 * D + K * (options.heads or 0))  # of a step's arrays
    params = V * (V + 2 * D + H) + H * (K * D + H) + K * D + 12 * layers * D * D
    needed: int = 4 * (2 * rows * (K + 1) + 2 * B * (K + 1) + 4 * max(B, 4096) * row + 4 * params)
    return needed


if __name__ == "__main__":
    sys.exit(cli.run(main))
