"""The ladder: every model on the same words, one table."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from commands import python

from autollm import chart, cli, ladder, train
from autollm.errors import InputError
from autollm.kernels.cache import report
from autollm.ladder import Rung
from autollm.learning import experiment
from autollm.learning.alphabet import Alphabet
from autollm.learning.examples import Examples
from autollm.learning.experiment import Corpus, Judgement, Learned, Samples
from autollm.learning.plan import make_plan
from autollm.learning.training import Run
from autollm.learning.words import read_words
from autollm.models import MODELS, build, configure, nets
from autollm.remarks import Remarks

SHORT = ("--steps", "30", "--quiet")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A list that is just long enough for words to be held out."""
    path = tmp_path_factory.mktemp("data") / "words.txt"
    path.write_text("\n".join(read_words("names-32k").distinct[:1000]))
    return str(path)


def climb(capsys, *arguments, status=0):
    """Run the ladder in this process; what it prints."""
    assert cli.run(lambda: ladder.main([*SHORT, *arguments])) == status
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    assert cli.run(lambda: ladder.main([*SHORT, *arguments])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"autollm: error: .+\n", err), err
    return err


def test_a_row_for_every_model(capsys, data):
    lines = climb(capsys, "--data", data).splitlines()
    header = r"model +parameters +steps +steps/s +tokens/s +training +held-out +dreamed"
    assert re.fullmatch(header, lines[0])
    assert [line.split()[0] for line in lines[1:]] == [*MODELS, "mlp+counts"]
    for line in lines[1:]:
        steps = 1 if line.startswith("counts ") else 30
        assert re.fullmatch(
            rf"[\w+]+ +[\d,]+ +{steps} +[\d,]+ +[\d,]+ +\d\.\d{{3}} +\d\.\d{{3}}  \w+, \w+, \w+", line
        )


def test_the_same_seed_and_steps_give_the_same_results(capsys, data, tmp_path, monkeypatch):
    """Also while a chart is drawn, for which losses are measured in the midst of training."""

    def results(*arguments):
        facts = json.loads(climb(capsys, "--json", "--data", data, *arguments))
        assert facts["held_out_words"] == 100
        for one in facts["models"]:
            assert one["steps"] == (1 if one["model"] == "counts" else 30)
            assert one["tokens_per_second"] > one["steps_per_second"] == one["steps"] / one["elapsed_seconds"]
        times = ("elapsed_seconds", "steps_per_second", "tokens_per_second")
        return [{key: value for key, value in one.items() if key not in times} for one in facts["models"]]

    monkeypatch.setattr(chart, "draw", lambda *_: None)  # what it draws is of no matter here
    first = results()
    assert [one["model"] for one in first] == [*MODELS, "mlp+counts"]
    for one in first:  # ln 27 = 3.296 is what knowing nothing costs
        assert 1.2 < one["final_loss"] < 3.15 and 1.5 < one["held_out_loss"] < 3.15, one
    assert first == results("--plot", str(tmp_path / "chart.svg"))
    bag = first[list(MODELS).index("bag")]
    assert results("--models", "gru,bag,mlp+counts") == [first[list(MODELS).index("gru")], bag, first[-1]]
    assert results("--models", "bag", "--seed", "1") != [bag]


def test_the_seed_decides_which_words_are_held_out(data, monkeypatch):
    found = []
    monkeypatch.setattr(
        ladder, "train_in_turn", lambda plans, corpus, *_: found.append(corpus.held_out) or []
    )
    for seed in (0, 0, 1):
        ladder.main([*SHORT, "--data", data, "--seed", str(seed), "--json"])
    assert found[0] == found[1] and len({*found[0]} - {*found[2]}) > 50


def test_the_seed_decides_how_a_model_begins_and_not_only_which_words_it_gets(capsys):
    """Of 80 words none are held out, so two seeds learn from the same."""

    def loss(seed):
        facts = json.loads(climb(capsys, "--json", "--data", "names", "--models", "bag", "--seed", seed))
        assert facts["held_out_words"] == 0
        return facts["models"][0]["final_loss"]

    assert loss("0") == loss("0") != loss("1")


MADE_UP = Rung(
    "bag",
    Learned(
        make_plan(configure("bag", context=2, dim=5), batch=16),
        Corpus(Alphabet("ab"), ["ab", "abba", "b"], ["ba"], 4),
        build(configure("bag", context=2, dim=5), 3),
        Run(4000, 0.5, False),
        Examples(np.zeros((10, 3), np.int32), first=2),
        None,
        [],
    ),
    Judgement(1.25, 2.5, 10),
    Samples(["aa", "ba", "ab"], ["ab"], ["ba"], ["aa"]),
)


def test_the_row_of_made_up_facts():
    told = dict(zip(ladder.HEADER, MADE_UP.cells(), strict=True))
    assert told == {
        "model": "bag",
        "parameters": "30",
        "steps": "4,000",
        "steps/s": "8,000",
        "tokens/s": "128,000",
        "training": "1.250",
        "held-out": "2.500",
        "dreamed": "aa, ba, ab",
    }
    assert MADE_UP.facts() == {
        "model": "bag",
        "parameters": 30,
        "steps": 4000,
        "elapsed_seconds": 0.5,
        "steps_per_second": 8000.0,
        "tokens_per_second": 128_000.0,
        "final_loss": 1.25,
        "held_out_loss": 2.5,
        "samples": ["aa", "ba", "ab"],
        "samples_in_training": ["ab"],
        "samples_in_held_out": ["ba"],
        "interrupted": False,
    }


def test_the_chart_shows_the_curves(tmp_path):
    """Every point of a curve lies where its seconds and its loss are, and every curve has its name."""
    curves = {
        "bag": [(0.0, 2.8), (0.25, 2.7), (1.0, 2.5)],
        "gpt": [(0.0, 2.75), (0.5, 2.2), (1.0, 2.0)],
    }
    target = tmp_path / "chart.svg"
    chart.draw(curves, str(target))
    picture = target.read_text()
    chart.draw(curves, str(target))
    assert target.read_text() == picture, "the same curves, the same bytes"
    labels = re.findall(r"<!-- (.*?) -->", picture)  # what a text says stands before its outlines
    x, y = labels.index("seconds of training"), labels.index("loss on held-out words, in nats per letter")
    ticks = [float(label) for label in labels if re.fullmatch(r"\d\.\d+", label)]
    assert x < y and ticks.count(1.0) == 1 and max(ticks) > 2, "seconds, then their label; losses, and theirs"
    assert float(labels[x - 1]) == 1.0, "it ends with the training"
    assert labels[-2:] == ["bag 2.500", "gpt 2.000"]
    drawn = []
    for curve, colour in zip(curves.values(), chart.COLOURS, strict=False):
        path = re.search(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: {colour}', picture)[1]
        places = [tuple(map(float, pair)) for pair in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
        drawn += list(zip(curve, places, strict=True))
    (seconds, losses), (right, down) = (np.array(points).T for points in zip(*drawn, strict=True))
    for values, places, sign in ((seconds, right, 1), (losses, down, -1)):
        scale, start = np.polyfit(values, places, 1)
        assert scale * sign > 0, "later is to the right, more is up"
        assert np.ptp(places) > 150, "in points, of which there are 360 from top to bottom"
        np.testing.assert_allclose(places, start + scale * values, atol=1e-3)


def test_the_chart_of_curves_that_end_at_the_same_loss(tmp_path):
    """It has a height all the same, and the names are a line of text apart."""
    target = tmp_path / "chart.svg"
    chart.draw({name: [(0.0, 2.5), (1.0, 2.5)] for name in ("bag", "mlp", "gpt")}, str(target))
    label = r"<!-- \w+ 2\.500 -->\s*<g [^>]*translate\([\d.]+ ([\d.]+)\)"
    heights = sorted(map(float, re.findall(label, target.read_text())))
    assert len(heights) == 3 and min(np.diff(heights)) > 10, "in points, of which a letter has 10"


def test_a_picture_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    target = tmp_path / "chart.svg"
    target.write_text("an older picture")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        chart.draw({"bag": [(0.0, 3.0), (1.0, 2.5)]}, str(target))
    assert target.read_text() == "an older picture" and os.listdir(tmp_path) == [target.name]


def test_a_chart_may_have_more_curves_than_colours(tmp_path):
    chart.draw({name: [(0.0, 3.0), (1.0, 2.5)] for name in "abcdefgh"}, str(tmp_path / "chart.svg"))
    picture = (tmp_path / "chart.svg").read_text()
    colours = re.findall(r"stroke: (#\w{6}); stroke-width: 1\.6", picture)
    assert colours == [*chart.COLOURS, chart.COLOURS[0]]


def test_a_chart_has_about_so_many_points_as_there_are_moments(capsys, data, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(chart, "draw", lambda curves, path: drawn.update(curves))
    arguments = "--data", data, "--models", "bag", "--steps", "1200", "--plot", str(tmp_path / "a.svg")
    climb(capsys, *arguments)
    assert 14 <= len(drawn["bag"]) <= 1 + 16


def test_names_that_would_overlap_are_moved_apart():
    assert chart._apart({"a": 2.0, "b": 1.0, "c": 1.01}, 0.1) == {"b": 1.0, "c": 1.1, "a": 2.0}


@pytest.mark.parametrize(("kind", "beginning"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_chart_of_a_run(capsys, data, tmp_path, monkeypatch, kind, beginning):
    drawn, draw = {}, chart.draw
    monkeypatch.setattr(chart, "draw", lambda curves, path: drawn.update(curves) or draw(curves, path))
    target = tmp_path / f"chart.{kind}"
    target.write_text("an older picture")
    arguments = "--data", data, "--models", "bigram,mlp", "--steps", "300", "--plot", str(target)
    losses = {
        one["model"]: one["held_out_loss"]
        for one in json.loads(climb(capsys, *arguments, "--json"))["models"]
    }
    assert target.read_bytes().startswith(beginning)
    assert os.listdir(tmp_path) == [target.name]
    assert {name: curve[-1][1] for name, curve in drawn.items()} == losses
    for curve in drawn.values():
        assert curve[0][0] == 0.0 < curve[-1][0] and len(curve) > 2


def test_a_chart_that_cannot_be_drawn_is_refused_before_training(capsys, data, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "learn", None)
    assert "ends in .png or .svg" in refused(capsys, "--data", data, "--plot", str(tmp_path / "chart.pdf"))
    assert "ends in .png or .svg" in refused(capsys, "--data", data, "--plot", "")
    missing = str(tmp_path / "no" / "chart.png")
    assert f"cannot save to {missing}" in refused(capsys, "--data", data, "--plot", missing)
    few = refused(capsys, "--data", "names", "--plot", str(tmp_path / "chart.png"))
    assert "of 80 words none are held out" in few
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = refused(capsys, "--data", data, "--plot", str(tmp_path / "chart.png"))
    assert "--plot needs matplotlib: pip install matplotlib" in line
    assert os.listdir(tmp_path) == []


def test_its_words_are_dreamed_as_train_dreams_them(capsys, data):
    same = "--data", data, "--steps", "30", "--seed", "5", "--quiet", "--json"
    (rung,) = json.loads(climb(capsys, *same, "--models", "bag"))["models"]
    assert train.main([*same, "--samples", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == rung["samples"]


def test_few_words_have_no_held_out_loss(capsys):
    facts = json.loads(climb(capsys, "--data", "names", "--models", "bigram", "--json"))
    assert facts["models"][0]["held_out_loss"] is None
    assert re.search(r"\d  +-  \w+, ", climb(capsys, "--data", "names", "--models", "bigram"))


def test_a_model_that_diverges_has_a_row_too(capsys, data, monkeypatch):
    monkeypatch.setattr(MODELS["mlp"], "recipe", replace(MODELS["mlp"].recipe, lr=1e9))
    arguments = ("--data", data, "--models", "bigram,mlp,bag")
    lines = climb(capsys, *arguments, status=1).splitlines()
    assert re.fullmatch(r"mlp +(- +){6}the loss is \S+ after \d+ steps; try a --lr below 1e\+09", lines[2])
    assert lines[1].startswith("bigram") and lines[3].startswith("bag")
    facts = json.loads(climb(capsys, *arguments, "--json", status=1))
    assert facts["models"][1].keys() == {"model", "error"} and facts["models"][1]["model"] == "mlp"
    assert facts["models"][1]["error"].startswith("the loss is")


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_prints_what_was_learned_so_far(capsys, data, monkeypatch):
    learn = ladder.learn

    def interrupted(plan, *rest):
        if plan.config.model == "bigram":
            signal.raise_signal(signal.SIGINT)
        return learn(plan, *rest)

    monkeypatch.setattr(ladder, "learn", interrupted)
    prepared, get_ready = [], ladder.get_ready
    monkeypatch.setattr(
        ladder, "get_ready", lambda plan, tell: prepared.append(plan.config.name) or get_ready(plan, tell)
    )
    lines = climb(capsys, "--data", data, "--models", "bag,bigram,mlp,gpt", status=130).splitlines()
    assert prepared == ["bag", "bigram"], "and nothing is compiled for those that are left"
    assert [line.split()[0] for line in lines[1:]] == ["bag", "bigram"]
    facts = json.loads(climb(capsys, "--data", data, "--models", "bigram,mlp", "--json", status=130))
    assert (facts["interrupted"], len(facts["models"])) == (True, 1)


def test_estimated_losses_are_called_so(capsys, data, monkeypatch):
    monkeypatch.setattr(experiment, "MOST_JUDGED", 1000)
    arguments = ["--data", data, "--models", "bag", "--steps", "5"]
    assert cli.run(lambda: ladder.main(arguments)) == 0
    assert re.search(r"the losses are estimated on \d{3} of [\d,]+ examples\n", capsys.readouterr().err)
    for model in ("bag", "gpt"):  # examples are places of windows, or of words
        arguments = ["--data", data, "--steps", "5", "--model", model]
        assert cli.run(lambda arguments=arguments: train.main(arguments)) == 0
        said = capsys.readouterr().err
        told = re.search(r"the losses are estimated on (\d+) of ([\d,]+) examples\n", said)
        assert (int(told[2].replace(",", "")) > 5000) == (model == "bag") and int(told[1]) < 1000


def test_a_model_out_of_memory_has_a_row_that_says_so(capsys, data, monkeypatch):
    learn = ladder.learn

    def hungry(plan, *rest):
        if plan.config.model == "bigram":
            raise MemoryError
        return learn(plan, *rest)

    monkeypatch.setattr(ladder, "learn", hungry)
    lines = climb(capsys, "--data", data, "--models", "bag,bigram", status=1).splitlines()
    assert re.fullmatch(r"bigram +(- +){6}not enough memory", lines[2])


def test_a_model_tells_of_the_kernels_that_it_needed_itself(capsys, monkeypatch):
    def compile_two(plan):
        report.compiled += 2
        report.seconds += 1.5

    monkeypatch.setattr(ladder, "warm_up", compile_two)
    monkeypatch.setattr(ladder, "is_empty_cache", lambda: False)
    for name in ("bag", "mlp"):
        ladder.get_ready(make_plan(configure(name)), Remarks(quiet=False))
        told = f"{name}: 2 kernels compiled, first run only: 1.50 s\n"
        assert capsys.readouterr().err == told
    monkeypatch.setattr(ladder, "warm_up", lambda plan: None)
    ladder.get_ready(make_plan(configure("bag")), Remarks(quiet=False))
    assert capsys.readouterr().err == "", "of none there is nothing to tell"


def test_every_net_may_be_added_to_counts():
    names = [*MODELS, *(f"{name}+counts" for name in nets())]
    assert ladder.build_parser().parse_args(["--models", ",".join(names)]).models == names
    assert [ladder.config_of(name).name for name in names] == names


def test_models_that_do_not_exist(capsys):
    line = refused(capsys, "--models", "bag,cat")
    assert f"there is no model 'cat'; there are {', '.join(MODELS)}" in line


KERNELS_IN_USE = """
import sys
from autollm import ladder
from autollm.kernels.cache import report
from autollm.kernels.kernel import dispatcher_of

learn, counts = ladder.learn, []
def watched(*arguments):
    before = report.loaded + report.compiled
    result = learn(*arguments)
    counts.append(report.loaded + report.compiled - before)
    return result

ladder.learn = watched
ladder.main(["--steps", "2", "--quiet", "--data", sys.argv[1], "--models", "bigram"])
attention = dispatcher_of(sys.modules["autollm.kernels.attention"].causal_attention_forward)
assert not attention.signatures, "a kernel was compiled that only another model needs"
ladder.main(["--steps", "2", "--quiet", "--data", sys.argv[1]])
assert attention.signatures
assert len(counts) == 1 + len(ladder.rungs())
assert not any(counts), f"kernels were compiled or loaded in the training time: {counts}"
"""


def test_kernels_are_ready_before_a_model_begins_and_no_others_are(data):
    done = python("-c", KERNELS_IN_USE, data)
    assert done.returncode == 0, done.stderr
