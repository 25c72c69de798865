"""How a command ends, and what is lost then: nothing, if it can be helped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile

import pytest
from commands import Running, autollm, on_a_terminal, python

from autollm import cli, train
from autollm.learning import checkpoint
from autollm.learning.alphabet import Alphabet
from autollm.learning.checkpoint import Checkpoint
from autollm.models import build, configure

QUICK = ("--steps", "100", "--samples", "3")
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, /dev/full, shells")


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
    command = "-m", "autollm", "train", "--steps", "50", "--samples", "10000", "--quiet"
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
