"""What was learned is kept, whatever happens after the training."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from commands import Running, autollm, python
from safetensors.numpy import save as serialise

from autollm import cli, files, interrupts, remarks, train
from autollm.errors import InputError
from autollm.learning import checkpoint
from autollm.learning.alphabet import Alphabet
from autollm.learning.checkpoint import Checkpoint
from autollm.models import build, configure, parameters

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals, /dev/full, shells")
QUICK = ("--steps", "100", "--samples", "3")


def is_saved(path):
    model = checkpoint.load(str(path)).model
    assert os.listdir(path.parent) == [path.name], "and nothing else is left there"
    return all(np.isfinite(param.v).all() for param in parameters(model).values())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), InputError),
        (MemoryError(), MemoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=repr,
)
def test_a_save_that_fails_leaves_no_file_behind(target, monkeypatch, error, told):
    """The last step fails, when all of it has been written."""

    def full(*_):
        raise error

    target.write_text("what was there")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(told, match=getattr(error, "strerror", None)):
        files.replace_file(str(target), b"what is new")
    assert os.listdir(target.parent) == [target.name]
    assert target.read_text() == "what was there"


# --- output that cannot be written ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "err", "status"),
    [
        ("a reader that leaves", "a file", 141),
        ("a full disk", "a file", 2),
        ("a file", "a full disk", 0),
        ("a full disk", "a full disk", 2),
        ("a reader that leaves", "a reader that leaves", 141),
    ],
)
def test_a_model_is_saved_wherever_its_output_goes(target, tmp_path_factory, out, err, status):
    folder = tmp_path_factory.mktemp("streams")

    def stream(kind, name):
        if kind == "a reader that leaves":
            reader, writer = os.pipe()
            os.close(reader)
            return open(writer, "wb")
        return open("/dev/full" if kind == "a full disk" else folder / name, "wb")

    with open(os.devnull) as nothing, stream(out, "out") as output, stream(err, "err") as errors:
        run = Running(("-m", "autollm", "train", *QUICK, "--save", str(target)), nothing, output, errors)
        assert run.wait() == status
    assert is_saved(target)
    if err == "a file":
        told = (folder / "err").read_text()
        assert "Traceback" not in told and "Exception" not in told


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_model_is_saved_when_a_stream_was_closed(target, closed):
    script = f"{sys.executable} -m autollm train --steps 50 --save {target} {closed}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count("\n") == (24 if closed == "2>&-" else 0), "remarks are not among the results"
    assert is_saved(target)


@pytest.mark.parametrize("step", ["judge", "dream_words"])
@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device")])
def test_a_model_is_saved_before_anything_else_can_fail(capsys, monkeypatch, target, step, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(train, step, fail)
    assert cli.run(lambda: train.main([*QUICK, "--quiet", "--save", str(target)])) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert is_saved(target)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")]
)
def test_a_remark_that_cannot_be_written_is_dropped(monkeypatch, error):
    class Full:
        def write(self, text):
            raise error

        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Full())
    tell = remarks.Remarks(quiet=False)
    tell("a remark")
    tell.watch(1, 1.0, 3.0, 0.5)
    tell.end_progress()


# --- files ----------------------------------------------------------------------------------------------


def refused(capsys, path, *arguments):
    assert cli.run(lambda: train.main([*QUICK, "--save", str(path), *arguments])) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_only_models_are_overwritten(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(train, "learn", None)  # it is refused before
    words = tmp_path / "words.txt"
    for content in ("emma\nolivia\n", "a\nb", "\n"):
        words.write_text(content)
        for arguments in ([], ["--data", str(words)]):
            assert "what is there is not a model saved by autollm" in refused(capsys, words, *arguments)
        assert words.read_text() == content
    for metadata in (None, {"format": "pt"}):
        (tmp_path / "other.safetensors").write_bytes(serialise({}, metadata))
        assert "not a model" in refused(capsys, tmp_path / "other.safetensors")


def test_models_and_empty_files_are_overwritten(target):
    target.touch()
    for seed in ("1", "2"):
        assert autollm("train", *QUICK, "--seed", seed, "--save", str(target)).returncode == 0
        assert is_saved(target)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_mode(target, mode):
    files.replace_file(str(target), b"old")
    target.chmod(mode)
    files.replace_file(str(target), b"new")
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.read_bytes() == b"new"


def test_a_new_file_has_the_mode_of_any_new_file_and_an_old_one_its_owner(target, monkeypatch):
    owners = []
    monkeypatch.setattr(os, "chown", lambda _, *owner: owners.append(owner))
    files.replace_file(str(target), b"new")
    other = target.with_name("other")
    other.touch()
    assert target.stat().st_mode == other.stat().st_mode and not owners
    old = SimpleNamespace(st_uid=3, st_gid=4, st_mode=0o100640)
    monkeypatch.setattr(files, "_existing", lambda _: old)
    files.replace_file(str(target), b"newer")
    assert owners == [(3, 4)] and stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    target = tmp_path / ("x" * 255)
    files.check_target(str(target))
    files.replace_file(str(target), b"content")
    assert target.read_bytes() == b"content"


def test_a_temporary_file_that_another_process_removes_before_it_is_locked(target, monkeypatch):
    lock, removed = files._lock, []

    def lock_late(handle):
        if not removed:
            removed.extend(target.parent.iterdir())
            removed[0].unlink()
        return lock(handle)

    monkeypatch.setattr(files, "_lock", lock_late)
    files.replace_file(str(target), b"content")
    assert len(removed) == 1 and target.read_bytes() == b"content"


def test_a_temporary_file_is_a_new_one(target, monkeypatch):
    """Whatever is there by that name, a link of somebody else's say, is not written to."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "1234")
    other = target.with_name(f".{target.name}.1234{files.SUFFIX}")
    other.write_text("not mine")
    for attempt in (lambda: files.check_target(str(target)), lambda: files._new_file(target, 0o600)):
        with pytest.raises((InputError, FileExistsError), match="exists"):
            attempt()
    assert other.read_text() == "not mine"


def test_a_file_system_without_locks(target, monkeypatch):
    asked = iter(range(10))

    def refuse(*_):
        next(asked)  # and not for ever
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    files.replace_file(str(target), b"content")
    assert target.read_bytes() == b"content"


def test_a_write_protected_file_is_refused(capsys, monkeypatch, target):
    """Here by made-up answers: root may write everywhere."""
    files.replace_file(str(target), b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: path != target or mode != os.W_OK)
    assert "it is write-protected" in refused(capsys, target)
    assert target.read_bytes() == b"old"


def test_nothing_is_saved_where_a_link_leads_nowhere_or_a_pipe_is(tmp_path):
    os.symlink(tmp_path / "no" / "model", tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("link", "No such file"), ("pipe", "not a regular file")):
        for attempt in (files.check_target, lambda path: files.replace_file(path, b"content")):
            with pytest.raises(InputError, match=f"cannot save to {tmp_path / name}: .*{reason}"):
                attempt(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_name_that_ends_like_a_folders_is_refused(capsys, tmp_path):
    assert "it names a folder" in refused(capsys, f"{tmp_path}/new/")
    assert os.listdir(tmp_path) == []


def test_what_a_killed_save_has_left_goes_with_the_next(tmp_path, target):
    script = (
        "import os; from autollm import files; os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
        f"files.replace_file({str(target)!r}, b'new')"
    )
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1 and not target.exists()
    handle, alive = files._new_file(target, 0o600)  # of a process that is still writing
    files.replace_file(str(tmp_path / "another"), b"content")
    assert sorted(os.listdir(tmp_path)) == sorted([os.path.basename(alive), "another"])
    os.close(handle)


def test_saving_needs_safetensors_and_says_so_first(capsys, monkeypatch, target):
    monkeypatch.setattr(train, "learn", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "--save needs safetensors: pip install" in refused(capsys, target)


def test_without_save_nothing_needs_safetensors(tmp_path):
    (tmp_path / "safetensors.py").write_text("raise ImportError('not here')")
    done = python("-m", "autollm", "train", *QUICK, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr


# --- other things that went wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--data", "--save"])
def test_control_characters_in_a_files_name_are_spelled_out(capsys, option):
    assert cli.run(lambda: train.main([option, "no/a\x1b[31m\nb"])) == 2
    err = capsys.readouterr().err
    assert "a\\x1b[31m\\nb" in err and err.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_is_utf_8_wherever_it_is_written(encoding):
    program = (
        f"import sys; from autollm import cli, train; sys.stdout.reconfigure(encoding={encoding!r})\n"
        f"cli.end(lambda: train.main({[*QUICK, '--json', '--data', '-']}))"
    )
    done = python("-c", program, warm="autollm", stdin="é🦊\nПривет\n")
    assert json.loads(done.bytes.decode("utf-8"))["alphabet"] == "".join(sorted("é🦊Привет"))


def test_a_new_model_is_not_saved_when_it_has_diverged(capsys, target):
    config = configure("bag")
    checkpoint.save(str(target), Checkpoint(build(config, 3), config, Alphabet("ab"), 4))
    old = target.read_bytes()
    assert cli.run(lambda: train.main(["--steps", "2000", "--lr", "1e6", "--save", str(target)])) == 1
    assert target.read_bytes() == old


@pytest.mark.parametrize(
    ("argv", "started", "expected"),
    [
        (["-m", "--steps"], ["python", "-m", "autollm.train", "--steps"], True),
        (["-m"], ["python", "-X", "dev", "-m", "autollm"], True),
        (["-m"], ["python", "-m", "pytest"], False),
        (["-m"], ["python", "-m", "autollmish"], False),
        (["/usr/bin/autollm", "train"], ["python", "/usr/bin/autollm", "train"], True),
        (["autollm.exe"], ["python", "autollm.exe"], True),
        (["mine.py", "-m", "autollm"], ["python", "mine.py", "-m", "autollm"], False),
        (["-c"], ["python", "-c", "import autollm"], False),
        ([""], ["python"], False),
        ([], ["python"], False),
    ],
)
def test_only_a_command_takes_the_signals_when_the_package_is_imported(monkeypatch, argv, started, expected):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", started)
    assert interrupts.is_command() == expected
