"""What every option of every command does: a row for each, of which test_options.py makes its tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NEW = {"new_samples", "samples_in_training", "samples_in_held_out"}  # they depend on the samples
LEARNED = {"final_loss", "samples"}  # what another way of learning changes


@dataclass(frozen=True)
class Effect:
    """What comes of `arguments`, compared with a run without them (but with `beside` them both)."""

    arguments: str
    changes: set[str]
    seen: Callable[[dict[str, Any], dict[str, Any]], bool] = lambda before, after: True
    beside: str = ""
    default: str = ""  # spelled out, it changes nothing


def size(option: str, value: int, default: int, model: str) -> Effect:
    changes = LEARNED | ({"parameters"} if option not in ("context", "heads") or model == "mlp" else set())
    beside = f"--model {model}" if model != "bag" else ""
    return Effect(f"--{option} {value}", changes, beside=beside, default=f"--{option} {default}")


def lengths(facts: dict[str, Any]) -> list[int]:
    return [len(word) for word in facts["samples"]]


EFFECTS = {
    ("train", "data"): Effect(
        "--data {list}",
        LEARNED | {"words", "examples", "parameters", "alphabet"},
        lambda before, after: (before["words"], after["words"], after["alphabet"]) == (80, 3, "abxyz"),
    ),
    ("train", "column"): Effect(
        "--column 2",
        LEARNED | {"examples", "parameters", "alphabet"},
        lambda before, after: (before["alphabet"], after["alphabet"]) == (",abcfmu", "fmu"),
        beside="--data {table}",
    ),
    ("train", "graphemes"): Effect(
        "--graphemes",
        LEARNED | {"parameters", "examples", "alphabet"},
        lambda before, after: (
            not any(word.startswith("ि") for word in after["samples"])
            and any(word.startswith("ि") for word in before["samples"])
        ),
        beside="--data {hindi}",
    ),
    ("train", "encoding"): Effect(
        "--encoding utf-8",
        LEARNED | {"alphabet", "examples", "parameters"},
        lambda before, after: (before["alphabet"], after["alphabet"]) == ("ab©Ã", "abé"),
        beside="--data {list8} --encoding latin-1",
    ),
    ("train", "start"): Effect(
        "--from {model}",
        LEARNED,
        lambda before, after: after["final_loss"] < before["final_loss"] - 0.1,
    ),
    ("train", "shortest"): Effect(
        "--shortest 6",
        {"samples"},
        lambda before, after: min(lengths(after)) >= 6 > min(lengths(before)),
        default="--shortest 1",
    ),
    ("train", "longest"): Effect(
        "--longest 4", {"samples"}, lambda before, after: max(lengths(after)) == 4 < max(lengths(before))
    ),
    ("train", "new"): Effect(
        "--new",
        {"samples"},
        lambda before, after: (
            len(after["samples"]) == len(set(after["samples"])) == after["new_samples"] == 30
            and len(before["samples"]) > before["new_samples"]
        ),
        beside="--data {list} --samples 30",
    ),
    ("train", "seconds"): Effect(
        "--seconds 0.02",
        LEARNED | {"steps"},
        lambda before, after: after["elapsed_seconds"] >= 0.02 and after["steps"] > 1,
    ),
    ("train", "steps"): Effect("--steps 41", LEARNED | {"steps"}, lambda _, after: after["steps"] == 41),
    ("train", "model"): Effect("--model bigram", LEARNED | {"parameters"}, default="--model bag"),
    ("train", "counts"): Effect("--counts", LEARNED | {"parameters"}, beside="--model mlp"),
    ("train", "context"): size("context", 2, 3, "bag"),
    ("train", "dim"): size("dim", 8, 32, "bag"),
    ("train", "hidden"): size("hidden", 16, 128, "mlp"),
    ("train", "heads"): size("heads", 2, 4, "gpt"),
    ("train", "layers"): size("layers", 2, 1, "gpt2"),
    ("train", "batch"): Effect("--batch 8", LEARNED, default="--batch 64"),
    ("train", "optimiser"): Effect("--optimiser adam", LEARNED, default="--optimiser sgd"),
    ("train", "lr"): Effect(
        "--lr 1e-30",  # too little to move a number
        LEARNED,
        lambda before, after: after["final_loss"] > 3.25 > before["final_loss"],
        default="--lr 0.5",
    ),
    ("train", "schedule"): Effect("--schedule constant", LEARNED, default="--schedule linear"),
    ("train", "clip"): Effect(
        "--clip 1e-6",  # steps too short to get anywhere
        LEARNED,
        lambda before, after: after["final_loss"] > 3.25 > before["final_loss"],
    ),
    ("train", "held_out"): Effect(
        "--held-out 20",
        LEARNED | {"held_out_words", "held_out_loss", "examples"},
        lambda before, after: after["held_out_words"] == 20 and after["words"] == before["words"],
        default="--held-out 0",
    ),
    ("train", "seed"): Effect("--seed 1", LEARNED, default="--seed 0"),
    ("train", "samples"): Effect(
        "--samples 31",
        {"samples"},
        lambda before, after: len(before["samples"]) == 30 and len(after["samples"]) == 31,
    ),
    ("train", "prefix"): Effect(
        "--prefix ma",
        {"samples"},
        lambda before, after: all(word.startswith("ma") for word in after["samples"]),
    ),
    ("train", "temperature"): Effect(
        "--temperature 1e-4",
        {"samples"},
        lambda before, after: (
            len(set(after["samples"])) == 1 < len(set(before["samples"]))
            and len(after["samples"]) == 30  # one word, again and again
        ),
        default="--temperature 1",
    ),
    ("sample", "n"): Effect(
        "-n 31",
        {"samples"},
        lambda before, after: len(before["samples"]) == 30 and len(after["samples"]) == 31,
    ),
    ("sample", "prefix"): Effect(
        "--prefix ma",
        {"samples"},
        lambda before, after: all(word.startswith("ma") for word in after["samples"]),
    ),
    ("sample", "temperature"): Effect(
        "--temperature 1e-4",
        {"samples"},
        lambda before, after: (
            len(set(after["samples"])) == 1 < len(set(before["samples"]))
            and len(after["samples"]) == 30  # one word, again and again
        ),
        default="--temperature 1",
    ),
    ("sample", "shortest"): Effect(
        "--shortest 6",
        {"samples"},
        lambda before, after: min(lengths(after)) >= 6 > min(lengths(before)),
        default="--shortest 1",
    ),
    ("sample", "longest"): Effect(
        "--longest 4", {"samples"}, lambda before, after: max(lengths(after)) == 4 < max(lengths(before))
    ),
    ("sample", "not_in"): Effect(
        "--not-in {letters}",
        {"samples"},
        lambda before, after: (
            bool(set("abcdefghijklmnopqrstuvwxyz") & {*before["samples"]})
            and len(after["samples"]) == len(set(after["samples"]))
            and all(len(word) > 1 for word in after["samples"])
        ),
        beside="--temperature 3 -n 200",
    ),
    ("sample", "top_k"): Effect(
        "--top-k 1",
        {"samples"},
        lambda before, after: len(set(after["samples"])) == 1,
        default="--top-k 0",
    ),
    ("sample", "seed"): Effect("--seed 1", {"samples"}, default="--seed 0"),
    ("ladder", "data"): Effect(
        "--data {list}",
        LEARNED | {"words", "held_out_words", "held_out_loss", "parameters"},
        lambda before, after: (before["words"], after["words"]) == (32_000, 3),
    ),
    ("ladder", "seconds"): Effect(
        "--seconds 0.02",
        LEARNED | {"steps", "held_out_loss"},
        lambda before, after: min(after["elapsed_seconds"]) >= 0.02,
    ),
    ("ladder", "steps"): Effect(
        "--steps 41", LEARNED | {"steps", "held_out_loss"}, lambda _, after: after["steps"] == [41, 41]
    ),
    ("ladder", "column"): Effect(
        "--column 2",
        LEARNED | {"parameters"},
        beside="--data {table}",
    ),
    ("ladder", "encoding"): Effect(
        "--encoding utf-8", LEARNED | {"parameters"}, beside="--data {list8} --encoding latin-1"
    ),
    ("ladder", "models"): Effect(
        "--models bigram,bag",
        {"model", "parameters", "held_out_loss"} | LEARNED,
        lambda before, after: before["model"] == after["model"][::-1] == ["bag", "bigram"],
    ),
    ("ladder", "seed"): Effect("--seed 1", LEARNED | {"held_out_loss"}, default="--seed 0"),
}  # fmt: skip
# These change what is printed and written: what they do is seen in tests of their own.
ELSEWHERE = {
    ("train", "save"), ("train", "film"), ("train", "quiet"), ("train", "json"), ("sample", "model"),
    ("ladder", "plot"), ("ladder", "quiet"), ("ladder", "json"), ("train", "skip_bad_lines"),
    ("ladder", "skip_bad_lines"), ("sample", "json"),
}  # fmt: skip
