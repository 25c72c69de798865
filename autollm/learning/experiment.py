"""From words and a plan to a trained, judged model: what the commands share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from autollm.errors import InputError
from autollm.learning.alphabet import Alphabet
from autollm.learning.examples import Examples
from autollm.learning.optim import OPTIMISERS, RATES, SCHEDULES
from autollm.learning.sampling import dream
from autollm.learning.training import (
    Budget,
    Run,
    Watch,
    check_loss,
    default_lr,
    examples_for,
    loss_function,
    mean_loss,
    train,
)
from autollm.learning.words import Words, split
from autollm.models import MODELS, Config, Model, build, parameters

FEW_WORDS = 1000  # fewer than so many are all learned from


@dataclass(frozen=True)
class Corpus:
    """Distinct words, some of them kept back to judge a model by."""

    alphabet: Alphabet
    training: list[str]
    held_out: list[str]
    longest: int  # letters in the longest word

    @classmethod
    def of(cls, words: Words, held_out: int | None, seed: int) -> Corpus:
        """Keep back `held_out` words, chosen by the seed; None: 1 in 10, but 1000 at most, and none of
        fewer than FEW_WORDS. Raises InputError if fewer than 2 would be left."""
        count = len(words.distinct)
        if held_out is None:
            held_out = min(count // 10, 1000) if count >= FEW_WORDS else 0
        if held_out > count - 2:
            raise InputError(f"--held-out {held_out} leaves fewer than 2 of {count} words to learn from")
        kept, others = split(words.distinct, held_out, seed)
        return cls(Alphabet.of(words.distinct), kept, others, max(map(len, words.distinct)))


@dataclass(frozen=True)
class Plan:
    """A model and how to train it."""

    config: Config
    batch: int
    optimiser: str  # of optim.OPTIMISERS
    lr: float
    schedule: str  # of optim.SCHEDULES
    clip: float | None  # the longest that a gradient may be
    budget: Budget
    seed: int


def make_plan(
    config: Config,
    budget: Budget,
    seed: int,
    *,
    batch: int | None = None,
    optimiser: str | None = None,
    lr: float | None = None,
    schedule: str | None = None,
    clip: float | None = None,
) -> Plan:
    """A plan with what suits the model wherever None is given."""
    kind = MODELS[config.model]
    batch, optimiser = batch or kind.batch, optimiser or kind.optimiser
    if lr is None and optimiser == kind.optimiser:
        lr = kind.lr or default_lr(config.context, batch)
    return Plan(
        config,
        batch,
        optimiser,
        lr or RATES[optimiser],
        schedule or kind.schedule,
        clip or kind.clip,
        budget,
        seed,
    )


def train_by(plan: Plan, model: Model, examples: Examples, watch: Watch | None = None) -> Run:
    """Train a model as planned."""
    return train(
        model,
        examples,
        budget=plan.budget,
        batch=plan.batch,
        lr=plan.lr,
        seed=plan.seed,
        optimiser=OPTIMISERS[plan.optimiser],
        schedule=SCHEDULES[plan.schedule],
        clip=plan.clip,
        watch=watch,
    )


@dataclass(frozen=True)
class Samples:
    """Dreamed words, sorted by where else they are to be found; all in the order dreamed."""

    words: list[str]
    in_training: list[str]
    in_held_out: list[str]
    new: list[str]

    @classmethod
    def sort(cls, words: list[str], corpus: Corpus) -> Samples:
        """Look for dreamed words in the corpus."""
        old, unseen = set(corpus.training), set(corpus.held_out)
        return cls(
            words,
            [word for word in words if word in old],
            [word for word in words if word in unseen],
            [word for word in words if word not in old and word not in unseen],
        )


@dataclass(frozen=True)
class Learned:
    """A trained model, and how well it does; losses in nats per letter."""

    model: Model
    run: Run
    examples: int
    tokens_per_second: float  # targets learned from, the end of a word included
    final_loss: float  # mean over all training examples
    held_out_loss: float | None  # None: nothing was held out
    curve: list[tuple[float, float]]  # held-out loss after so many seconds of training

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(param.v.size for param in parameters(self.model).values())


def warm_up(plan: Plan) -> None:
    """Compile or load every kernel that the plan needs, by a run in small."""
    alphabet = Alphabet("a")
    model = build(plan.config, alphabet.size)
    examples = examples_for(model, ["a", "aa"], alphabet, plan.config.context)
    train_by(replace(plan, budget=Budget(steps=1), batch=1), model, examples)
    mean_loss(model, examples)
    dream(model, alphabet, plan.config.context, 1, np.random.default_rng(0), max_letters=2)


@dataclass(frozen=True)
class Trained:
    """A model as its training has left it."""

    model: Model
    run: Run
    examples: Examples
    held_out: Examples | None
    curve: list[tuple[float, float]]  # held-out loss after so many seconds of training


def learn(plan: Plan, corpus: Corpus, watch: Watch | None = None, moments: int = 0) -> Trained:
    """Build the plan's model and train it. The held-out loss is measured at about so many moments of the
    training, which takes nothing from its budget. Raises DivergedError."""
    config, alphabet = plan.config, corpus.alphabet
    model = build(config, alphabet.size, plan.seed)
    examples = examples_for(model, corpus.training, alphabet, config.context)
    unseen = examples_for(model, corpus.held_out, alphabet, config.context) if corpus.held_out else None
    curve = [(0.0, mean_loss(model, unseen))] if unseen and moments else []

    def look(step: int, seconds: float, loss: float, used: float) -> None:
        if watch:
            watch(step, seconds, loss, used)
        if unseen and curve and len(curve) / moments <= used < 1.0:
            curve.append((seconds, mean_loss(model, unseen)))

    run = train_by(plan, model, examples, look)
    letters, targets, _ = next(examples.parts(4096))
    check_loss(loss_function(model)(model(letters), targets).v, run.steps, plan.lr)
    return Trained(model, run, examples, unseen, curve)


def judge(trained: Trained, plan: Plan, corpus: Corpus) -> Learned:
    """Measure a trained model's losses. Raises DivergedError."""
    model, run, examples, unseen = trained.model, trained.run, trained.examples, trained.held_out
    final_loss = mean_loss(model, examples)
    check_loss(final_loss, run.steps, plan.lr)
    held_out_loss = mean_loss(model, unseen) if unseen else None
    curve = trained.curve
    if curve and held_out_loss is not None:
        curve = [*curve, (run.seconds, held_out_loss)]
    letters = sum(map(len, corpus.training)) + len(corpus.training)
    rate = run.steps * plan.batch * letters / len(examples) / run.seconds
    return Learned(model, run, len(examples), rate, final_loss, held_out_loss, curve)


def dream_words(
    learned: Learned, plan: Plan, corpus: Corpus, count: int, *, temperature: float = 1.0, prefix: str = ""
) -> Samples:
    """Let a trained model invent words, and look for them in the corpus."""
    words = dream(
        learned.model,
        corpus.alphabet,
        plan.config.context,
        count,
        np.random.Generator(np.random.PCG64([plan.seed, 1])),
        temperature=temperature,
        prefix=prefix,
        max_letters=2 * corpus.longest + len(prefix),
    )
    return Samples.sort(words, corpus)
