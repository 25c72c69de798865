"""The file that is made of a film, and the command that writes it."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from commands import autollm, python
from films import HOSTILE, NAMES, filmed, told_of_steps, words_of

from autollm import cli, files, train
from autollm.errors import InputError
from autollm.film import page, record
from autollm.film.record import Answers, Recorder
from autollm.learning.experiment import Corpus, learn
from autollm.learning.plan import Budget, make_plan
from autollm.models import MODELS, build, configure

LIMIT = 300_000  # bytes


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
    plan = make_plan(configure(model, **sizes), Budget(steps=40))
    corpus = Corpus.of(words, None, seed=0)
    recorder = Recorder(plan, corpus)
    learned = learn(plan, corpus, record=told_of_steps(recorder, 2000, 2001))
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
