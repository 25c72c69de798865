"""Looking at a model while it learns: what it was at some forty moments, more of them at the start."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from autollm.buffers import Array
from autollm.film import page
from autollm.learning.alphabet import END
from autollm.learning.examples import Examples, make_windows
from autollm.learning.experiment import Corpus, Learned, judged_at_once
from autollm.learning.plan import Plan
from autollm.learning.sampling import dream, next_scores
from autollm.learning.training import Watch, mean_loss
from autollm.models import Model, parameters, shapes
from autollm.models.bag import Bag

MOMENTS = 40  # besides the one before the first step
MOST_NUMBERS = 75_000  # of a bag, in all moments together: 225 kB of the page
MOST_LETTERS_BACK = 12  # that a page has room to take apart
FEWEST_MOMENTS = 8  # of a bag: with fewer it is recorded like any other model
MOST_COUNTED = 2**18  # letters of the words that are counted
MOST_JUDGED = 4096  # examples whose mean loss is taken at every moment

MOST_BARS = 32  # letters shown after a beginning
DREAMS = 4  # words dreamed after each beginning at each moment
LONGEST = 30  # letters of a dreamed word that are shown


@dataclass(frozen=True)
class Moment:
    """What was seen at one moment; losses in nats per letter."""

    steps: int
    seconds: float
    loss: float
    held_out: float | None
    seen: Any  # by a Bags or an Answers


class Bags:
    """The whole of a bag, from which a page can work out everything else."""

    def __init__(self, model: Model, examples: Examples) -> None:
        self.params = parameters(model)
        contexts = examples.rows[:, : examples.first].reshape(-1)
        self.tokens = range(len(self.params["E"].v))  # that the page shows
        self.often = np.bincount(contexts, minlength=len(self.params["E"].v))  # (V,): how often it is a clue

    def look(self) -> dict[str, Array]:
        """All its numbers: E (V, D) and W (V, D)."""
        return {name: param.v.copy() for name, param in self.params.items()}

    def told(self, moments: list[dict[str, Array]]) -> dict[str, Any]:
        """The numbers of every moment, and the two directions in which the last E is spread widest, where
        a letter counts as often as it was read."""
        last = moments[-1]["E"]
        centre = np.average(last, axis=0, weights=self.often)
        spread = np.sqrt(self.often)[:, None] * (last - centre)
        _, _, directions = np.linalg.svd(spread, full_matrices=False)
        axes = np.zeros((2, last.shape[1]))
        axes[: min(2, len(directions))] = directions[:2]
        tables = {name: [packed(moment[name]) for moment in moments] for name in self.params}
        return tables | {
            "dim": last.shape[1],
            "axes": axes.tolist(),
            "centre": centre.tolist(),
            "often": self.often.tolist(),
        }


class Answers:
    """What any model answers to a handful of beginnings: chances (V,) of the next letter, and words."""

    def __init__(self, model: Model, corpus: Corpus, plan: Plan) -> None:
        self.model, self.corpus, self.context, self.seed = model, corpus, plan.config.context, plan.seed
        self.beginnings = beginnings(corpus)
        self.tokens: list[int] = []  # that the page shows

    def look(self) -> list[tuple[Array, list[str]]]:
        """Chances and words for every beginning, by the same dice at every moment."""
        return [(self._chances(beginning), self._words(beginning)) for beginning in self.beginnings]

    def _chances(self, beginning: str) -> Array:
        letters = self.corpus.alphabet.encode(beginning)
        tokens = np.array([[END] * self.context + letters], np.int32)
        scores = next_scores(self.model, tokens, self.context)[0].astype(np.float64)
        if not beginning:
            scores[END] = -np.inf  # a word has a letter
        weights = np.exp(scores - scores.max())
        chances: Array = weights / weights.sum()
        return chances

    def _words(self, beginning: str) -> list[str]:
        random = np.random.Generator(np.random.PCG64([self.seed, 2]))
        longest = min(self.corpus.longest, LONGEST)
        alphabet = self.corpus.alphabet
        words = dream(self.model, alphabet, self.context, DREAMS, random, longest=longest, prefix=beginning)
        return [
            word
            if alphabet.letters(word) <= LONGEST
            else alphabet.decode(alphabet.encode(word)[: LONGEST - 1]) + "…"
            for word in words
        ]

    def told(self, moments: list[list[tuple[Array, list[str]]]]) -> dict[str, Any]:
        """For each beginning: the letters that are likeliest in the end, their chances, and the words."""
        answers: list[dict[str, Any]] = []
        for number, beginning in enumerate(self.beginnings):
            seen = [moment[number] for moment in moments]
            shown = np.sort(np.argsort(-seen[-1][0], kind="stable")[:MOST_BARS])
            chances = [packed(chances[shown]) for chances, _ in seen]
            words = [words for _, words in seen]
            answers.append(
                {"beginning": beginning, "letters": shown.tolist(), "chances": chances, "words": words}
            )
        self.tokens = sorted({token for answer in answers for token in answer["letters"]})
        return {"answers": answers}


class Recorder:
    """Records a training: give `begin` to `learn`, which returns what watches, and `write` the page."""

    def __init__(self, plan: Plan, corpus: Corpus) -> None:
        self.plan, self.corpus = plan, corpus
        self.moments: list[Moment] = []
        self.count, self.too_large = moments_of_a_bag(plan, corpus.alphabet.size)

    def begin(self, model: Model, examples: Examples, held_out: Examples | None) -> Watch:
        """Look at a new model; what is returned looks at it again when the next moment has come."""
        self.model = model
        self.examples, self.held_out = few_of(examples), held_out and few_of(held_out)
        whole = isinstance(model, Bag) and not self.too_large
        self.eye = Bags(model, self.examples) if whole else Answers(model, self.corpus, self.plan)
        self._look(0, 0.0)
        self.due = self._time_of(1)
        return self.watch

    def watch(self, step: int, seconds: float, _loss: float, used: float) -> None:
        """Look at the model, if the next moment has come."""
        if used < self.due:
            return
        self._look(step, seconds)
        number = 1
        while self._time_of(number) <= used:
            number += 1
        self.due = self._time_of(number)

    def _time_of(self, number: int) -> float:
        """The part of the budget that is used at a moment: squares, as most is learned at the start."""
        return (number / self.count) ** 2

    def _look(self, steps: int, seconds: float) -> None:
        size = judged_at_once(self.corpus.alphabet.size)
        loss = mean_loss(self.model, self.examples, size)
        held_out = mean_loss(self.model, self.held_out, size) if self.held_out else None
        self.moments.append(Moment(steps, seconds, loss, held_out, self.eye.look()))

    def write(self, path: str, learned: Learned) -> None:
        """Write the page that shows it all. Raises InputError if that fails."""
        page.write(path, self.told(learned))

    def told(self, learned: Learned) -> dict[str, Any]:
        """All that the page is made of, as JSON has it. How it ended is the last moment."""
        if self.moments[-1].steps < learned.run.steps:
            self._look(learned.run.steps, learned.run.seconds)
        plan, corpus, moments = self.plan, self.corpus, self.moments
        seen = self.eye.told([moment.seen for moment in moments])
        return {
            "model": plan.config.name,
            "sizes": plan.config.sizes,
            "context": plan.config.context,
            "batch": plan.batch,
            "rate": plan.lr,
            "optimiser": plan.optimiser,
            "parameters": learned.parameters,
            "words": len(corpus.training),
            "vocabulary": corpus.alphabet.size,
            "letters": {
                str(token): corpus.alphabet.decode([token]) for token in self.eye.tokens if token != END
            },
            "longest": corpus.longest,
            "interrupted": learned.run.interrupted,
            "tooLarge": self.too_large,
            "blind": math.log(corpus.alphabet.size),
            "least": least_loss(corpus, plan.config.context),
            "beginning": max(beginnings(corpus), key=len),
            "steps": [moment.steps for moment in moments],
            "seconds": [round(moment.seconds, 6) for moment in moments],
            "loss": [round(min(moment.loss, 1000.0), 5) for moment in moments],
            "heldOut": [
                round(min(moment.held_out, 1000.0), 5) for moment in moments if moment.held_out is not None
            ],
            "seen": seen,
        }


def moments_of_a_bag(plan: Plan, vocabulary: int) -> tuple[int, str]:
    """How many moments a page has room for, and why it cannot take the model apart, if it cannot."""
    if plan.config.name != "bag":
        return MOMENTS, ""
    numbers = sum(math.prod(shape) for shape in shapes(plan.config, vocabulary).values())
    count = min(MOST_NUMBERS // numbers - 1, MOMENTS)
    if count < FEWEST_MOMENTS:
        return MOMENTS, f"its {numbers:,} numbers are too many for one page to hold at every moment"
    if plan.config.context > MOST_LETTERS_BACK:
        return MOMENTS, f"it looks {plan.config.context} letters back, more than fit side by side"
    return count, ""


def few_of(examples: Examples) -> Examples:
    """Examples, evenly spread, that are judged in a moment."""
    return examples[:: -(-examples.targets // MOST_JUDGED)]


def few_words(words: list[str]) -> list[str]:
    """Words, evenly spread, that are counted in a moment: all, if they are not too many."""
    return words[:: -(-sum(map(len, words)) // MOST_COUNTED)]


def beginnings(corpus: Corpus) -> list[str]:
    """The empty beginning, the commonest two of one letter, and the commonest of two and of three letters."""
    alphabet, found = corpus.alphabet, [""]
    words = [alphabet.fold(word) for word in few_words(corpus.training)]
    for length, count in ((1, 2), (2, 1), (3, 1)):
        starts = Counter(word[:length] for word in words if len(word) > length)
        found += [alphabet.decode(alphabet.encode(start)) for start, _ in starts.most_common(count)]
    return found


def least_loss(corpus: Corpus, context: int) -> float:
    """The loss in nats per letter that nobody who sees `context` letters can get below on these words: the
    entropy of a letter, given the letters before it, as they were counted."""
    words = few_words(corpus.training)
    rows = make_windows(words, corpus.alphabet, min(context, corpus.longest + 1)).rows
    _, pairs = np.unique(rows, axis=0, return_counts=True)
    _, contexts = np.unique(rows[:, :-1], axis=0, return_counts=True)
    return float((contexts @ np.log(contexts) - pairs @ np.log(pairs)) / len(rows))


def packed(numbers: Array) -> list[Any]:
    """Numbers as a scale and a text, three characters each: 18 bits between -scale and scale.

    A number is off by no more than scale / 2**18.
    """
    scale = float(np.abs(numbers).max()) or 1.0
    whole = np.rint(numbers.reshape(-1).astype(np.float64) / scale * (2**17 - 1)).astype(np.int64) + 2**17
    digits = np.stack([whole >> 12, whole >> 6 & 63, whole & 63], axis=1)
    return [scale, DIGITS[digits].tobytes().decode()]


DIGITS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
