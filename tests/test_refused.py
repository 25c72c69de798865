"""What a command refuses before it learns anything, in one line."""

from __future__ import annotations

import re
from unittest import mock

import pytest

from autollm import cli, sample, train
from autollm.learning import checkpoint
from autollm.learning.alphabet import Alphabet
from autollm.learning.checkpoint import Checkpoint
from autollm.models import build, configure


def refused_here(capsys, *arguments, command=train):
    """The one line that a refused command prints, in this process, before anything is learned."""
    with mock.patch.object(train, "learn", None):
        assert cli.run(lambda: command.main(list(arguments))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"autollm: error: .+\n", err), err
    return err


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


def test_a_prefix_with_an_unknown_letter(capsys, tmp_path):
    config, saved = configure("bag", dim=2), str(tmp_path / "model")
    checkpoint.save(saved, Checkpoint(build(config, 3), config, Alphabet("am"), 4))
    message = "'7' in 'ma7' is not in the alphabet"
    assert message in refused_here(capsys, "--prefix", "ma7")
    assert message in refused_here(capsys, saved, "--prefix", "ma7", command=sample)


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
