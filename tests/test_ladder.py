"""The ladder: every model on the same words, one table."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from autollm import cli, ladder
from autollm.learning.words import read_words
from autollm.models import MODELS

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
    assert [line.split()[0] for line in lines[1:]] == list(MODELS)
    for line in lines[1:]:
        assert re.fullmatch(r"\w+ +[\d,]+ +30 +[\d,]+ +[\d,]+ +\d\.\d{3} +\d\.\d{3}  \w+, \w+, \w+", line)


def test_the_same_seed_and_steps_give_the_same_results(capsys, data, tmp_path):
    """Also while a chart is drawn, for which losses are measured in the midst of training."""

    def results(*arguments):
        facts = json.loads(climb(capsys, "--json", "--data", data, *arguments))
        assert facts["held_out_words"] == 100
        for one in facts["models"]:
            assert one["steps"] == 30
            assert one["tokens_per_second"] > one["steps_per_second"] == 30 / one["elapsed_seconds"]
        times = ("elapsed_seconds", "steps_per_second", "tokens_per_second")
        return [{key: value for key, value in one.items() if key not in times} for one in facts["models"]]

    first = results()
    assert len(first) == len(MODELS)
    assert all(1.5 < one["final_loss"] < 3.5 and 1.5 < one["held_out_loss"] < 3.5 for one in first)
    assert first == results("--plot", str(tmp_path / "chart.svg"))
    assert results("--models", "gru,bag") == [first[list(MODELS).index("gru")], first[0]]
    assert results("--models", "bag", "--seed", "1") != first[:1]


@pytest.mark.parametrize(("kind", "beginning"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_chart(capsys, data, tmp_path, kind, beginning):
    target = tmp_path / f"chart.{kind}"
    target.write_text("an older picture")
    climb(capsys, "--data", data, "--models", "bigram,mlp", "--plot", str(target))
    assert target.read_bytes().startswith(beginning)
    assert os.listdir(tmp_path) == [target.name]


def test_a_chart_that_cannot_be_drawn_is_refused_before_training(capsys, data, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "learn", None)
    assert "ends in .png or .svg" in refused(capsys, "--data", data, "--plot", str(tmp_path / "chart.pdf"))
    missing = str(tmp_path / "no" / "chart.png")
    assert f"cannot save to {missing}" in refused(capsys, "--data", data, "--plot", missing)
    few = refused(capsys, "--data", "names", "--plot", str(tmp_path / "chart.png"))
    assert "of 80 words none are held out" in few
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = refused(capsys, "--data", data, "--plot", str(tmp_path / "chart.png"))
    assert "--plot needs matplotlib: pip install matplotlib" in line
    assert os.listdir(tmp_path) == []


def test_few_words_have_no_held_out_loss(capsys):
    facts = json.loads(climb(capsys, "--data", "names", "--models", "bigram", "--json"))
    assert facts["models"][0]["held_out_loss"] is None
    assert re.search(r"\d  +-  \w+, ", climb(capsys, "--data", "names", "--models", "bigram"))


def test_a_model_that_diverges_has_a_row_too(capsys, data, monkeypatch):
    monkeypatch.setitem(MODELS, "mlp", replace(MODELS["mlp"], lr=1e9))
    arguments = ("--data", data, "--models", "bigram,mlp,bag")
    lines = climb(capsys, *arguments, status=1).splitlines()
    assert re.fullmatch(r"mlp +(- +){6}the loss is \S+ after \d+ steps; try a --lr below 1e\+09", lines[2])
    assert lines[1].startswith("bigram") and lines[3].startswith("bag")
    facts = json.loads(climb(capsys, *arguments, "--json", status=1))
    assert facts["models"][1].keys() == {"model", "error"}


def test_ctrl_c_prints_what_was_learned_so_far(capsys, data, monkeypatch):
    learn = ladder.learn

    def interrupted(plan, *rest):
        if plan.config.model == "mlp":
            raise KeyboardInterrupt
        return learn(plan, *rest)

    monkeypatch.setattr(ladder, "learn", interrupted)
    lines = climb(capsys, "--data", data, status=130).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["bag", "bigram"]
    assert climb(capsys, "--data", data, "--models", "mlp", status=130) == ""

    def ended_early(plan, *rest):
        learned = learn(plan, *rest)
        return replace(learned, run=replace(learned.run, interrupted=True))

    monkeypatch.setattr(ladder, "learn", ended_early)
    facts = json.loads(climb(capsys, "--data", data, "--json", status=130))
    assert (facts["interrupted"], len(facts["models"])) == (True, 1)


def test_models_that_do_not_exist(capsys):
    line = refused(capsys, "--models", "bag,cat")
    assert f"there is no model 'cat'; there are {', '.join(MODELS)}" in line


KERNELS_IN_USE = """
import sys
from autollm import ladder
from autollm.kernels.kernel import report

learn, counts = ladder.learn, []
def watched(*arguments):
    before = report.loaded + report.compiled
    result = learn(*arguments)
    counts.append(report.loaded + report.compiled - before)
    return result

ladder.learn = watched
ladder.main(["--steps", "2", "--quiet", "--data", sys.argv[1], "--models", "bigram"])
attention = sys.modules["autollm.kernels.attention"].causal_attention_forward
assert not attention.signatures, "a kernel was compiled that only another model needs"
ladder.main(["--steps", "2", "--quiet", "--data", sys.argv[1]])
assert attention.signatures
assert len(counts) == 1 + len(ladder.MODELS)
assert not any(counts), f"kernels were compiled or loaded in the training time: {counts}"
"""


def test_kernels_are_ready_before_a_model_begins_and_no_others_are(data):
    done = subprocess.run([sys.executable, "-c", KERNELS_IN_USE, data], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_shows_defaults_and_an_example(capsys):
    with pytest.raises(SystemExit):
        ladder.main(["--help"])
    text = capsys.readouterr().out
    assert "example:  autollm ladder" in text
    for option in ["data", "seconds", "steps", "models", "seed", "plot", "quiet", "json"]:
        assert f"--{option}" in text
