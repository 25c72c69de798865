"""What was learned is kept, whenever a signal comes."""

from __future__ import annotations

import errno
import os
import signal
from types import SimpleNamespace

import interruptions
import pytest
from commands import python
from test_keeping import QUICK, is_saved

from autollm import cli, interrupts, train
from autollm.learning import experiment, sampling

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")
SIGNALS = pytest.mark.parametrize("number", interruptions.SIGNALS, ids=lambda number: number.name)


@SIGNALS
@pytest.mark.parametrize("step", ["learn", "judge", "dream_words"])
def test_a_signal_while_there_is_something_to_lose(capsys, monkeypatch, target, step, number):
    """Everything is printed and saved; the status tells of the signal."""
    whole = getattr(train, step)

    def interrupted(*arguments, **options):
        signal.raise_signal(number)
        return whole(*arguments, **options)

    monkeypatch.setattr(train, step, interrupted)
    before = signal.getsignal(number)
    budget = ("--seconds", "100") if step == "learn" else QUICK[:2]
    assert cli.run(lambda: train.main([*budget, "--samples", "3", "--save", str(target)])) == 128 + number
    assert signal.getsignal(number) == before
    assert not interrupts.interrupts.came, "the next command begins anew"
    out, err = capsys.readouterr()
    assert "Final loss:" in out and " 3 : " in out
    assert "autollm:" not in err
    assert is_saved(target)


def test_a_signal_that_came_to_whoever_runs_a_command_is_not_the_commands(monkeypatch):
    monkeypatch.setattr(interrupts.interrupts, "came", signal.SIGINT)
    assert cli.run(lambda: 0) == 0


def test_every_signal_is_given_back():
    def mine(*_):
        raise AssertionError

    before = {number: signal.signal(number, mine) for number in interruptions.SIGNALS}
    try:
        assert cli.run(lambda: 0) == 0
        assert {signal.getsignal(number) for number in before} == {mine}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@SIGNALS
@pytest.mark.parametrize("own", [0, 1])
def test_the_status_of_a_command_tells_of_a_signal_unless_it_has_one_of_its_own(number, own):
    def command():
        interrupts.interrupts.start_learning()
        signal.raise_signal(number)
        return own

    assert cli.run(command) == (own or 128 + number)


def test_a_signal_ends_dreaming_after_the_words_that_are_being_dreamed(capsys, monkeypatch):
    dream = experiment.dream

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return dream(*arguments, **options)

    monkeypatch.setattr(train, "warm_up", lambda plan: None)  # which dreams too
    monkeypatch.setattr(experiment, "dream", interrupted)
    assert cli.run(lambda: train.main(["--steps", "100", "--samples", "50000"])) == 128 + signal.SIGINT
    out, err = capsys.readouterr()
    assert out.count(" : ") == sampling.MOST_AT_ONCE
    assert "too few" not in err, "fewer were dreamed, but not for want of them"


@SIGNALS
def test_signals_while_a_file_is_written(capsys, monkeypatch, target, number):
    def interrupted(_):
        for one in (number, *interruptions.SIGNALS):  # impatience does no harm here, and the first one counts
            signal.raise_signal(one)

    monkeypatch.setattr(os, "fsync", interrupted)
    assert cli.run(lambda: train.main([*QUICK, "--save", str(target)])) == 128 + number
    assert " 3 : " in capsys.readouterr().out
    assert is_saved(target)


def test_what_is_put_off_is_put_off_to_the_end_of_all_that_asks_for_it(monkeypatch):
    monkeypatch.setattr(interrupts, "os", None)  # the process would be ended
    one = interrupts.Interrupts()
    with one.put_off():
        with one.put_off():
            pass
        one._handle(signal.SIGTERM, None)
    assert one.status == 128 + signal.SIGTERM


@SIGNALS
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("gone", [True, False])
def test_what_a_signal_that_ends_a_process_leaves_on_a_terminal(monkeypatch, number, terminal, gone):
    """The line stands where the live line was, or what Ctrl-C looks like, and covers it."""
    done = []

    def write(*told):
        done.append(told)
        if gone:
            raise OSError(errno.EIO, "Input/output error")

    system = SimpleNamespace(isatty=lambda stream: terminal and stream == 2, write=write, _exit=done.append)
    monkeypatch.setattr(interrupts, "os", system)
    interrupts.Interrupts()._handle(number, None)
    shown = b"\rautollm: interrupted" + b" " * 50 + b"\n" if terminal else b"autollm: interrupted\n"
    assert done == [(2, shown), 128 + number]


@SIGNALS
def test_a_signal_while_numba_is_imported(tmp_path, number):
    process = interruptions.start(tmp_path)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (128 + number, b"", b"autollm: interrupted\n")
    assert os.listdir(tmp_path) == []


def test_the_second_ctrl_c_ends_it_at_once(tmp_path):
    """Here while it dreams a million words, which takes its time."""
    script = (
        "import signal, sys; from autollm import cli, train; dream = train.dream_words\n"
        "def twice(*arguments, **options):\n"
        "    signal.raise_signal(2); print('noted', flush=True); signal.raise_signal(2)\n"
        "train.dream_words = twice\n"
        "sys.exit(cli.run(lambda: train.main(['--steps', '9', '--quiet', '--save', 'm'])))"
    )
    done = python("-c", script, warm="autollm", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "noted\n", "autollm: interrupted\n")
    assert is_saved(tmp_path / "m")


def test_a_signal_that_is_to_be_ignored_is_ignored(capsys, monkeypatch, target):
    """As after `nohup`, which means that a run should go on when its terminal has gone."""
    learn = train.learn

    def hung_up(*arguments, **options):
        signal.raise_signal(signal.SIGHUP)
        return learn(*arguments, **options)

    monkeypatch.setattr(train, "learn", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.run(lambda: train.main([*QUICK, "--save", str(target)])) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert " 3 : " in capsys.readouterr().out
    assert is_saved(target)
