"""The film of a training: what is recorded of it, and the file that is made of that."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import math
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import autollm, python
from hypothesis import given
from hypothesis import strategies as st

from autollm import cli, files, train
from autollm.errors import InputError
from autollm.film import page, record
from autollm.film.record import Answers, Recorder, beginnings, least_loss, moments_of_a_bag, packed
from autollm.learning.alphabet import Alphabet
from autollm.learning.experiment import Corpus, learn
from autollm.learning.plan import Budget, make_plan
from autollm.learning.training import mean_loss
from autollm.learning.words import Words, read_words
from autollm.models import MODELS, build, configure, parameters

LIMIT = 300_000  # bytes
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'&amp;\\",
    "<b>bold</b>",
    "שלום",
    "🦄🧒🏽",
    "[[FILM]]",
]


def words_of(texts):
    return Words(list(dict.fromkeys(texts)), 0)


NAMES = read_words("names")


def filmed(words=NAMES, model="bag", steps=300, watch=None, held_out=None, graphemes=False, **sizes):
    """A film as the page has it, and what was learned."""
    plan = make_plan(configure(model, **sizes), Budget(steps=steps))
    corpus = Corpus.of(words, held_out, seed=0, whole_graphemes=graphemes)
    recorder = Recorder(plan, corpus)
    learned = learn(plan, corpus, watch, record=recorder.begin)
    return recorder.told(learned), learned


def unpacked(content):
    scale, text = content
    places = {chr(digit): i for i, digit in enumerate(record.DIGITS)}
    digits = [places[character] for character in text]
    whole = [(a << 12 | b << 6 | c) for a, b, c in zip(digits[::3], digits[1::3], digits[2::3], strict=True)]
    return scale * (np.array(whole) - 2**17) / (2**17 - 1)


class Reader(html.parser.HTMLParser):
    """What an HTML parser sees: elements, and the text in styles and scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.inside, self.raw = [], None, {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = f"{tag}#{dict(attributes).get('id', '')}"

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside in ("style#", "script#", "script#film"):
            self.raw[self.inside] = self.raw.get(self.inside, "") + text


# --- what is recorded ----------------------------------------------------------------------------------


def test_the_moments_are_about_forty_and_denser_at_the_start():
    plan = make_plan(configure("bag"))
    corpus = Corpus.of(NAMES, None, seed=0)
    recorder = Recorder(plan, corpus)

    def record_a_second(model, examples, held_out):
        watch = recorder.begin(model, examples, held_out)
        for step in range(1, 10_001):
            watch(step, step / 10_000, 2.0, step / 10_000)
        return watch

    learn(make_plan(configure("bag"), Budget(steps=1)), corpus, record=record_a_second)
    steps = [moment.steps for moment in recorder.moments][:41]
    assert steps[0] == 0 and steps[-1] == 10_000
    assert len(set(steps)) == 41
    gaps = np.diff(steps)
    assert gaps[0] < 10 and (np.diff(gaps) >= -1).all() and gaps[-1] > 400


def test_every_moment_is_the_model_as_it_was():
    film, learned = filmed(steps=300)
    assert film["steps"][0] == 0 and film["steps"][-1] == 300 == learned.run.steps
    assert len(set(film["steps"])) == len(film["steps"]), "no moment is there twice"
    for name, param in parameters(learned.model).items():
        scale = film["seen"][name][-1][0]
        off = np.abs(unpacked(film["seen"][name][-1]) - param.v.reshape(-1)).max()
        assert off <= scale / 2**18 * 1.01
    fresh, _ = filmed(steps=1)
    assert film["seen"]["E"][0] == fresh["seen"]["E"][0], "the first moment is before the first step"
    assert film["loss"][0] == pytest.approx(math.log(27), abs=0.05) and film["loss"][-1] < 2.8
    assert film["loss"][-1] == pytest.approx(mean_loss(learned.model, learned.examples), abs=1e-5)


def test_the_map_is_centred_where_letters_are_read_and_blind_guessing_is_by_all_tokens():
    film, learned = filmed()
    E, alphabet = learned.model.E.v.astype(np.float64), learned.corpus.alphabet
    contexts = learned.examples.rows[:, :-1]
    np.testing.assert_allclose(film["seen"]["centre"], E[contexts].mean(axis=(0, 1)), atol=1e-5)
    assert film["blind"] == pytest.approx(np.log(alphabet.size))
    np.testing.assert_allclose(
        np.array(film["seen"]["axes"]) @ np.array(film["seen"]["axes"]).T, np.eye(2), atol=1e-6
    )


def test_the_map_shows_the_two_directions_of_the_widest_spread():
    """Where a letter counts as often as it was read."""
    film, learned = filmed()
    axes, E = np.array(film["seen"]["axes"]), learned.model.E.v.astype(np.float64)
    read = E[learned.examples.rows[:, :-1].reshape(-1)]
    spread = np.cov(read.T, bias=True)
    assert film["seen"]["often"] == np.bincount(learned.examples.rows[:, :-1].reshape(-1)).tolist()
    assert np.trace(axes @ spread @ axes.T) == pytest.approx(np.linalg.eigvalsh(spread)[-2:].sum(), rel=1e-4)


@pytest.mark.parametrize("model", ["mlp", "gpt"])
def test_the_chances_are_the_models_own(model):
    """Of the letter after a beginning, and of none but letters at the start of a word."""
    corpus, plan = Corpus.of(NAMES, None, seed=0), make_plan(configure(model, context=4))
    net = build(plan.config, corpus.alphabet.size)
    for param in parameters(net).values():
        param.v[...] *= 30  # scores whose powers no number holds
    eye = Answers(net, corpus, plan)
    for beginning, (chances, _) in zip(eye.beginnings, eye.look(), strict=True):
        letters = [0] * (4 if model == "mlp" else 1) + corpus.alphabet.encode(beginning)
        scores = net(np.array([letters[-4:]], np.int32)).v[-1].astype(np.float64)
        scores[0] -= 0 if beginning else np.inf
        powers = np.exp(scores - scores.max())
        np.testing.assert_allclose(chances, powers / powers.sum(), atol=1e-6)


@pytest.mark.parametrize("model", ["bag", "gpt"])
def test_recording_changes_nothing(model):
    _, recorded = filmed(model=model, steps=100)
    plan = make_plan(configure(model), Budget(steps=100))
    alone = learn(plan, Corpus.of(NAMES, None, seed=0))
    for name, param in parameters(alone.model).items():
        assert np.array_equal(param.v, parameters(recorded.model)[name].v)


def test_a_run_that_was_stopped_shows_what_there_is():
    def stop(step, *_):
        if step >= 200:
            raise KeyboardInterrupt

    film, learned = filmed(steps=2000, watch=stop)
    assert learned.run.interrupted and film["interrupted"]
    assert film["steps"][0] == 0 and film["steps"][-1] == learned.run.steps >= 200
    assert len(film["steps"]) > 2, "also what was before it was stopped"


def test_held_out_words_have_a_loss_of_their_own():
    film, learned = filmed(held_out=20, steps=200)
    assert len(film["heldOut"]) == len(film["loss"])
    assert film["heldOut"][-1] == pytest.approx(mean_loss(learned.model, learned.held_out), abs=1e-5)
    assert filmed(steps=1)[0]["heldOut"] == []


@pytest.mark.parametrize("context", [1, 3, 40])
def test_nobody_can_be_below_the_least_loss(context):
    followers: dict[str, Counter] = {}
    for word in NAMES.distinct:
        text = "." * context + word + "."
        for i in range(context, len(text)):
            followers.setdefault(text[i - context : i], Counter())[text[i]] += 1
    total = sum(sum(counter.values()) for counter in followers.values())
    nats = -sum(n * math.log(n / sum(c.values())) for c in followers.values() for n in c.values()) / total
    assert least_loss(Corpus.of(NAMES, None, seed=0), context) == pytest.approx(nats)


def test_the_least_loss_is_that_of_the_words_to_learn_from():
    corpus = Corpus.of(NAMES, 20, seed=0)
    assert least_loss(corpus, 3) == least_loss(replace(corpus, held_out=[]), 3)


def test_other_models_leave_their_answers():
    film, _ = filmed(model="mlp", steps=200)
    answers = film["seen"]["answers"]
    assert len({answer["beginning"] for answer in answers}) == len(answers) == 5
    assert answers[0]["beginning"] == ""
    for answer in answers:
        for chances, words in zip(answer["chances"], answer["words"], strict=True):
            assert unpacked(chances).sum() == pytest.approx(1, abs=1e-3)
            assert len(words) == 4
            assert all(word.startswith(answer["beginning"]) for word in words)
    assert unpacked(answers[0]["chances"][-1])[0] == 0, "a word has a letter"
    assert answers[0]["words"][0] != answers[0]["words"][-1]


def test_the_dice_of_the_answers_are_those_of_the_seed():
    """Of one model, which has learned nothing."""
    corpus, config = Corpus.of(NAMES, None, seed=0), configure("mlp")
    model = build(config, corpus.alphabet.size)
    first, second, again = (Answers(model, corpus, make_plan(config, seed=s)).look() for s in (0, 1, 0))
    for (_, words), (_, others), (_, same) in zip(first, second, again, strict=True):
        assert words == same != others


def test_a_dreamed_word_is_shown_as_far_as_there_is_room(monkeypatch):
    corpus, config = Corpus.of(NAMES, None, seed=0), configure("mlp")
    words = ["a" * length for length in (record.LONGEST, record.LONGEST + 1)]
    monkeypatch.setattr(record, "dream", lambda *_, **__: words)
    eye = Answers(build(config, corpus.alphabet.size), corpus, make_plan(config))
    assert eye.look()[0][1] == [words[0], "a" * (record.LONGEST - 1) + "…"]


def test_what_is_shown_of_a_dreamed_word_is_counted_in_whole_letters(monkeypatch):
    pytest.importorskip("regex")
    corpus = Corpus.of(words_of(["किमि", "मिकि"]), None, seed=0, whole_graphemes=True)
    words = ["कि" * length for length in (record.LONGEST, record.LONGEST + 1)]
    monkeypatch.setattr(record, "dream", lambda *_, **__: words)
    plan = make_plan(configure("mlp"))
    eye = Answers(build(plan.config, corpus.alphabet.size), corpus, plan)
    assert eye.look()[0][1] == [words[0], "कि" * (record.LONGEST - 1) + "…"]


@pytest.mark.parametrize(("most", "step"), [(399, 2), (400, 1), (401, 1), (133, 4)])
def test_of_many_words_some_are_counted_evenly_spread(monkeypatch, most, step):
    """So many that they have at most so many letters."""
    words = [f"{i:04}" for i in range(100)]
    monkeypatch.setattr(record, "MOST_COUNTED", most)
    assert record.few_words(words) == words[::step]


def test_beginnings_are_the_commonest_of_longer_words():
    corpus = Corpus(Alphabet("abcd"), ["a", "b", "d", "cab", "ca", "cb", "ba", "bab", "cacd"], [], 4)
    assert beginnings(corpus) == ["", "c", "b", "ca", "cac"]


@pytest.mark.parametrize("dim", [1, 15, 16, 33, 34, 100, 154, 155])
def test_a_bag_is_recorded_as_often_as_there_is_room(dim):
    """The moment before the first step included."""
    numbers = 2 * 27 * dim
    count, too_large = moments_of_a_bag(make_plan(configure("bag", dim=dim)), 27)
    if too_large:
        assert numbers * (1 + record.FEWEST_MOMENTS) > record.MOST_NUMBERS
    else:
        assert (1 + count) * numbers <= record.MOST_NUMBERS
        assert count == record.MOMENTS or (2 + count) * numbers > record.MOST_NUMBERS


def test_a_bag_is_taken_apart_as_far_back_as_there_is_room():
    plans = [make_plan(configure("bag", context=context, dim=60)) for context in range(1, 20)]
    furthest = [plan.config.context for plan in plans if not moments_of_a_bag(plan, 27)[1]]
    assert furthest == list(range(1, record.MOST_LETTERS_BACK + 1))
    assert {moments_of_a_bag(plan, 27)[0] for plan in plans[len(furthest) :]} == {record.MOMENTS}


def test_a_loss_beyond_all_bounds_is_a_number_all_the_same():
    """JSON has no infinity."""
    plan, corpus = make_plan(configure("bag"), Budget(steps=1)), Corpus.of(NAMES, 10, seed=0)
    recorder = Recorder(plan, corpus)
    learned = learn(plan, corpus, record=recorder.begin)
    recorder.moments[0] = replace(recorder.moments[0], loss=math.inf, held_out=math.inf)
    film = recorder.told(learned)
    assert film["loss"][0] == film["heldOut"][0] == 1000.0


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20))
def test_packed_numbers_are_off_by_half_a_step_at_most(numbers):
    array = np.array(numbers, np.float32)
    assert (
        np.abs(unpacked(packed(array)) - array).max() <= (np.abs(array).max() or 1) / (2**17 - 1) / 2 * 1.0001
    )


# --- the file ------------------------------------------------------------------------------------------


CROWD = words_of("".join(chr(0x4E00 + 7 * i + j) for j in range(3)) for i in range(300))
LONG = words_of(["🦄" * 300 + "ab"[i % 2] * i for i in range(1, 50)])


def test_of_many_letters_the_likeliest_in_the_end_are_shown():
    corpus, config = Corpus.of(CROWD, None, seed=0), configure("mlp")
    eye = Answers(build(config, corpus.alphabet.size), corpus, make_plan(config))
    seen = eye.look()
    before = [(chances[::-1], words) for chances, words in seen]
    answers = eye.told([before, seen])["answers"]
    assert eye.tokens == sorted({token for answer in answers for token in answer["letters"]})
    for (chances, _), answer in zip(seen, answers, strict=True):
        shown = answer["letters"]
        assert len(shown) == record.MOST_BARS and shown == sorted(shown)
        assert chances[shown].min() >= np.delete(chances, shown).max()


@pytest.mark.parametrize(
    ("words", "model", "sizes"),
    [(NAMES, model, {}) for model in MODELS]
    + [
        (CROWD, "bag", {}),
        (CROWD, "mlp", {}),
        (NAMES, "bag", {"dim": 1}),
        (NAMES, "bag", {"dim": 100}),
        (NAMES, "bag", {"dim": 1000}),
        (NAMES, "bag", {"context": 40}),
        (LONG, "bigram", {}),
    ],
)
def test_a_page_has_300_kB_at_most(monkeypatch, words, model, sizes):
    """With new words at every moment, whose letters are any, and as many as are shown."""
    letters = np.random.default_rng(0)

    def dream(model, alphabet, context, count, random, *, longest, prefix):
        drawn = letters.choice(list(alphabet.characters), (count, record.LONGEST))
        return [prefix + "".join(word) for word in drawn]

    monkeypatch.setattr(record, "dream", dream)
    plan = make_plan(configure(model, **sizes), Budget(steps=130))
    corpus = Corpus.of(words, None, seed=0)
    recorder = Recorder(plan, corpus)

    def every_moment(model, examples, held_out):
        watch = recorder.begin(model, examples, held_out)
        for step in range(1, 2001):
            watch(step, step / 2000, 2.0, step / 2001)
        return watch

    learned = learn(plan, corpus, record=every_moment)
    film = recorder.told(learned)
    assert len(film["steps"]) >= record.FEWEST_MOMENTS
    content = page.page_of(film)
    assert 30_000 < len(content) <= LIMIT
    whole = model == "bag" and not film["tooLarge"]
    assert ("E" in film["seen"]) == whole and ("answers" in film["seen"]) != whole


@pytest.mark.parametrize(
    ("sizes", "why"), [({"dim": 1000}, "54,000 numbers"), ({"context": 40}, "40 letters")]
)
def test_a_bag_that_is_too_large_for_a_page_says_why(sizes, why):
    assert why in filmed(steps=1, **sizes)[0]["tooLarge"]


def test_hostile_words_stay_data():
    film, _ = filmed(words_of(HOSTILE), steps=1)
    text = page.page_of(film).decode()
    seen = Reader(text)
    plain = Reader(page.page_of(filmed(steps=1)[0]).decode())
    assert seen.elements[2:] == plain.elements[2:], "no word has become an element"
    assert json.loads(seen.raw["script#film"]) == film
    assert "<" not in seen.raw["script#film"]


def test_the_page_may_ask_nobody_and_run_nothing_else():
    text = page.page_of(filmed(steps=1)[0]).decode()
    seen = Reader(text)
    policy = next(a["content"] for t, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for name, raw in (("script-src", "script#"), ("style-src", "style#")):
        digest = base64.b64encode(hashlib.sha256(seen.raw[raw].encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    addresses = set(re.findall(r"https?://[^\s\"'<)]*", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}, "which is a name, not an address"
    assert not [
        a for _, a in seen.elements if "src" in a or "style" in a or any(k.startswith("on") for k in a)
    ]


def test_every_script_is_in_the_page():
    text = page.page_of(filmed(steps=1)[0]).decode()
    scripts = [path.read_text("utf-8") for path in Path(page.__file__).parent.glob("*.js")]
    assert len(scripts) == 5 and all(script in text for script in scripts)


def test_the_commands_for_the_teacher_can_be_typed():
    commands = re.findall(r"<code>autollm train ([^<]*)</code>", page.source("page.html"))
    assert len(commands) == 3
    for command in commands:
        given = train.build_parser().parse_args(command.split())
        assert given.film.endswith(".html")
        train.plan_of(given, None)


# --- the command ---------------------------------------------------------------------------------------


def test_train_writes_a_film_and_prints_what_it_would_without(tmp_path):
    quick = ("train", "--steps", "200", "--samples", "3")
    done = autollm(*quick, "--film", "run.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "saved to run.html" in done.stderr.splitlines()
    assert os.listdir(tmp_path) == ["run.html"]
    without = autollm(*quick, cwd=tmp_path)
    assert done.stdout.splitlines()[1:] == without.stdout.splitlines()[1:]
    again = autollm(*quick, "--film", "run.html", cwd=tmp_path)
    assert again.returncode == 0, "a film may replace a film"


@pytest.mark.parametrize(
    "more", [("--steps", "1"), ("--seconds", "0.001"), ("--steps", "1", "--model", "counts")]
)
def test_the_shortest_runs_have_a_film(tmp_path, more):
    done = autollm("train", *more, "--samples", "1", "--film", "run.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    film = json.loads(Reader((tmp_path / "run.html").read_text("utf-8")).raw["script#film"])
    assert film["steps"][0] == 0 and film["steps"][-1] >= 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("film.txt", "ends in .html"),
        ("film", "ends in .html"),
        ("", "ends in .html"),
        ("folder.html", "not a regular file"),
        ("nowhere/film.html", "No such file"),
        ("folder.html/", "ends in .html"),
        ("foreign.html", "not a film"),
        ("nul\0.html", "null"),
    ],
)
def test_a_bad_name_is_one_line_before_anything_is_learned(tmp_path, monkeypatch, capsys, name, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "foreign.html").write_text("<!doctype html><p>my work")
    with pytest.raises(InputError, match=reason):
        train.main(["--film", name])
    assert (tmp_path / "foreign.html").read_text() == "<!doctype html><p>my work"
    assert sorted(os.listdir(tmp_path)) == ["folder.html", "foreign.html"]
    assert capsys.readouterr() == ("", "")


def test_a_film_may_take_the_place_of_an_empty_file_and_of_a_film(tmp_path):
    target = tmp_path / "RUN.HTML"
    target.touch()
    for _ in range(2):
        page.check_target(str(target))
        page.write(str(target), {"words": "zoé"})
    assert '{"words":"zoé"}' in target.read_text("utf-8")


def test_a_film_does_not_replace_the_model_of_its_own_run(tmp_path):
    target, link = str(tmp_path / "one.html"), str(tmp_path / "link.html")
    os.symlink(target, link)
    for other in (target, link):
        with pytest.raises(InputError, match="--save and --film"):
            train.main(["--save", target, "--film", other])


@pytest.mark.parametrize("failing", [["film.html"], ["model"], ["model", "film.html"]])
def test_what_was_learned_is_printed_when_a_file_cannot_be_written(tmp_path, monkeypatch, capsys, failing):
    """And the other file is; of two that cannot, none is passed over in silence."""
    replace_file = files.replace_file

    def full(path, content):
        if path in failing:
            raise InputError(f"cannot save to {path}: No space left on device")
        replace_file(path, content)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "replace_file", full)
    arguments = ["--steps", "10", "--samples", "2", "--save", "model", "--film", "film.html"]
    assert cli.run(lambda: train.main(arguments)) == 2
    out, err = capsys.readouterr()
    told = "; ".join(f"cannot save to {path}: No space left on device" for path in failing)
    assert err.splitlines()[-1] == f"autollm: error: {told}"
    assert "Samples:\n 1 : " in out
    assert set(os.listdir(tmp_path)) == {"model", "film.html"} - set(failing)


def test_a_run_without_a_film_does_not_load_it():
    script = (
        "import sys\nfrom autollm import train\ntrain.main(['--steps', '1', '--samples', '0', '--quiet'])\n"
        "print([name for name in sys.modules if name.startswith('autollm.film')])"
    )
    assert python("-c", script).stdout.splitlines()[-1] == "[]"
