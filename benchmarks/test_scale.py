"""How the step's time grows: with the batch, and with the number of words; and how fast words are counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autollm.learning.examples import make_text, make_windows
from autollm.learning.plan import Budget
from autollm.learning.training import train
from autollm.learning.words import read_words
from autollm.models import build, configure
from autollm.models.counts import Counts
from benchmarks.workloads import ALPHABET, SIZES, checked, fresh_model, run_steps


@pytest.mark.parametrize("batch", [64, 128, 256, 512, 1024, 2048, 4096])
def test_batch(measure: Any, batch: int) -> None:
    """Training examples per second as the batch doubles."""
    workload = replace(checked(SIZES[0]), batch=batch)
    measure(run_steps, lambda: (fresh_model(workload), workload), "examples/s", per_call=batch)


@pytest.mark.parametrize("words", [10, 1_000, 30_000])
def test_words(measure: Any, words: int) -> None:
    """Steps per second with more and more words, spelt with the same alphabet."""
    workload = checked(SIZES[0])
    chosen = read_words("names-32k").distinct[:words]
    examples = make_windows(chosen, ALPHABET, workload.config.context)

    def run(n: int, model: Any) -> None:
        train(model, examples, workload.plan(Budget(steps=n)))

    measure(run, lambda: (fresh_model(workload),), "steps/s", words=len(chosen))


@pytest.mark.parametrize("words", [30_000])
def test_counting(measure: Any, words: int) -> None:
    """Words counted per second, as `--model counts` does before it dreams."""
    text = make_text(read_words("names-32k").distinct[:words], ALPHABET)

    def fresh() -> tuple[Counts]:
        model = build(configure("counts"), ALPHABET.size)
        assert isinstance(model, Counts)
        return (model,)

    def run(n: int, model: Counts) -> None:
        for _ in range(n):
            model.learn(text)

    (model,) = fresh()
    model.learn(text)
    assert model.tables["times"].sum() > words, "so many beginnings of words alone"
    measure(run, fresh, "words/s", per_call=words)
