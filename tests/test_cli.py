"""The commands, as a user types them, and what they print."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import autollm, installed, python
from test_live_line import Screen

from autollm import cli, remarks, train
from autollm.learning import checkpoint
from autollm.learning.alphabet import Alphabet
from autollm.learning.examples import Examples
from autollm.learning.experiment import Corpus, Judgement, Learned, Samples
from autollm.learning.plan import make_plan
from autollm.learning.sampling import dream
from autollm.learning.training import Run
from autollm.models import build, configure

QUICK = ("--steps", "100", "--samples", "3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short training by the installed command, and where its model is."""
    path = str(tmp_path_factory.mktemp("trained") / "names.safetensors")
    done = autollm("train", *QUICK, "--save", path)
    assert done.returncode == 0, done.stderr
    return done, path


def without_time(text):
    return re.sub(r"Elapsed: .*", "", text)


def test_the_output_has_the_seeds_shape():
    done = autollm("train", "--seconds", "0.05", "--samples", "12")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert float(re.fullmatch(r"Elapsed: (\d+\.\d{3}) seconds", lines[0])[1]) >= 0.05
    assert re.fullmatch(r"Steps: \d+", lines[1])
    assert re.fullmatch(r"Final loss: \d\.\d{4}", lines[2])
    assert lines[3] == "Samples:"
    assert len(lines) == 16
    for number, line in enumerate(lines[4:], 1):
        assert re.fullmatch(rf" *{number} : [a-z]+( +\(in the list\))?", line)


def test_remarks_go_to_standard_error(trained):
    done, _ = trained
    assert re.search(r"kernels (loaded|compiled, first run only): [\d.]+ s", done.stderr)
    assert re.search(r"ready [\d.]+ s after the start", done.stderr)
    assert re.search(r"[\d,]+ steps per second", done.stderr)
    assert re.search(r"\d of 3 samples are new \(\d+%\)", done.stderr)
    assert b"\r" not in done.error_bytes, "no live line when nobody watches"


def test_json_holds_everything():
    began = time.perf_counter()
    done = python("-m", "autollm", "train", *QUICK, "--json", "--seed", "4", "--quiet")
    lasted = time.perf_counter() - began
    assert done.stderr == "", "--quiet leaves nothing but the results"
    facts = json.loads(done.stdout)
    assert facts["steps"] == 100
    assert facts["steps_per_second"] == pytest.approx(100 / facts["elapsed_seconds"])
    assert 1.9 < facts["final_loss"] < 3.2, "ln 27 = 3.296 is what knowing nothing costs"
    assert len(facts["samples"]) == 3
    assert lasted + 0.1 > facts["startup_seconds"] > facts["compile_seconds"] > 0, "to a tick of the clock"
    config = facts["config"]
    assert (config["data"], config["batch"], config["context"], config["dim"]) == ("names", 64, 3, 32)
    assert (config["seed"], config["lr"], config["temperature"]) == (4, 0.5, 1.0)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    def result(name):
        path = str(tmp_path / name)
        done = autollm("train", "--steps", "2000", "--seed", "7", "--save", path)
        return without_time(done.stdout), Path(path).read_bytes()

    assert result("a") == result("b")


def test_samples_that_are_in_the_list_are_marked(capsys, tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    train.main(["--steps", "400", "--data", str(tmp_path / "words")])
    assert "(in the list)" in capsys.readouterr().out


def test_words_of_any_kind_go_in_and_come_out():
    words = "Zoë\r\nstraße\r\nПривет\r\n中文\r\n🦊🐻\r\nNew York\r\nR2.D2\r\n"
    done = autollm("train", *QUICK, "--data", "-", "--json", "--prefix", "New ", stdin="\ufeff" + words)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["words"] == 7
    assert all(sample.startswith("New ") for sample in facts["samples"])


def test_save_then_sample(capsys, trained):
    _, path = trained
    arguments = path, "-n", "1000", "--prefix", "ma", "--temperature", "0.7", "--top-k", "5"
    done = autollm("sample", *arguments)
    words = done.stdout.splitlines()
    assert len(words) == 1000
    assert all(word.startswith("ma") for word in words)
    saved = checkpoint.load(path)
    rng = np.random.Generator(np.random.PCG64(0))
    options = {"temperature": 0.7, "prefix": "ma", "top_k": 5, "longest": saved.longest}
    dreamed = dream(saved.model, saved.alphabet, saved.config.context, 1000, rng, **options)
    assert words == dreamed


def test_the_command_that_is_installed_starts_without_what_numba_loads_for_others(trained):
    """What its parts do is the same as by the module."""
    _, path = trained
    done = installed("sample", path, "-n", "2", env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"})
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines()}
    assert "numba.core.caching" in loaded
    assert not loaded & {"scipy._lib", "coverage.version", "_cffi_backend", "numba.np.linalg"}


def test_a_command_that_is_none_is_told_of_those_that_are():
    done = autollm("dance")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert all(word in done.stderr for word in ("dance", "train", "sample", "ladder"))


@pytest.mark.parametrize("command", ["train", "sample", "ladder"])
def test_every_command_is_a_module_too(command):
    done = python("-m", f"autollm.{command}", "--help")
    assert done.returncode == 0
    assert done.stdout == autollm(command, "--help").stdout


def test_a_terminal_gets_codes_for_letters_that_it_cannot_show(monkeypatch):
    """Only JSON has codes of its own, which say the same everywhere."""
    screen = Screen("ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    assert cli.run(lambda: print("zoé") or cli.print_json({"word": "zoé"}) or 0) == 0
    text, facts = screen.shown.splitlines()
    assert text == r"zo\xe9" and json.loads(facts) == {"word": "zoé"}


def test_a_status_with_which_a_command_ends_itself_is_its_status():
    assert [cli.run(lambda status=status: sys.exit(status)) for status in (None, 0, 3)] == [0, 0, 3]


def test_what_is_named_twice_is_meant_once():
    assert cli.some(["a", "b", "c"])("c,a,c") == ["c", "a"]


# --- what is printed, of made-up facts -----------------------------------------------------------------


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """A list of 4 words of which 1 is held out, and a training with figures that are easy to check."""
    path = tmp_path / "words"
    path.write_text("ab\nab\nba\nabba\nb\n")
    config = configure("bag", context=2, dim=5)
    corpus = Corpus(Alphabet("ab"), ["ab", "abba", "b"], ["ba"], 4)
    examples = Examples(np.zeros((10, 3), np.int32), first=1)  # two targets each
    learned = Learned(make_plan(config), corpus, build(config, 3), Run(40, 0.5, False), examples, None, [])
    samples = Samples(["aa", "ba", "ab", "ab", "bb"], ["ab", "ab"], ["ba"], ["aa", "bb"])
    monkeypatch.setattr(Corpus, "of", classmethod(lambda *_: corpus))
    monkeypatch.setattr(train, "learn", lambda *_, **__: learned)
    monkeypatch.setattr(train, "judge", lambda *_: Judgement(1.25, 2.5, 10))
    monkeypatch.setattr(train, "dream_words", lambda *_, **__: samples)
    warmed = []
    monkeypatch.setattr(train, "warm_up", warmed.append)
    monkeypatch.setattr(train, "report", SimpleNamespace(compiled=3, loaded=4, seconds=1.5))
    monkeypatch.setattr(cli, "seconds_since_start", lambda: 7.0 if warmed else 1.0)
    return "--data", str(path)


def test_json_of_made_up_facts(capsys, made_up):
    assert train.main([*made_up, "--json", "--quiet"]) == 0
    facts = json.loads(capsys.readouterr().out)
    config = facts.pop("config")
    assert facts == {
        "elapsed_seconds": 0.5,
        "steps": 40,
        "steps_per_second": 80.0,
        "final_loss": 1.25,
        "held_out_loss": 2.5,
        "samples": ["aa", "ba", "ab", "ab", "bb"],
        "new_samples": 2,
        "samples_in_training": ["ab", "ab"],
        "samples_in_held_out": ["ba"],
        "parameters": 30,  # two tables of 3 rows of 5
        "startup_seconds": 7.0,
        "compile_seconds": 1.5,
        "compiled_kernels": 3,
        "interrupted": False,
        "words": 4,
        "held_out_words": 1,
        "repeated_words": 1,
        "examples": 10,
        "alphabet": "ab",
    }
    assert config["data"] == made_up[1]


def test_text_of_made_up_facts(capsys, made_up):
    assert train.main([*made_up, "--samples", "5"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "Elapsed: 0.500 seconds",
        "Steps: 40",
        "Final loss: 1.2500",
        "Held-out loss: 2.5000",
        "Samples:",
        " 1 : aa",
        " 2 : ba  (held out)",
        " 3 : ab  (in the list)",
        " 4 : ab  (in the list)",
        " 5 : bb",
    ]
    remarks = err.splitlines()
    assert remarks[0] == "4 words, 1 repetitions left out, 1 held out"
    assert "ready 7.00 s after the start" in remarks
    assert remarks[-2:] == ["80 steps per second", "2 of 5 samples are new (40%)"]


def test_a_speed_is_that_of_what_was_done():
    """Of a net that made one step, or of counting, which is one step."""
    corpus = Corpus(Alphabet("ab"), ["ab", "abba", "b"], [], 4)
    for name, told in (("bag", "2 steps per second"), ("counts", "3 words counted in 0.500 seconds")):
        plan = make_plan(configure(name))
        learned = Learned(plan, corpus, build(plan.config, 3), Run(1, 0.5, False), [], None, [])
        assert train.told_speed(learned) == told


@pytest.mark.parametrize("fault", ["no file", "nonsense", "no clock"])
def test_where_the_system_does_not_tell_a_start_is_the_import(monkeypatch, fault):
    def open_it(*_):
        if fault == "no file":
            raise FileNotFoundError
        return io.BytesIO(b"1 (a) " + (b"x " if fault == "nonsense" else b"5 ") * 30)

    monkeypatch.setattr(cli, "open", open_it, raising=False)
    clock = SimpleNamespace(perf_counter=lambda: cli._IMPORTED + 2.5)
    monkeypatch.setattr(cli, "time", clock)
    assert cli.seconds_since_start() == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("is_first", "compiled", "told"),
    [
        (True, 3, ["compiling the kernels, which takes some seconds, first run only", "the wait"]),
        (False, 0, ["the wait"]),
    ],
)
def test_a_first_run_says_that_it_compiles(capsys, monkeypatch, made_up, is_first, compiled, told):
    """Before the wait, and what it was for after it."""
    monkeypatch.setattr(train, "is_empty_cache", lambda: is_first)
    monkeypatch.setattr(train, "warm_up", lambda plan: remarks.say("the wait"))
    monkeypatch.setattr(train, "report", SimpleNamespace(compiled=compiled, loaded=4 - compiled, seconds=1.5))
    assert train.main(list(made_up)) == 0
    lines = capsys.readouterr().err.splitlines()[2:]  # the first two are about the words
    how = "3 kernels compiled, first run only: 1.50 s" if is_first else "4 kernels loaded: 1.50 s"
    assert lines[: len(told) + 1] == [*told, how]
