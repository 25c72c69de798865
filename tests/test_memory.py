"""How much memory there is, and what is refused because there is not enough."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from commands import python

from autollm import cli, train
from autollm.errors import InputError
from autollm.learning import memory
from autollm.learning.alphabet import Alphabet
from autollm.learning.experiment import Corpus
from autollm.learning.memory import available_memory, check_memory, container_limits
from autollm.learning.plan import make_plan
from autollm.models import MODELS, configure

SMALL = Corpus(Alphabet("abc"), ["a", "bb"], ["c"], 2)


def groups(tmp_path, lines, **limits):
    """A made-up system: the lines of /proc/self/cgroup, and files with limits, "__" standing for "/"."""
    (tmp_path / "own").write_text("\n".join(lines))
    for path, limit in limits.items():
        file = (
            tmp_path
            / "root"
            / path.replace("__", "/")
            .replace("memory_max", "memory.max")
            .replace("limit_in_bytes", "memory.limit_in_bytes")
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    return container_limits(tmp_path / "root", tmp_path / "own")


def test_a_limit_of_version_2_and_those_above_it(tmp_path):
    limits = groups(
        tmp_path, ["0::/pod/box"], memory_max=900, pod__memory_max="max", pod__box__memory_max=500
    )
    assert sorted(limits) == [500, 900]


def test_a_limit_of_the_group_above_all(tmp_path):
    assert groups(tmp_path, ["0::/"], memory_max=900) == [900]


def test_a_limit_of_version_1_and_those_above_it(tmp_path):
    lines = ["5:cpu,cpuacct:/pod", "4:memory:/pod/box", "0::/"]
    limits = groups(
        tmp_path, lines, memory__pod__box__limit_in_bytes=300, memory__limit_in_bytes=2**63 - 4096,
        cpu__pod__limit_in_bytes=1,
    )  # fmt: skip
    assert sorted(limits) == [300, 2**63 - 4096]


def test_a_container_that_sees_only_its_own_group(tmp_path):
    """Its path is one outside, and its limit stands at the root."""
    assert groups(tmp_path, ["0::/../../pod/box"], memory_max=700)[-1:] == [700]


@pytest.mark.parametrize("lines", [[], ["nonsense"], ["0::/"], ["1:name=systemd:/"]])
def test_no_limits(tmp_path, lines):
    assert groups(tmp_path, lines) == []
    assert container_limits(tmp_path / "no", tmp_path / "nothing") == []


def test_the_least_of_all_limits_counts(monkeypatch):
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(memory, "container_limits", list)
    assert available_memory() <= physical
    monkeypatch.setattr(memory, "container_limits", lambda: [12345, 2**60])
    assert available_memory() == 12345
    monkeypatch.setattr(memory, "container_limits", list)
    monkeypatch.setattr(memory, "os", SimpleNamespace())  # a system that does not tell
    monkeypatch.setitem(sys.modules, "resource", None)
    assert available_memory() == math.inf


def test_a_system_that_tells_only_of_its_pages(monkeypatch):
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000, "SC_AVPHYS_PAGES": 10}
    monkeypatch.setattr(memory, "os", SimpleNamespace(sysconf=pages.__getitem__))
    monkeypatch.setattr(memory, "container_limits", list)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert available_memory() == 4096 * 1000


def test_what_needs_just_what_there_is_may_run(monkeypatch):
    plan = make_plan(configure("bag"))
    needed = memory._bytes_needed(plan, SMALL, 20)
    monkeypatch.setattr(memory, "available_memory", lambda: needed)
    check_memory(plan, SMALL, 20)
    monkeypatch.setattr(memory, "available_memory", lambda: needed - 1)
    with pytest.raises(InputError, match="of memory"):
        check_memory(plan, SMALL, 20)


def test_ulimit_counts():
    pytest.importorskip("resource", reason="there is no ulimit on this system")
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, resource.RLIM_INFINITY));"
        "from autollm.learning.memory import available_memory; print(available_memory())"
    )
    done = python("-c", script)
    assert 0 < float(done.stdout) <= 3 * 2**30, done.stderr


@pytest.mark.parametrize("name", MODELS)
def test_the_default_sizes_need_little(name):
    check_memory(make_plan(configure(name)), SMALL, samples=20)


@pytest.mark.parametrize(
    ("sizes", "settings", "samples", "corpus"),
    [
        ({}, {"batch": 10**9}, 20, SMALL),
        ({"dim": 10**6}, {"batch": 10**4}, 20, SMALL),
        ({"context": 10**6}, {"batch": 10**5}, 20, SMALL),
        ({}, {}, 10**6, Corpus(Alphabet("abc"), ["a", "b" * 10**6], [], 10**6)),
        ({}, {}, 20, Corpus(Alphabet("abc"), ["a" * 10**6] * 10**4, [], 10**6)),
    ],
    ids=["batch", "dim", "context", "samples", "words"],
)
def test_what_needs_too_much_is_refused(monkeypatch, sizes, settings, samples, corpus):
    monkeypatch.setattr(memory, "available_memory", lambda: 100e9)
    with pytest.raises(InputError, match=r"these sizes need about [\d,.]+ GB of memory, .* has 100.0 GB"):
        check_memory(make_plan(configure("bag", **sizes), **settings), corpus, samples)


MANY = Alphabet("".join(map(chr, range(0x4E00, 0x4E00 + 999))))
LONG = ["a" * 10**6] * 1000  # 10**9 letters


@pytest.mark.parametrize(
    ("model", "settings", "samples", "corpus", "about"),
    [
        # Windows of 3 letters and a target; which words they are makes no difference.
        (configure("bag"), {}, 0, Corpus(Alphabet("abc"), LONG, [], 10**6), 4 * 4 * 10**9),
        (configure("bag"), {}, 0, Corpus(Alphabet("abc"), ["a", "b"], LONG, 10**6), 4 * 4 * 10**9),
        # Every number of a step's arrays, with its share and the like: four times 4 bytes.
        (configure("mlp", hidden=10**6), {"batch": 10**4}, 0, SMALL, 16 * 10**4 * 10**6),
        (configure("bag", dim=10**6), {"batch": 10**4}, 0, SMALL, 16 * 10**4 * 10**6),
        (configure("rnn", context=100, hidden=10**4), {"batch": 10**4}, 0, SMALL, 16 * 10**6 * 10**4),
        (configure("gpt", dim=1000, layers=9), {"batch": 10**4}, 0, SMALL, 16 * 10**4 * 16 * 9 * 16_000),
        (configure("gpt", context=10**4, heads=32), {"batch": 10}, 0, SMALL, 16 * 10**5 * 32 * 10**4),
        # A parameter, its share and two moments.
        (configure("mlp", context=1000, dim=1000, hidden=1000), {"batch": 1}, 0, SMALL, 16 * 1000**3),
        # Sequences of 5 letters at the most, of which there are a thousand, a million, and 3 times 10**9:
        # 14 numbers for each, and 3 for every letter besides its window.
        (configure("counts"), {}, 0, Corpus(MANY, LONG, [], 10**6), 168 * 10**9 + 32 * 10**9),
        (configure("bag", True, context=4), {}, 0, Corpus(MANY, LONG, [], 10**6), 168 * 10**9 + 32 * 10**9),
        (configure("counts"), {}, 0, Corpus(Alphabet("abc"), LONG, [], 10**6), 32 * 10**9),
        # Words that are dreamed, of twice the longest.
        (configure("counts"), {}, 10**6, Corpus(Alphabet("abc"), ["a", "b"], [], 10**5), 2 * 10**5 * 10**6),
    ],
)  # fmt: skip
def test_about_how_much_memory_is_needed(model, settings, samples, corpus, about):
    needed = memory._bytes_needed(make_plan(model, **settings), corpus, samples)
    assert needed == pytest.approx(about, rel=0.1)


def test_parameters_alone_may_need_too_much(monkeypatch):
    """8 places of 1,000 numbers for each of a million others."""
    monkeypatch.setattr(memory, "available_memory", lambda: 100e9)
    plan = make_plan(configure("mlp", hidden=10**6, dim=100))
    check_memory(plan, SMALL, samples=20)
    with pytest.raises(InputError, match="of memory"):
        check_memory(replace(plan, config=configure("mlp", hidden=10**6, dim=1000)), SMALL, samples=20)


def test_the_words_to_dream_are_counted_before_anything_is_learned(capsys, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 50e6)
    monkeypatch.setattr(train, "learn", None)
    assert cli.run(lambda: train.main(["--samples", "1000000"])) == 2
    assert "of memory, and this machine has 0.1 GB" in capsys.readouterr().err
