"""Every option of every command does what it says, and nothing else.

A row of `EFFECTS` (effects.py) says which figures of `--json` an option changes, and what is to be seen in
them. The parsers say which options there are: one without a row fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
from typing import Any

import pytest
from effects import EFFECTS, ELSEWHERE, NEW

from autollm import cli, ladder, sample, train
from autollm.errors import InputError
from autollm.models import MODELS, nets

COMMANDS = {"train": train, "sample": sample, "ladder": ladder}
BASE = {
    "train": ("--samples", "30", "--quiet", "--json"),
    "sample": ("-n", "30", "--json"),
    "ladder": ("--models", "bag,bigram", "--quiet", "--json"),
}
# Never the same twice, or told of what was asked for rather than of what came of it.
ASIDE = {
    "elapsed_seconds", "steps_per_second", "tokens_per_second", "startup_seconds", "compile_seconds",
    "compiled_kernels", "config",
}  # fmt: skip


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """A model and a short list, to be put into the arguments."""
    folder = tmp_path_factory.mktemp("options")
    lists = {
        "list": b"ab\nxyz\nzab\n",
        "table": b"a,f\nb,m\nc,u\n",
        "list8": "ab\nbé\n".encode(),
        "broken": b"ab\nba\nabba\n\x00\n",
        "hindi": "कि\nमि\nकिमि\nमिकि\n".encode(),
        "letters": "\n".join("abcdefghijklmnopqrstuvwxyz").encode(),
    }
    for name, content in lists.items():
        (folder / name).write_bytes(content)
    arguments = ["--steps", "200", "--quiet", "--json", "--save", str(folder / "model")]
    cli.run(lambda: train.main(arguments))
    return {name: str(folder / name) for name in [*lists, "model"]}


@pytest.fixture
def facts(capsys, paths):
    """What a command says in JSON; of the ladder's models, a list of every figure."""

    def run(command: str, *arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        given = [argument.format(**paths) for argument in arguments]
        model = [paths["model"]] if command == "sample" else []
        budget = [] if {"--steps", "--seconds"} & {*given} or command == "sample" else ["--steps", "40"]
        assert COMMANDS[command].main([*model, *BASE[command], *budget, *given]) == 0
        told = json.loads(capsys.readouterr().out)
        for figure in told["models"][0] if command == "ladder" else ():
            told[figure] = [one[figure] for one in told["models"]]
        told.pop("models", None)
        return told

    return run


@pytest.fixture(scope="module")
def without() -> dict[tuple[str, ...], dict[str, Any]]:
    """What commands say without an option, which is the same for many options."""
    return {}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]} - ASIDE


@pytest.mark.parametrize(("command", "option"), EFFECTS)
def test_an_option_has_its_effect_and_no_other(facts, without, command, option):
    effect = EFFECTS[command, option]
    beside = shlex.split(effect.beside)
    asked = command, *beside
    before = without[asked] = without.get(asked) or facts(*asked)
    after = facts(command, *beside, *shlex.split(effect.arguments))
    assert effect.seen(before, after), after
    differ = changed(before, after)
    assert effect.changes <= differ <= effect.changes | NEW
    if effect.default:
        assert not changed(before, facts(command, *beside, *shlex.split(effect.default)))


def options_of(command: str) -> list[Any]:
    return [action for action in COMMANDS[command].build_parser()._actions if action.dest != "help"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_row(command):
    options = {(command, option.dest) for option in options_of(command)}
    rows = {key for key in EFFECTS.keys() | ELSEWHERE if key[0] == command}
    assert options == rows


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option_and_gives_an_example_that_can_be_parsed(capsys, command):
    with pytest.raises(SystemExit) as end:
        COMMANDS[command].main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for option in options_of(command):
        assert option.help, option.dest
        assert all(name in text for name in option.option_strings)
        if option.default not in (None, False, ""):
            assert "default" in option.help, option.dest
    assert len(text.splitlines()) <= 52 + len(MODELS), "it fits a screen; a model takes a line in the table"
    example = re.search(rf"example:  autollm {command} (.*)", text)[1]
    COMMANDS[command].build_parser().parse_args(shlex.split(example))


def test_the_defaults_are_those_that_the_readmes_figures_were_measured_with(capsys):
    """Every number of them was found by trying; a slip would go unnoticed for long."""
    with pytest.raises(SystemExit):
        train.main(["--help"])
    table = capsys.readouterr().out.split("defaults of the models:\n")[1].split("\n\n")[0]
    header, *lines = (line.split() for line in table.splitlines())
    assert header == ["context", "dim", "hidden", "heads", "layers", "batch", "optimiser", "lr"]
    assert [name for name, *_ in lines] == list(nets())
    known = {
        "bag": ["3", "32", "-", "-", "-", "64", "sgd", "by", "size"],
        "bigram": ["1", "-", "-", "-", "-", "256", "adam", "0.1"],
        "mlp": ["8", "32", "128", "-", "-", "256", "adamw", "0.01"],
        "rnn": ["16", "16", "64", "-", "-", "32", "adamw", "0.012"],
        "gru": ["16", "16", "64", "-", "-", "64", "adamw", "0.025"],
        "gpt": ["16", "32", "-", "4", "1", "16", "adam", "0.006"],
        "gpt2": ["16", "32", "-", "4", "1", "32", "adamw", "0.007"],
    }
    assert known.items() <= {name: numbers for name, *numbers in lines}.items()


# What an option is when it is not given; the others are off, or leave it to what there is.
DEFAULTS = {
    "train": {"data": "names", "seconds": 1.0, "seed": 0, "samples": 20},
    "sample": {"model": "m", "n": 20, "top_k": 0, "seed": 0},
    "ladder": {"data": "names-32k", "seconds": 1.0, "seed": 0, "models": [*MODELS, "mlp+counts"]},
}
DREAMING = {"prefix": "", "temperature": 1.0, "shortest": 1}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_given_is_left_open_or_has_its_default(command):
    given = vars(COMMANDS[command].build_parser().parse_args(["m"] if command == "sample" else []))
    expected = DEFAULTS[command] | (DREAMING if command != "ladder" else {})
    assert {
        name: value for name, value in given.items() if value is not None and value is not False
    } == expected


LIMITS = {
    "train": {
        "--column": (1, 10**6), "--held-out": (0, 10**9), "--context": (1, 10**6), "--dim": (1, 10**6),
        "--hidden": (1, 10**6), "--heads": (1, 10**6), "--layers": (1, 10**6), "--steps": (1, 10**12),
        "--batch": (1, 10**9), "--seed": (0, 2**63), "--samples": (0, 10**6), "--shortest": (1, 10**6),
        "--longest": (1, 10**6),
    },
    "sample": {
        "-n": (1, 10**6), "--shortest": (1, 10**6), "--longest": (1, 10**6), "--top-k": (0, 10**6),
        "--seed": (0, 2**63),
    },
    "ladder": {"--column": (1, 10**6), "--steps": (1, 10**12), "--seed": (0, 2**63)},
}  # fmt: skip


def takes_whole_numbers(option: Any) -> bool:
    with contextlib.suppress(argparse.ArgumentTypeError):
        return option.type is not None and type(option.type("1")) is int
    return False


@pytest.mark.parametrize("command", COMMANDS)
def test_every_whole_number_has_its_limits(command):
    """And they belong to it."""
    parser = COMMANDS[command].build_parser()
    numbers = [one for one in options_of(command) if takes_whole_numbers(one)]
    assert {name for one in numbers for name in one.option_strings} == LIMITS[command].keys()
    model = ["model"] if command == "sample" else []
    for option, (low, high) in LIMITS[command].items():
        name = option.lstrip("-").replace("-", "_")
        for value in (low, high):
            assert getattr(parser.parse_args([*model, f"{option}", str(value)]), name) == value
        for value in (low - 1, high + 1):
            with pytest.raises(InputError, match=f"{option}: '{value}' is not a whole .* {low} to {high} "):
                parser.parse_args([*model, f"{option}={value}" if len(option) > 2 else f"{option}{value}"])


# --- what the seed decides, each alone ---------------------------------------------------------------

NOTHING_LEARNED = ("--steps", "1", "--lr", "1e-30", "--held-out", "0")  # too little to move a number


@pytest.mark.parametrize(
    ("arguments", "figure"),
    [
        pytest.param((*NOTHING_LEARNED, "--model", "bag"), "final_loss", id="initial values"),
        # The bigram begins with zeros, whatever the seed is.
        pytest.param((*NOTHING_LEARNED, "--model", "bigram"), "samples", id="dreaming"),
        pytest.param(("--steps", "3", "--model", "bigram"), "final_loss", id="batches"),
        pytest.param((*NOTHING_LEARNED[:4], "--model", "bigram", "--held-out", "11"), "examples", id="split"),
    ],
)
def test_two_seeds_differ_in(facts, arguments, figure):
    first, again, other = (facts("train", *arguments, "--seed", seed)[figure] for seed in ("0", "0", "1"))
    assert first == again != other


def test_without_a_seed_to_decide_it_nothing_differs(facts):
    """What the test above relies on: of a bigram that has not learned, only the samples differ."""
    arguments = *NOTHING_LEARNED, "--model", "bigram"
    before, after = (facts("train", *arguments, "--seed", seed) for seed in ("0", "1"))
    assert changed(before, after) - NEW == {"samples"}


# --- options that change what is printed and written -----------------------------------------------------


@pytest.mark.parametrize("command", ["train", "ladder"])
def test_quiet_leaves_the_results_alone(capsys, command):
    arguments = ["--models", "bigram"] if command == "ladder" else []
    shown = []
    for quiet in (["--quiet"], []):
        assert COMMANDS[command].main([*arguments, "--data", "names", "--steps", "5", *quiet]) == 0
        out, err = capsys.readouterr()
        without_rates = re.sub(r"Elapsed.*|[\d,]+ +[\d,]+ +(?=\d\.)", "", out)
        shown.append(re.sub(" +", " ", without_rates))  # columns are as wide as the rates
        assert (err == "") == bool(quiet)
    assert shown[0] == shown[1] != ""


@pytest.mark.parametrize("command", ["train", "ladder"])
def test_bad_lines_are_skipped_where_that_is_asked_for(capsys, paths, command):
    arguments = ["--data", paths["broken"], "--steps", "5", "--json", "--quiet"]
    arguments += ["--models", "bag"] if command == "ladder" else []
    assert cli.run(lambda: COMMANDS[command].main(arguments)) == 2
    assert "line 4 holds control characters" in capsys.readouterr().err
    assert COMMANDS[command].main([*arguments, "--skip-bad-lines"]) == 0
    assert json.loads(capsys.readouterr().out)["words"] == 3


def test_save_writes_the_model_there_and_nowhere_else(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--steps", "5", "--quiet"]) == 0
    assert os.listdir() == []
    assert train.main(["--steps", "5", "--quiet", "--save", "m"]) == 0
    assert os.listdir() == ["m"]
    capsys.readouterr()
    assert sample.main(["m", "-n", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_list_without_a_name_is_no_list(capsys, paths):
    assert cli.run(lambda: sample.main([paths["model"], "--not-in", ""])) == 2
    assert "cannot read ''" in capsys.readouterr().err


def test_json_of_sample_says_what_was_asked_for(capsys, paths):
    assert sample.main([paths["model"], "-n", "2", "--json", "--seed", "9", "--top-k", "4"]) == 0
    told = json.loads(capsys.readouterr().out)
    asked = told["config"]
    assert (asked["n"], asked["seed"], asked["top_k"], asked["model"]) == (2, 9, 4, paths["model"])
    assert sample.main([paths["model"], "-n", "2", "--seed", "9", "--top-k", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == told["samples"]
