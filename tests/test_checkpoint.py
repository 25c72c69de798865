"""Saved models: what comes back, and what is refused."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as serialise

from autollm import files
from autollm.errors import InputError
from autollm.learning import checkpoint
from autollm.learning.alphabet import Alphabet
from autollm.models import MODELS, Config, build, configure, parameters

CONFIG, ALPHABET = Config(context=4, dim=5), Alphabet.of(["aéß中🦊 ."])


@pytest.fixture
def model():
    return build(CONFIG, ALPHABET.size, seed=3)


@pytest.fixture
def saved(model, tmp_path):
    path = str(tmp_path / "model.safetensors")
    checkpoint.save(path, model, CONFIG, ALPHABET)
    return path


def rewrite(path, tensors=None, about=None, key=checkpoint.KEY):
    """Save again with other contents."""
    description = {"format": 1, "config": {"context": 4, "dim": 5}, "alphabet": ALPHABET.characters}
    fine = {name: np.ones((ALPHABET.size, 5), np.float32) for name in "EW"}
    content = serialise(fine | (tensors or {}), {key: json.dumps(description | (about or {}))})
    with open(path, "wb") as file:
        file.write(content)


def test_a_model_comes_back(model, saved):
    loaded, config, alphabet = checkpoint.load(saved)
    assert (config, alphabet) == (CONFIG, ALPHABET)
    for name, param in parameters(model).items():
        np.testing.assert_array_equal(param.v, parameters(loaded)[name].v)


def test_the_same_model_gives_the_same_bytes(model, saved, tmp_path):
    again = str(tmp_path / "again")
    checkpoint.save(again, model, CONFIG, ALPHABET)
    with open(saved, "rb") as a, open(again, "rb") as b:
        assert a.read() == b.read()


def test_other_tools_can_read_it(saved):
    from safetensors import safe_open

    with safe_open(saved, framework="numpy") as file:
        assert set(file.keys()) == {"E", "W"}
        assert json.loads(file.metadata()["autollm"])["alphabet"] == ALPHABET.characters


def test_an_old_file_is_replaced_whole_and_nothing_is_left_over(model, saved, tmp_path):
    checkpoint.save(saved, model, CONFIG, ALPHABET)
    assert os.listdir(tmp_path) == ["model.safetensors"]
    (tmp_path / "new").touch()
    assert os.stat(saved).st_mode == os.stat(tmp_path / "new").st_mode, "as files begin here"


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(model, saved, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("model.safetensors")
    before = os.stat(saved).st_ino
    model.E.v += 1
    checkpoint.save(str(link), model, CONFIG, ALPHABET)
    assert link.is_symlink() and os.readlink(link) == "model.safetensors"
    assert os.stat(saved).st_ino != before and not os.path.islink(saved)
    np.testing.assert_array_equal(parameters(checkpoint.load(saved)[0])["E"].v, model.E.v)
    assert sorted(os.listdir(tmp_path)) == ["link", "model.safetensors"]


def test_a_file_is_whole_on_the_disk_before_it_is_moved(model, saved, monkeypatch):
    """Or else a power cut could leave an empty file in the place of an old one."""
    events, fsync, replace = [], os.fsync, os.replace

    def watched_fsync(handle):
        events.append(("synced", os.fstat(handle).st_ino, os.fstat(handle).st_size))
        fsync(handle)

    def watched_replace(source, target):
        events.append(("moved", os.stat(source).st_ino, os.stat(source).st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    checkpoint.save(saved, model, CONFIG, ALPHABET)
    found = os.stat(saved)
    assert [event for event in events if event[1] == found.st_ino] == [
        ("synced", found.st_ino, found.st_size), ("moved", found.st_ino, found.st_size),
    ]  # fmt: skip


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the model .*nothing"):
        checkpoint.load(str(tmp_path / "nothing"))


def test_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the model|damaged"):
        checkpoint.load(str(tmp_path))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, -1])
def test_a_truncated_file(saved, size):
    with open(saved, "rb") as file:
        content = file.read()
    with open(saved, "wb") as file:
        file.write(content[:size])
    with pytest.raises(InputError, match=r"damaged, or not a safetensors file|cannot read the model"):
        checkpoint.load(saved)


def test_a_text_file(saved):
    with open(saved, "w") as file:
        file.write("emma\nolivia\n" * 100)
    with pytest.raises(InputError, match=r"damaged, or not a safetensors file"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "other"}, "not a model saved by autollm"),
        ({"about": {"format": 2}}, "saved in format 2 by a newer autollm; this one reads 1"),
        ({"about": {"format": "1"}}, "description is damaged"),
        ({"about": {"config": {"context": 4, "dim": 5, "wings": 2}}}, "description is damaged"),
        ({"about": {"config": {"context": 4, "dim": -5}}}, "description is damaged"),
        ({"about": {"config": {"context": "4", "dim": 5}}}, "description is damaged"),
        ({"about": {"config": {"context": 0, "dim": 5}}}, "description is damaged"),
        ({"about": {"config": {"context": 4, "dim": 10**12}}}, "description is damaged"),
        (
            {"about": {"config": {"model": "gpt", "context": 4, "dim": 8, "heads": 2, "layers": 10**6}}},
            "a size of 1000000, with 2 arrays",
        ),
        ({"about": {"alphabet": 3}}, "description is damaged"),
        ({"about": {"alphabet": ""}}, "description is damaged"),
        ({"about": {"alphabet": "ab"}}, r"E is float32 \(8, 5\), the model needs float32 \(3, 5\)"),
        ({"about": {"alphabet": "aaaaaaa"}}, "description is damaged"),
        ({"tensors": {"F": np.ones(2, np.float32)}}, r"has parameters \['E', 'F', 'W'\]"),
        ({"tensors": {"E": np.ones((8, 5))}}, "E is float64"),
        ({"tensors": {"W": np.full((8, 5), np.nan, np.float32)}}, "W holds NaN or infinity"),
    ],
)
def test_a_file_that_is_not_what_it_should_be(saved, change, message):
    rewrite(saved, **change)
    with pytest.raises(InputError, match=message) as error:
        checkpoint.load(saved)
    assert saved in str(error.value)


NOT_IN_ARRAYS = {
    ("bag", "context"),
    ("rnn", "context"),
    ("gru", "context"),
    ("gpt", "heads"),
    ("gpt2", "heads"),
}


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name, kind in MODELS.items() for size in kind.sizes]
)
def test_every_size_of_every_model_is_checked(name, size, tmp_path):
    """A file with each size that cannot be, or is not what the arrays have, is refused in one line."""
    path, config = tmp_path / "model", configure(name)
    checkpoint.save(str(path), build(config, ALPHABET.size), config, ALPHABET)
    tensors, sizes = load_tensors(path.read_bytes()), asdict(config)
    wrong = [0, -1, str(sizes[size]), 1.5, None, True, 10**12]
    if (name, size) not in NOT_IN_ARRAYS:
        wrong += [2 * sizes[size], 900_000]
    for value in wrong:
        about = {"format": 1, "config": sizes | {size: value}, "alphabet": ALPHABET.characters}
        path.write_bytes(serialise(tensors, {checkpoint.KEY: json.dumps(about)}))
        with pytest.raises(InputError) as error:
            checkpoint.load(str(path))
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("target", ["nowhere/model", ".", "a\0b", "x" * 300])
def test_a_target_that_cannot_be_written(model, tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    for attempt in (
        lambda: files.check_target(target),
        lambda: checkpoint.save(target, model, CONFIG, ALPHABET),
    ):
        with pytest.raises(InputError, match=r"cannot save to"):
            attempt()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs /dev/null")
def test_a_device_is_never_replaced():
    with pytest.raises(InputError, match=r"not a regular file"):
        files.check_target("/dev/null")
