"""From words and a plan to a trained, judged model: what the commands share.

The order is: `learn`, after which the model can be saved, then `judge` and `dream_words`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from autollm.errors import DivergedError, InputError
from autollm.learning.alphabet import Alphabet
from autollm.learning.checkpoint import Checkpoint
from autollm.learning.examples import Examples, examples_for, make_text
from autollm.learning.plan import Budget, Plan
from autollm.learning.sampling import ANY, Wanted, dream, dream_wanted
from autollm.learning.training import Run, Watch, check_loss, mean_loss, train
from autollm.learning.words import Words, split
from autollm.models import Model, build, parameters
from autollm.models.counts import counts_of

FEW_WORDS = 1000  # fewer than so many are all learned from
MOST_JUDGED = 2**18  # targets that a loss is estimated on
MOST_SCORES = 2**26  # as many letters' scores, for all these targets together

Record = Callable[[Model, Examples, Examples | None], Watch]  # of the examples, and those held out


@dataclass(frozen=True)
class Corpus:
    """Distinct words, some of them held out to judge a model by."""

    alphabet: Alphabet
    training: list[str]
    held_out: list[str]
    longest: int  # letters in the longest word

    @classmethod
    def of(
        cls,
        words: Words,
        held_out: int | None,
        seed: int,
        known: Checkpoint | None = None,
        whole_graphemes: bool = False,
    ) -> Corpus:
        """Hold out `held_out` words, chosen by the seed; None: 1 in 10, but 1000 at most, and none of
        fewer than FEW_WORDS. Of a model that is `known`, the alphabet stays, and its longest word counts.
        Raises InputError if fewer than 2 words would be left, or for a letter not in that alphabet."""
        count = len(words.distinct)
        if held_out is None:
            held_out = min(count // 10, 1000) if count >= FEW_WORDS else 0
        if held_out > count - 2:
            raise InputError(f"--held-out {held_out} leaves fewer than 2 of {count} words to learn from")
        training, others = split(words.distinct, held_out, seed)
        alphabet = known.alphabet if known else Alphabet.of(words.distinct, whole_graphemes)
        for word in words.distinct if known else ():
            alphabet.encode(word)
        longest = max(map(alphabet.letters, words.distinct))
        return cls(alphabet, training, others, max(longest, known.longest) if known else longest)


@dataclass(frozen=True)
class Learned:
    """A trained model, and what it was trained on."""

    plan: Plan
    corpus: Corpus
    model: Model
    run: Run
    examples: Examples
    held_out: Examples | None  # None: no words were held out
    curve: list[tuple[float, float]]  # the held-out loss after so many seconds of training

    @property
    def checkpoint(self) -> Checkpoint:
        """What is to be saved."""
        return Checkpoint(self.model, self.plan.config, self.corpus.alphabet, self.corpus.longest)

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(param.v.size for param in parameters(self.model).values())

    @property
    def tokens_per_second(self) -> float:
        """Targets learned from, the end of a word included."""
        batch = self.plan.batch if self.parameters else len(self.examples)
        return tokens_per_second(self.run, batch, self.examples.targets / len(self.examples))


@dataclass(frozen=True)
class Judgement:
    """Losses in nats per letter."""

    final_loss: float  # mean over the training examples
    held_out_loss: float | None  # None: no words were held out
    judged: int  # of the training examples: so many, evenly spread, where all would take too long


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


def warm_up(plan: Plan) -> None:
    """Compile or load every kernel that the plan needs, by a run in small."""
    alphabet = Alphabet("a")
    model = build(plan.config, alphabet.size)
    examples = examples_for(model, ["a", "aa"], alphabet, plan.config.context)
    count_and_train(model, ["a", "aa"], alphabet, examples, replace(plan, budget=Budget(steps=1), batch=1))
    mean_loss(model, examples)
    dream(model, alphabet, plan.config.context, 1, np.random.default_rng(0), longest=1)


def learn(
    plan: Plan,
    corpus: Corpus,
    watch: Watch | None = None,
    moments: int = 0,
    model: Model | None = None,
    record: Record | None = None,
) -> Learned:
    """Build the plan's model, or go on with one, and train it. At about so many moments of the training,
    which take nothing from its budget, the held-out loss is measured. `record` is shown the model before,
    and what it returns watches as `watch` does. Raises DivergedError if what came of it is not to be used."""
    config, alphabet = plan.config, corpus.alphabet
    model = model or build(config, alphabet.size, plan.seed)
    examples = examples_for(model, corpus.training, alphabet, config.context)
    unseen = examples_for(model, corpus.held_out, alphabet, config.context) if corpus.held_out else None
    curve = [(0.0, estimated_loss(model, unseen, alphabet.size))] if unseen and moments else []
    recording = record(model, examples, unseen) if record else None

    def look(step: int, seconds: float, loss: float, used: float) -> None:
        for one in (recording, watch):
            if one:
                one(step, seconds, loss, used)
        if unseen and curve and len(curve) / moments <= used < 1.0:
            curve.append((seconds, estimated_loss(model, unseen, alphabet.size)))

    run = count_and_train(model, corpus.training, alphabet, examples, plan, look)
    check_loss(
        mean_loss(model, examples[: min(plan.batch, judged_at_once(alphabet.size))]), run.steps, plan.lr
    )
    if not all(np.isfinite(param.v).all() for param in parameters(model).values()):
        raise DivergedError(f"there are NaN or infinite parameters; try a --lr below {plan.lr:g}")
    return Learned(plan, corpus, model, run, examples, unseen, curve)


def count_and_train(
    model: Model,
    words: list[str],
    alphabet: Alphabet,
    examples: Examples,
    plan: Plan,
    watch: Watch | None = None,
) -> Run:
    """Count the words, if the model counts, and train with what that leaves of the budget, if it has
    anything to train. Counting alone is one step, however long it takes."""
    counts, counting = counts_of(model), 0.0
    if counts:
        text, start = make_text(words, alphabet), time.perf_counter()
        counts.learn(text)
        counting = time.perf_counter() - start
    if not parameters(model):
        return Run(1, counting, False)

    def look(step: int, seconds: float, loss: float, used: float) -> None:
        if watch:
            watch(step, counting + seconds, loss, used)

    run = train(model, examples, replace(plan, budget=plan.budget.less(counting)), look)
    return replace(run, seconds=counting + run.seconds)


def judge(learned: Learned) -> Judgement:
    """Measure the losses of a trained model. Raises DivergedError for one that is no reasonable number."""
    V, unseen = learned.corpus.alphabet.size, learned.held_out
    final_loss = estimated_loss(learned.model, learned.examples, V)
    check_loss(final_loss, learned.run.steps, learned.plan.lr)
    held_out_loss = estimated_loss(learned.model, unseen, V) if unseen else None
    return Judgement(final_loss, held_out_loss, len(some_of(learned.examples, V)))


def estimated_loss(model: Model, examples: Examples, vocabulary: int) -> float:
    """The mean loss over all examples, or over some where all would take too long."""
    return mean_loss(model, some_of(examples, vocabulary), judged_at_once(vocabulary))


def judged_at_once(vocabulary: int) -> int:
    """How many targets are judged together: their scores take 128 MB at most."""
    return max(min(4096, 2**25 // vocabulary), 1)


def some_of(examples: Examples, vocabulary: int) -> Examples:
    """Examples, evenly spread, that are judged in less than a second: all, if they are not too many.

    Judging must not take longer than learning, however long the list and however large its alphabet.
    """
    most = max(min(MOST_JUDGED, MOST_SCORES // vocabulary), 1)
    return examples[:: -(-examples.targets // most)]


def tokens_per_second(run: Run, batch: int, tokens: float) -> float:
    """Of training on batches of so many examples with so many tokens each, on average."""
    return run.steps * batch * tokens / run.seconds


def dream_words(
    learned: Learned,
    count: int,
    *,
    temperature: float = 1.0,
    prefix: str = "",
    wanted: Wanted = ANY,
    stop: Callable[[], bool] = bool,
) -> Samples:
    """Let a trained model invent words, and look for them in the corpus. Fewer than `count` come if it
    makes too few that are wanted, or when `stop` says so."""
    corpus, random = learned.corpus, np.random.Generator(np.random.PCG64([learned.plan.seed, 1]))

    def dream_some(n: int) -> list[str]:
        return dream(
            learned.model,
            corpus.alphabet,
            learned.plan.config.context,
            n,
            random,
            temperature=temperature,
            prefix=prefix,
            longest=corpus.longest,
        )

    return Samples.sort(dream_wanted(dream_some, count, wanted, stop), corpus)
