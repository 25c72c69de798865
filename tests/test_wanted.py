"""Which words come out, and going on with a model that has learned before."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

from autollm import cli, sample, train
from autollm.errors import InputError
from autollm.learning import alphabet, checkpoint, sampling
from autollm.learning.alphabet import Alphabet, graphemes_of
from autollm.learning.examples import make_sequences, make_text, make_windows
from autollm.learning.experiment import Corpus
from autollm.learning.sampling import Wanted, dream_wanted
from autollm.learning.words import Words
from autollm.models import configure, nets


def endless(words):
    """Dream these words, over and over; and how many were asked for each time."""
    asked = []

    def some(count):
        start = sum(asked)
        asked.append(count)
        return [words[i % len(words)] for i in range(start, start + count)]

    return some, asked


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), ["a", "bb", "a", "ccc", "a", "bb"]),
        (Wanted(shortest=2), ["bb", "ccc", "bb", "ccc", "bb", "ccc"]),
        (Wanted(longest=1), ["a"] * 6),
        (Wanted(shortest=2, longest=2), ["bb"] * 6),
        (Wanted(not_in=frozenset()), ["a", "bb", "ccc"]),
        (Wanted(not_in=frozenset({"bb"})), ["a", "ccc"]),
        (Wanted(shortest=4), []),
    ],
)
def test_only_words_that_are_wanted_come(wanted, expected):
    some, asked = endless(["a", "bb", "a", "ccc"])
    assert dream_wanted(some, 6, wanted) == expected
    assert sum(asked) < 12_000, "it does not go on for ever"


def test_a_word_that_is_rare_is_waited_for():
    some, asked = endless(["a"] * 9_000 + ["bb"])
    assert dream_wanted(some, 1, Wanted(shortest=2)) == ["bb"]
    assert 9_000 < sum(asked) < 12_000


def test_many_words_that_are_rare_are_waited_for():
    some, asked = endless(["a"] * 24 + ["bb"])
    assert dream_wanted(some, 1000, Wanted(shortest=2)) == ["bb"] * 1000
    assert 25_000 <= sum(asked) < 30_000


def test_what_is_dreamed_does_not_change_when_everything_is_wanted():
    some, asked = endless(["a", "b", "c"])
    assert dream_wanted(some, 10_000, Wanted()) == (["a", "b", "c"] * 3334)[:10_000]
    assert sum(asked) == 10_000


def test_dreaming_can_be_stopped():
    some, asked = endless(["a"])
    assert len(dream_wanted(some, 10**6, Wanted(), stop=lambda: len(asked) == 2)) == 8192


def run(capsys, command, *arguments):
    assert cli.run(lambda: command.main([str(one) for one in arguments])) == 0
    return capsys.readouterr()


def test_a_model_that_makes_too_few_new_words_says_so(capsys, tmp_path):
    (tmp_path / "list").write_text("a\nb\n")
    saved = tmp_path / "model"
    told = run(
        capsys, train, "--data", tmp_path / "list", "--steps", 50, "--new", "--longest", 2, "--save", saved
    )
    assert "only 4 of 20 words: the model dreams too few of those that are wanted" in told.err
    assert {line[5:] for line in told.out.splitlines() if " : " in line} == {"aa", "ab", "ba", "bb"}
    told = run(capsys, sample, saved, "--not-in", tmp_path / "list", "--longest", 2)
    assert "only 4 of 20 words" in told.err
    assert set(told.out.split()) == {"aa", "ab", "ba", "bb"}


@pytest.mark.parametrize("content", [b"a\r\nb\r\n", b"a\n\xff\nb\n"], ids=["line ends", "a bad line"])
def test_a_list_that_is_not_as_it_should_be_filters_all_the_same(capsys, tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    saved = tmp_path / "model"
    run(capsys, train, "--data", tmp_path / "list", "--skip-bad-lines", "--steps", 50, "--save", saved)
    words = run(capsys, sample, saved, "--not-in", tmp_path / "list").out.split()
    assert words and not {"a", "b"} & {*words}


def test_words_that_are_held_out_are_not_new(capsys, tmp_path):
    """Of all words of one letter, whichever are learned."""
    (tmp_path / "list").write_text("\n".join("abcdefghij"))
    options = ["--held-out", 5, "--new", "--longest", 1, "--steps", 5, "--json"]
    assert json.loads(run(capsys, train, "--data", tmp_path / "list", *options).out)["samples"] == []


@pytest.mark.parametrize(
    "arguments", [["--shortest", "5", "--longest", "4"], ["--prefix=abc", "--longest=2"]]
)
def test_words_that_cannot_be(capsys, arguments):
    assert cli.run(lambda: train.main(arguments)) == 2
    assert re.search(r"error: --longest \d: words of .* are longer", capsys.readouterr().err)


def test_what_is_dreamed_in_parts_is_by_dice_that_go_on(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "MOST_AT_ONCE", 7)
    (tmp_path / "list").write_text("a\nb\nc\nd\n")
    saved = tmp_path / "model"
    learn = ("--data", tmp_path / "list", "--steps", 10, "--samples", 21, "--json", "--save", saved)
    for words in (
        json.loads(run(capsys, train, *learn).out)["samples"],
        run(capsys, sample, saved, "-n", 21).out.split(),
    ):
        assert len(words) == 21
        assert words[:7] != words[7:14] != words[14:] != words[:7]


def test_long_words_are_dreamed_alike_by_train_and_sample(capsys, tmp_path):
    """Of two words of 70 letters, and a prefix of 80."""
    (tmp_path / "list").write_text("a" * 70 + "\n" + "b" * 70 + "\n")
    saved = tmp_path / "model"
    options = ["--prefix", "ab" * 40, "--longest", 10**6]
    told = run(
        capsys, train, "--data", tmp_path / "list", "--steps", 300, "--json", "--save", saved, *options
    )
    words = json.loads(told.out)["samples"]
    others = run(capsys, sample, saved, *options).out.split()
    for word in words + others:
        assert word.startswith("ab" * 40)
        assert len(word) <= 80 + 140
    assert max(map(len, words)) > 90 and max(map(len, others)) > 90


# --- going on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "more"),
    [*((model, "400") for model in nets()), ("mlp --counts", "60")],  # to which 80 names teach little
)
def test_learning_goes_on_with_every_model(capsys, tmp_path, model, more):
    saved, better = tmp_path / "model", tmp_path / "better"
    size = ["--dim", "8"] if "dim" in configure(model.split()[0]).sizes else ["--context", "1"]
    budget = ["--steps", "60", "--json", "--samples", "2"]
    first = json.loads(run(capsys, train, "--model", *model.split(), *size, *budget, "--save", saved).out)
    still = json.loads(run(capsys, train, "--from", saved, "--json", "--steps", 1, "--lr", 1e-30).out)
    assert still["final_loss"] == pytest.approx(first["final_loss"], abs=1e-5), "it begins where that ended"
    budget[1] = more
    onward = json.loads(run(capsys, train, "--from", saved, *budget, "--save", better).out)
    assert onward["final_loss"] < first["final_loss"]
    for setting in ("model", "counts", "context", "dim", "heads", "batch", "lr"):
        assert onward["config"][setting] == first["config"][setting]
    assert checkpoint.load(str(better)).config == checkpoint.load(str(saved)).config


def test_what_counts_counts_anew_and_says_so(capsys, tmp_path):
    saved = tmp_path / "model"
    (tmp_path / "list").write_text("anna\nhannah\n")
    run(capsys, train, "--model", "counts", "--save", saved)
    told = run(capsys, train, "--from", saved, "--data", tmp_path / "list", "--samples", 50)
    assert f"{saved} counts anew: what it had counted in other words is forgotten" in told.err
    assert "anna" in told.out


def test_going_on_with_other_words(capsys, tmp_path):
    """The alphabet stays, and so does what is known of the longest word."""
    saved, better = tmp_path / "model", tmp_path / "better"
    (tmp_path / "list").write_text("anna\nhannah\n")
    run(capsys, train, "--steps", 50, "--save", saved)
    told = run(
        capsys,
        train,
        "--data",
        tmp_path / "list",
        "--from",
        saved,
        "--steps",
        500,
        "--json",
        "--save",
        better,
    )
    facts = json.loads(told.out)
    assert facts["alphabet"] == "abcdefghijklmnopqrstuvwxyz"
    assert facts["final_loss"] < 1.5, "it has learned these"
    assert "held out, unless" not in told.err, "none are"
    assert "counts anew" not in told.err
    assert checkpoint.load(str(better)).longest == checkpoint.load(str(saved)).longest


def test_a_new_letter_is_an_error_before_training(capsys, tmp_path, monkeypatch):
    saved = tmp_path / "model"
    (tmp_path / "list").write_text("zoé\nemma\n")
    run(capsys, train, "--steps", 50, "--save", saved)
    monkeypatch.setattr(train, "learn", None)
    assert cli.run(lambda: train.main(["--from", str(saved), "--data", str(tmp_path / "list")])) == 2
    assert "'é' in 'zoé' is not in the alphabet: abc" in capsys.readouterr().err


def test_the_sizes_of_a_model_to_go_on_with_are_its_own(capsys, tmp_path):
    saved = str(tmp_path / "model")
    run(capsys, train, "--steps", 50, "--save", saved)
    for size in (["--dim", "8"], ["--hidden", "3"]):
        assert cli.run(lambda size=size: train.main(["--from", saved, *size])) == 2
        assert f"the model has its sizes; leave out {size[0]}" in capsys.readouterr().err
    for settled in ("--counts", "--graphemes"):
        assert cli.run(lambda settled=settled: train.main(["--from", saved, settled])) == 2
        assert f"leave out {settled}" in capsys.readouterr().err
    assert cli.run(lambda: train.main(["--from", saved, "--model", "bag"])) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_held_out_words_may_have_been_learned_before(capsys, tmp_path):
    saved = tmp_path / "model"
    run(capsys, train, "--steps", 5, "--save", saved)
    told = run(capsys, train, "--steps", 5, "--from", saved, "--held-out", 9)
    assert "may have learned the words held out, unless --seed is the same as then" in told.err


# --- whole graphemes ----------------------------------------------------------------------------------------

FAMILY = "👩\u200d👩\u200d👧"
HINDI = ["क्षि", "मीरा", "हिंदी", "कि" + FAMILY, "abc"]


def test_letters_are_what_a_reader_takes_for_one():
    pytest.importorskip("regex")
    alphabet = Alphabet.of(HINDI, whole_graphemes=True)
    assert [alphabet.letters(word) for word in HINDI] == [1, 2, 2, 2, 3]
    assert alphabet.size == len({"क्षि", "मी", "रा", "हिं", "दी", "कि", FAMILY, *"abc"}) + 1
    for word in HINDI:
        assert alphabet.decode(alphabet.encode(word)) == word
    with pytest.raises(InputError, match="is not in the alphabet: abcक"):
        alphabet.encode("मा")
    assert Alphabet.of(["ab", "c"], whole_graphemes=True) == Alphabet.of(["ab", "c"])
    assert Corpus.of(Words(HINDI, 0), 0, seed=0, whole_graphemes=True).longest == 3


@pytest.mark.parametrize(
    ("words", "have"), [(["ab", "zoé"], False), ([FAMILY, "🦊"], True), (["कि"], True), (["e\u0301"], True)]
)
def test_letters_may_have_parts(words, have):
    """Marks, or joiners alone."""
    assert Alphabet.of(words).has_parts == have


def test_examples_are_made_of_whole_letters():
    pytest.importorskip("regex")
    whole = Alphabet.of(HINDI, whole_graphemes=True)
    written = [0]
    for word in HINDI:
        written += [*whole.encode(word), 0]
    assert make_text(HINDI, whole).tolist() == written
    plain = Alphabet(whole.characters)  # of which every letter is one character
    for make in (make_windows, make_sequences):
        rows = make(HINDI, whole, 3).rows
        np.testing.assert_array_equal(rows, make([whole.fold(word) for word in HINDI], plain, 3).rows)


def test_there_are_so_many_graphemes_at_the_most_as_characters_to_stand_for_them(monkeypatch):
    pytest.importorskip("regex")
    words = ["e\u0301", "e\u0302", "e\u0303"]
    monkeypatch.setattr(alphabet, "LAST_STAND_IN", "\U000f0003")
    assert Alphabet.of(words, whole_graphemes=True).size == 4
    monkeypatch.setattr(alphabet, "LAST_STAND_IN", "\U000f0001")
    with pytest.raises(InputError, match="the words have 3 different ones, which is too many"):
        Alphabet.of(words, whole_graphemes=True)


def test_private_characters_are_letters_unless_they_have_to_stand_for_others():
    pytest.importorskip("regex")
    private = "a\U000f0000"
    assert Alphabet.of([private], whole_graphemes=True).characters == private
    with pytest.raises(InputError, match="private characters, from U\\+F0000 on, cannot be in the words"):
        Alphabet.of([private, *HINDI], whole_graphemes=True)


def test_marks_never_come_apart(capsys, tmp_path):
    pytest.importorskip("regex")
    (tmp_path / "list").write_text("\n".join(HINDI))
    saved = tmp_path / "model"
    options = ["--data", tmp_path / "list", "--graphemes", "--steps", 20, "--samples", 200]
    known = {"क्षि", "मी", "रा", "हिं", "दी", "कि", FAMILY, *"abc"}
    words = json.loads(run(capsys, train, *options, "--json", "--save", saved).out)["samples"]
    words += run(
        capsys, sample, saved, "-n", 200, "--prefix", "मी", "--shortest", 3, "--longest", 4
    ).out.split()
    alphabet = checkpoint.load(str(saved)).alphabet
    for word in words:
        assert {alphabet.decode([token]) for token in alphabet.encode(word)} <= known
    assert {alphabet.letters(word) for word in words[200:]} == {3, 4}
    assert all(word.startswith("मी") for word in words[200:])
    shortest = run(capsys, sample, saved, "-n", 2, "--prefix", "मी", "--longest", 1)
    assert shortest.out.split() == ["मी", "मी"], "of two characters, and one letter"


def test_letters_that_are_kept_whole_need_no_remark(capsys, tmp_path):
    """Also where a mark stands alone, which is a letter then."""
    pytest.importorskip("regex")
    (tmp_path / "list").write_text("ि\nमि\n")
    told = run(capsys, train, "--data", tmp_path / "list", "--graphemes", "--steps", 1)
    assert "marks or joiners" not in told.err


def test_a_film_shows_whole_letters(capsys, tmp_path):
    pytest.importorskip("regex")
    (tmp_path / "list").write_text("\n".join(HINDI))
    film = tmp_path / "film.html"
    run(capsys, train, "--data", tmp_path / "list", "--graphemes", "--film", film, "--steps", 5)
    assert all(f'"{letter}"' in film.read_text() for word in HINDI for letter in graphemes_of(word))


def test_without_the_library_it_says_what_is_needed(capsys, tmp_path, monkeypatch):
    (tmp_path / "list").write_text("\n".join(HINDI))
    monkeypatch.setitem(sys.modules, "regex", None)
    assert cli.run(lambda: train.main(["--data", str(tmp_path / "list"), "--graphemes"])) == 2
    assert "whole graphemes need regex: pip install 'autollm[graphemes]'" in capsys.readouterr().err
    told = run(capsys, train, "--data", tmp_path / "list", "--steps", 5)
    assert "marks or joiners, which may come out apart: --graphemes keeps them whole" in told.err


@pytest.mark.parametrize(
    "graphemes", [["a"], ["ab", "ab"], ["b2", "a1"], ["a\x1b"], "ab", [1], ["ab", "cd", "ef"]]
)
def test_graphemes_that_no_alphabet_has(graphemes):
    with pytest.raises((InputError, TypeError)):
        Alphabet("a\U000f0000\U000f0001", tuple(graphemes))
