"""The commands, as a user types them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from commands import Running, autollm, fresh, installed, python

from autollm import cli, ladder, remarks, sample, train
from autollm.errors import DivergedError
from autollm.interrupts import interrupts
from autollm.learning import checkpoint
from autollm.learning.alphabet import Alphabet
from autollm.learning.checkpoint import Checkpoint
from autollm.learning.examples import Examples
from autollm.learning.experiment import Corpus, Judgement, Learned, Samples
from autollm.learning.plan import make_plan
from autollm.learning.sampling import dream
from autollm.learning.training import Run
from autollm.models import build, configure

QUICK = ("--steps", "100", "--samples", "3")
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, /dev/full, shells")


def refused_here(capsys, *arguments, command=train):
    """The one line that a refused command prints, in this process, before anything is learned."""
    with mock.patch.object(train, "learn", None):
        assert cli.run(lambda: command.main(list(arguments))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"autollm: error: .+\n", err), err
    return err


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
    done = autollm("train", "--seconds", "0.2", "--samples", "12")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert float(re.fullmatch(r"Elapsed: (\d+\.\d{3}) seconds", lines[0])[1]) >= 0.2
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


@pytest.mark.parametrize("start", [fresh, installed])
def test_the_command_with_its_parts(trained, start):
    _, path = trained
    assert len(start("sample", path, "-n", "2").stdout.splitlines()) == 2
    done = autollm("dance")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "dance" in done.stderr


@pytest.mark.parametrize("command", ["train", "sample", "ladder"])
def test_every_command_is_a_module_too(command):
    done = python("-m", f"autollm.{command}", "--help")
    assert done.returncode == 0
    assert done.stdout == autollm(command, "--help").stdout


class Screen(io.TextIOWrapper):
    """A terminal in this process, and what it got."""

    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    def isatty(self):
        return True

    @property
    def shown(self):
        """What a person sees: all that was written and flushed."""
        return self.buffer.getvalue().decode()


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


# --- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--seconds", "--lr", "--clip", "--temperature"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e999", "one", ""])
def test_amounts_that_make_no_sense(capsys, option, value):
    line = refused_here(capsys, f"{option}={value}")
    assert f"{option}: {value!r} is not a finite number above 0" in line


@pytest.mark.parametrize("option", ["--steps", "--batch", "--context", "--dim"])
@pytest.mark.parametrize("value", ["0", "-3", "1.5", "many", "99999999999999999999"])
def test_sizes_that_make_no_sense(capsys, option, value):
    line = refused_here(capsys, f"{option}={value}")
    assert f"{option}: {value!r} is not a whole number from 1 to" in line


@pytest.mark.parametrize("option", ["--seed", "--samples"])
def test_negative_numbers(capsys, option):
    assert f"{option}: '-1' is not a whole number from 0 to" in refused_here(capsys, f"{option}=-1")


@pytest.mark.parametrize(
    "sizes",
    ["--batch=1000000000", "--context=1000000 --data=names-32k", "--dim=1000000 --batch=900000"],
)
def test_sizes_beyond_memory(capsys, sizes):
    line = refused_here(capsys, *sizes.split())
    assert re.search(r"these sizes need about [\d,.]+ GB of memory, and this machine has [\d,.]+ GB", line)


def test_a_model_that_is_too_deep(capsys):
    deep = "--model", "gpt", "--layers", "100", "--dim", "4", "--steps", "1", "--quiet"
    assert "choose fewer --layers" in refused_here(capsys, *deep)


def test_options_that_do_not_exist_or_exclude_each_other(capsys):
    assert "--wings" in refused_here(capsys, "--wings", "2")
    assert "'cat' (choose from" in refused_here(capsys, "--optimiser", "cat")
    assert "'cat' (choose from" in refused_here(capsys, "--schedule", "cat")
    assert "'nan' is not a finite number" in refused_here(capsys, "--lr", "nan")
    assert "not allowed with" in refused_here(capsys, "--seconds", "1", "--steps", "5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least 2 different words"),
        (b"emma", "found only one"),
        (b"\xff", "not UTF-8"),
        (b"a\0\nb", "control"),
    ],
)
def test_unusable_data(capsys, tmp_path, content, message):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    line = refused_here(capsys, "--data", str(path))
    assert message in line and str(path) in line


def test_missing_data_and_folders(capsys, tmp_path):
    missing = str(tmp_path / "missing")
    assert f"cannot read '{missing}': No such file or directory; give" in refused_here(
        capsys, "--data", missing
    )
    assert "directory" in refused_here(capsys, "--data", str(tmp_path))


def test_a_prefix_with_an_unknown_letter(capsys, trained):
    message = "'7' in 'ma7' is not in the alphabet"
    assert message in refused_here(capsys, "--prefix", "ma7")
    assert message in refused_here(capsys, trained[1], "--prefix", "ma7", command=sample)


def test_models_that_cannot_be_read(capsys, tmp_path):
    assert "cannot read the model" in refused_here(capsys, str(tmp_path / "missing"), command=sample)
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"emma\nolivia\n" * 20)
    assert "not a safetensors file" in refused_here(capsys, str(foreign), command=sample)
    assert foreign.read_bytes() == b"emma\nolivia\n" * 20
    assert "it is a folder" in refused_here(capsys, str(tmp_path), command=sample)


def test_a_target_that_cannot_be_written_is_refused_before_training(capsys, tmp_path):
    missing = str(tmp_path / "no" / "model")
    assert "cannot save to" in refused_here(capsys, "--save", missing)
    assert "not a regular file" in refused_here(capsys, "--save", str(tmp_path))
    assert "a file needs a name" in refused_here(capsys, "--save", "")


@posix
def test_a_disk_that_fills_up_while_saving_loses_nothing(tmp_path):
    """A limit on the size of files that are written acts like a full disk."""
    target = tmp_path / "model"
    config = configure("bag", dim=2)
    checkpoint.save(str(target), Checkpoint(build(config, 3), config, Alphabet("ab"), 4))
    older = target.read_bytes()
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "from autollm import cli, train\n"
        f"cli.end(lambda: train.main(['--steps', '100', '--dim', '64', '--save', {str(target)!r}]))"
    )
    done = python("-c", program, warm="autollm")
    assert done.returncode == 2
    assert "Samples:" in done.stdout, "what was learned is printed all the same"
    assert f"autollm: error: cannot save to {target}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert target.read_bytes() == older
    assert os.listdir(tmp_path) == ["model"]


@posix
def test_standard_output_on_a_full_disk():
    with open("/dev/full", "w") as full:
        done = autollm("train", *QUICK, "--quiet", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "autollm: error: cannot write: No space left on device\n"


ENDING = """
import atexit, sys
from autollm import cli
from autollm.errors import InputError

class Left:
    def __del__(self):
        print("taken apart", flush=True)

def command():
    print("printed, not flushed")
    {last}

left = Left()
left.itself = left  # only the end of the interpreter takes it apart
atexit.register(print, "exit function")
cli.end(command)
print("not reached")
"""


@pytest.mark.parametrize(
    ("last", "status", "told"),
    [
        ("return 0", 0, ""),
        ("return 7", 7, ""),
        ("raise InputError('no')", 2, "autollm: error: no\n"),
        ("raise KeyboardInterrupt", 130, "autollm: interrupted\n"),
        ("cli.Parser(usage='so').parse_args(['--help'])", 0, ""),
    ],
)
def test_a_command_ends_its_process_at_once_and_loses_nothing(last, status, told):
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(last=last)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (status, told)
    shown = done.stdout.splitlines()
    assert (shown[0], shown[-1]) == ("printed, not flushed", "exit function")
    assert "taken apart" not in shown


def test_what_is_no_expected_error_keeps_its_traceback():
    code = ENDING.format(last="raise ZeroDivisionError")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError\n")
    assert "taken apart" in done.stdout, "the test above would see it"


def test_a_profiler_of_a_command_still_reports():
    done = python("-m", "cProfile", "-m", "autollm.sample", "--help")
    assert "function calls" in done.stdout


@posix
def test_an_error_after_results_that_cannot_be_written():
    """Nothing that was printed is lost without a word, also when the command fails afterwards."""
    code = ENDING.format(last="raise InputError('no')")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "autollm: error: cannot write: No space left on device\n")


@posix
def test_a_closed_standard_input_is_an_empty_one():
    command = f"{sys.executable} -m autollm.train --steps 5 --samples 1 --data - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "found none" in done.stderr


@posix
def test_a_reader_that_leaves_early():
    reader, writer = os.pipe()
    command = "-m", "autollm", "train", "--steps", "50", "--samples", "20000", "--quiet"
    with tempfile.TemporaryFile() as err, open(os.devnull) as nothing:
        with open(writer, "wb") as output:
            run = Running(command, nothing, output, err)
        with open(reader) as text:
            assert text.readline().startswith("Elapsed:")
        assert run.wait() == 141, "128 + SIGPIPE"
        err.seek(0)
        assert err.read() == b"", "nobody is left to tell"


@posix
def test_ctrl_c_ends_training_and_prints_what_was_learned():
    done, shown = on_a_terminal("train", "--seconds", "100", "--samples", "3", interrupt=b"steps/s")
    assert done.returncode == 130
    assert "Final loss:" in done.stdout and " 3 : " in done.stdout
    assert b"Traceback" not in shown


@posix
def test_ctrl_c_before_training(tmp_path):
    """While it waits for words from a pipe, which can be opened here once it has been opened there. (A signal
    in the moment before it waits does not wake it, but the end of the pipe does.)"""
    os.mkfifo(tmp_path / "words")
    with tempfile.TemporaryFile() as out, open(os.devnull) as nothing:
        run = Running(("-m", "autollm", "train", "--data", str(tmp_path / "words")), nothing, out, out)
        with open(tmp_path / "words", "wb"):
            run.send_signal(signal.SIGINT)
        assert run.wait() == 130
        out.seek(0)
        assert out.read() == b"autollm: interrupted\n"


def test_divergence_saves_nothing(capsys, tmp_path):
    hasty = "--steps", "2000", "--lr", "1e6", "--save", str(tmp_path / "model")
    assert cli.run(lambda: train.main(list(hasty))) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"autollm: error: the loss is \S+ after \d+ steps; try a --lr below 1e\+06\n$", err)
    assert os.listdir(tmp_path) == []


def watched(monkeypatch):
    """What tells of a training, and the screen on which a person watches from now on."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    return remarks.Remarks(quiet=False), screen


def test_a_live_line_says_what_is_trained_and_how_far_it_is(monkeypatch):
    tell, screen = watched(monkeypatch)
    tell.task = "bag  "
    tell.watch(1500, 0.5, 2.34567, 0.25)
    tell.watch(1600, 0.5, 2.34567, 0.26)  # within a tenth of a second, so it is not shown
    line = f"\r{'bag   25%  loss 2.346  1,500 steps  3,000 steps/s':<70}"
    assert screen.shown == line
    tell.end_progress()
    tell.end_progress()
    assert screen.shown == line + "\r" + " " * 70 + "\r", "it is wiped, once"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_is_watched(monkeypatch, number):
    tell, screen = watched(monkeypatch)
    monkeypatch.setattr(interrupts, "came", number)
    with pytest.raises(KeyboardInterrupt):
        tell.watch(1500, 0.5, 2.3, 0.25)
    assert screen.shown == ""


def test_the_ladders_live_line_begins_with_the_models_name(monkeypatch):
    _, screen = watched(monkeypatch)
    assert ladder.main(["--data", "names", "--models", "bigram,bag", "--steps", "3"]) == 0
    assert re.findall(r"\r(\w+) +100%  loss", screen.shown) == ["bigram", "bag"]


def test_the_live_line_of_a_model_that_failed_is_wiped(monkeypatch):
    def diverge(plan, corpus, watch, moments):
        watch(1, 1.0, 2.0, 0.5)
        raise DivergedError("the loss is nan")

    monkeypatch.setattr(ladder, "learn", diverge)
    _, screen = watched(monkeypatch)
    assert ladder.main(["--data", "names", "--models", "bag", "--steps", "3"]) == 1
    assert screen.shown.endswith("\r" + " " * 70 + "\r")


@posix
def test_a_live_line_while_a_person_watches():
    done, shown = on_a_terminal("train", "--steps", "20000", "--samples", "1")
    assert done.returncode == 0
    lines = shown.split(b"\r")
    assert re.fullmatch(rb" *\d+%  loss \d\.\d{3}  [\d,]+ steps  [\d,]+ steps/s *", lines[-3])
    assert lines[-2] == b" " * len(lines[-3]), "it is wiped at the end"
    assert lines[-1].endswith(b"samples are new (100%)\n") or b"steps per second" in lines[-1]
    _, shown = on_a_terminal("train", "--steps", "20000", "--samples", "1", "--quiet")
    assert shown == b""


def on_a_terminal(*arguments, interrupt=None):
    """Run with standard error on a terminal; the run, and what the terminal got. When it shows the text
    `interrupt`, Ctrl-C is sent."""
    import pty
    import tty

    master, slave = pty.openpty()
    tty.setraw(slave)  # or it puts "\r" before every "\n"
    shown = b""
    with tempfile.TemporaryFile() as out, open(os.devnull) as nothing, open(slave, "wb", 0) as terminal:
        run = Running(("-m", "autollm", *arguments), nothing, out, terminal)
        terminal.close()
        with contextlib.suppress(OSError):  # which says that the other end is closed
            while piece := os.read(master, 4096):
                shown += piece
                if interrupt and interrupt in shown:
                    run.send_signal(signal.SIGINT)
                    interrupt = None
        os.close(master)
        status = run.wait()
        out.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read().decode()), shown
