"""Saved models: what comes back, and what is refused."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as serialise

from autollm import files
from autollm.errors import InputError
from autollm.learning import checkpoint
from autollm.learning.alphabet import Alphabet
from autollm.learning.checkpoint import Checkpoint
from autollm.models import MODELS, build, configure, parameters, sizes_of

CONFIG, ALPHABET = configure("bag", context=4, dim=5), Alphabet.of(["aéß中🦊 ."])


def save(path, model, config=CONFIG, longest=7):
    checkpoint.save(path, Checkpoint(model, config, ALPHABET, longest))


@pytest.fixture
def model():
    return build(CONFIG, ALPHABET.size, seed=3)


@pytest.fixture
def saved(model, tmp_path):
    path = str(tmp_path / "model.safetensors")
    save(path, model)
    return path


def rewrite(path, tensors=None, about=None, key=checkpoint.KEY, fine=None):
    """Save again with other contents."""
    description = {
        "format": 2,
        "config": {"model": "bag", "sizes": {"context": 4, "dim": 5}},
        "alphabet": ALPHABET.characters,
        "longest": 7,
    }
    if fine is None:
        fine = {name: np.ones((ALPHABET.size, 5), np.float32) for name in "EW"}
    content = serialise(fine | (tensors or {}), {key: json.dumps(description | (about or {}))})
    with open(path, "wb") as file:
        file.write(content)


def test_a_model_comes_back(model, saved):
    loaded = checkpoint.load(saved)
    assert (loaded.config, loaded.alphabet, loaded.longest) == (CONFIG, ALPHABET, 7)
    for name, param in parameters(model).items():
        np.testing.assert_array_equal(param.v, parameters(loaded.model)[name].v)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_comes_back(name, tmp_path):
    path, config = str(tmp_path / "model"), configure(name)
    model = build(config, ALPHABET.size, seed=5)
    save(path, model, config)
    loaded = checkpoint.load(path)
    assert loaded.config == config
    before, after = parameters(model), parameters(loaded.model)
    assert list(before) == list(after)
    for key in before:
        np.testing.assert_array_equal(before[key].v, after[key].v)


def test_the_same_model_gives_the_same_bytes(model, saved, tmp_path):
    again = str(tmp_path / "again")
    save(again, model)
    with open(saved, "rb") as a, open(again, "rb") as b:
        assert a.read() == b.read()


def test_other_tools_can_read_it(saved):
    from safetensors import safe_open

    with safe_open(saved, framework="numpy") as file:
        assert set(file.keys()) == {"E", "W"}
        assert json.loads(file.metadata()["autollm"])["alphabet"] == ALPHABET.characters


def test_an_old_file_is_replaced_whole_and_nothing_is_left_over(model, saved, tmp_path):
    save(saved, model)
    assert os.listdir(tmp_path) == ["model.safetensors"]
    (tmp_path / "new").touch()
    assert os.stat(saved).st_mode == os.stat(tmp_path / "new").st_mode, "as files begin here"


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(model, saved, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("model.safetensors")
    before = os.stat(saved).st_ino
    model.E.v += 1
    save(str(link), model)
    assert link.is_symlink() and os.readlink(link) == "model.safetensors"
    assert os.stat(saved).st_ino != before and not os.path.islink(saved)
    np.testing.assert_array_equal(parameters(checkpoint.load(saved).model)["E"].v, model.E.v)
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
    save(saved, model)
    found = os.stat(saved)
    assert [event for event in events if event[1] == found.st_ino] == [
        ("synced", found.st_ino, found.st_size), ("moved", found.st_ino, found.st_size),
    ]  # fmt: skip


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the model .*nothing"):
        checkpoint.load(str(tmp_path / "nothing"))


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
        ({"about": {"format": 3}}, "saved in format 3 by a newer autollm; this one reads 2"),
        ({"about": {"format": 1}}, "saved in format 1 by an older autollm; this one reads 2"),
        ({"about": {"format": "2"}}, "description is damaged"),
        ({"about": {"format": None}}, "description is damaged"),
        ({"about": {"config": {"model": "bag", "sizes": {"context": 4, "dim": 5}, "wings": 2}}}, "damaged"),
        (
            {"about": {"config": {"model": "bag", "sizes": {"context": 4, "wings": 5}}}},
            "bag has (a dim|no wings)",
        ),
        ({"about": {"config": {"model": "cat", "sizes": {}}}}, "there is no model 'cat'"),
        ({"about": {"config": {"model": ["bag"], "sizes": {}}}}, "damaged"),
        ({"about": {"config": {"model": "bag", "sizes": 3}}}, "damaged"),
        ({"about": {"config": {"model": "bag", "sizes": {"context": 4, "dim": 6}}}}, r"E is F32 \(8, 5\)"),
        ({"about": {"config": []}}, "damaged"),
        ({"about": {"longest": 0}}, "damaged"),
        ({"about": {"longest": "7"}}, "damaged"),
        ({"about": {"longest": True}}, "damaged"),
        ({"about": {"alphabet": 3}}, "an alphabet is a string"),
        ({"about": {"alphabet": ""}}, "an alphabet is a string"),
        ({"about": {"alphabet": "aaaaaaa"}}, "an alphabet is a string of distinct characters"),
        ({"about": {"alphabet": "\x1bbcdefg"}}, "an alphabet has no control characters"),
        ({"about": {"alphabet": "\nbcdefg"}}, "an alphabet has no control characters"),
        ({"about": {"alphabet": "bcdefg\ud800"}}, "no halves of characters"),
        ({"about": {"alphabet": "ab"}}, r"E is F32 \(8, 5\), the model needs F32 \(3, 5\)"),
        ({"tensors": {"F": np.ones(2, np.float32)}}, r"has parameters \['E', 'F', 'W'\]"),
        (
            {"fine": dict.fromkeys("FW", np.ones((8, 5), np.float32))},
            r"has parameters \['F', 'W'\], the model",
        ),
        ({"tensors": {"E": np.ones((8, 5))}}, r"E is F64 \(8, 5\), the model needs F32 \(8, 5\)"),
        ({"tensors": {"E": np.ones((8, 5), np.int8)}}, "E is I8"),
        ({"tensors": {"E": np.ones((0, 5), np.float32)}}, r"E is F32 \(0, 5\)"),
        ({"tensors": {"E": np.ones((5, 8), np.float32)}}, r"E is F32 \(5, 8\)"),
        ({"tensors": {"W": np.full((8, 5), np.nan, np.float32)}}, "W holds NaN or infinity"),
        ({"tensors": {"W": np.full((8, 5), -np.inf, np.float32)}}, "W holds NaN or infinity"),
    ],
)
def test_a_file_that_is_not_what_it_should_be(saved, change, message):
    rewrite(saved, **change)
    with pytest.raises(InputError, match=message) as error:
        checkpoint.load(saved)
    assert saved in str(error.value)


@pytest.mark.parametrize("more", [0, 1])
def test_of_many_foreign_parameters_some_are_named(saved, more):
    names = [f"F{i:02}" for i in range(10 + more)]  # besides the model's own
    rewrite(saved, tensors=dict.fromkeys(names, np.ones(2, np.float32)))
    with pytest.raises(InputError, match="has parameters") as error:
        checkpoint.load(saved)
    shown = sorted([*names, "E", "W"])[:12]
    assert f"has parameters {shown}{' and more' if more else ''}, the model" in str(error.value)


def test_loading_needs_safetensors_and_says_so(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match="a saved model needs safetensors: pip install safetensors"):
        checkpoint.load(saved)


# Sizes that the arrays of a model do not depend on.
NOT_IN_ARRAYS = {
    ("counts", "context"),
    ("bag", "context"),
    ("rnn", "context"),
    ("gru", "context"),
    ("gpt", "heads"),
    ("gpt2", "heads"),
}


@pytest.mark.parametrize(("name", "size"), [(name, size) for name in MODELS for size in sizes_of(name)])
def test_every_size_of_every_model_is_checked(name, size, tmp_path):
    """A file with each size that cannot be, or is not what the arrays have, is refused in one line."""
    path, config = tmp_path / "model", configure(name)
    save(str(path), build(config, ALPHABET.size), config)
    tensors, right = load_tensors(path.read_bytes()), config.sizes[size]
    wrong = [0, -1, str(right), 1.5, None, True, 10**12]
    if (name, size) not in NOT_IN_ARRAYS:
        wrong += [2 * right, 900_000]
    for value in wrong:
        sizes = config.sizes | {size: value}
        rewrite(path, tensors, {"config": {"model": name, "sizes": sizes}}, fine={})
        with pytest.raises(InputError) as error:
            checkpoint.load(str(path))
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", MODELS)
def test_a_small_file_that_promises_a_huge_model_is_refused_before_it_is_built(name, tmp_path, monkeypatch):
    """An alphabet of 60,000 characters and the largest sizes, with arrays of no bytes."""
    path, largest = tmp_path / "model", {}
    for size in sizes_of(name):
        largest[size] = min(MODELS[name].at_most.get(size, 900_000), 900_000)
    characters = "".join(map(chr, [*range(160, 0xD800), *range(0xE000, 0xFFFE)]))
    tensors = {key: np.zeros((0, 10**9), np.float32) for key in parameters(build(configure(name), 3))}
    about = {"config": {"model": name, "sizes": largest}, "alphabet": characters}
    rewrite(path, tensors, about, fine={})
    monkeypatch.setattr(checkpoint, "build", None)
    with pytest.raises(InputError, match="the model needs"):
        checkpoint.load(str(path))


def test_a_description_without_end(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(serialise({}, {checkpoint.KEY: "[" * 100_000}))
    with pytest.raises(InputError, match="description is damaged"):
        checkpoint.load(str(path))


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F16"])
def test_foreign_numbers(saved, kind):
    """Which NumPy does not have: the header says so before an array is asked for."""
    with open(saved, "rb") as file:
        content = file.read()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    width = 1 if kind.startswith("F8") else 2
    for i, name in enumerate("EW"):
        header[name] = {
            "dtype": kind,
            "shape": [8, 5],
            "data_offsets": [40 * width * i, 40 * width * (i + 1)],
        }
    text = json.dumps(header).encode()
    with open(saved, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + bytes(80 * width))
    with pytest.raises(InputError, match=f"E is {kind}"):
        checkpoint.load(saved)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
def test_what_is_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="it is a folder"):
        checkpoint.load(str(tmp_path))
    for path in ("/dev/zero", "/dev/null", str(tmp_path / "pipe")):
        with pytest.raises(InputError, match="it is not a regular file"):
            checkpoint.load(path)


@pytest.mark.parametrize("target", ["nowhere/model", ".", "a\0b", "x" * 300])
def test_a_target_that_cannot_be_written(model, tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    for attempt in (
        lambda: files.check_target(target),
        lambda: save(target, model),
    ):
        with pytest.raises(InputError, match=r"cannot save to"):
            attempt()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs /dev/null")
def test_a_device_is_never_replaced():
    with pytest.raises(InputError, match=r"not a regular file"):
        files.check_target("/dev/null")
