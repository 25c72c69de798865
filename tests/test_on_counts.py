"""Counts as a model like any other, and nets that are added to counts: learning, files, commands."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as serialise

from autollm import cli, sample, train, xent_from_logits
from autollm.errors import InputError
from autollm.learning import checkpoint, experiment
from autollm.learning.alphabet import Alphabet
from autollm.learning.checkpoint import Checkpoint
from autollm.learning.examples import PADDING, examples_for, make_text
from autollm.learning.experiment import Corpus, learn
from autollm.learning.memory import check_memory
from autollm.learning.plan import Budget, make_plan
from autollm.learning.sampling import dream
from autollm.learning.training import mean_loss
from autollm.learning.training import train as teach
from autollm.learning.words import Words, read_words
from autollm.models import build, configure, nets, reads_words
from autollm.models.counts import TABLES, Counts, counts_of
from autollm.models.model import Initial

each_net = pytest.mark.parametrize("name", nets())
NAMES = read_words("names-32k").distinct[:300]
ALPHABET = Alphabet.of(NAMES)


def on_counts(name, **sizes):
    """A net on counts that know the names, and the examples that it reads."""
    config = configure(name, True, **sizes)
    model = build(config, ALPHABET.size, seed=3)
    counts_of(model).learn(make_text(NAMES, ALPHABET))
    return model, examples_for(model, NAMES, ALPHABET, config.context)


def counts(context=4):
    model = Counts(ALPHABET.size, Initial(0), context=context)
    model.learn(make_text(NAMES, ALPHABET))
    return model


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@each_net
def test_logits_are_those_of_the_net_and_most_of_log_p_of_the_counts(name):
    """Also where the counts look back further than the net does. So a softmax is all that is needed."""
    model, examples = on_counts(name)
    letters, _ = examples[::10].pairs()
    (B, T), sequence = letters.shape, reads_words(model)
    context = configure(name).context
    alone = model.net(letters if sequence else np.ascontiguousarray(letters[:, -context:])).v
    rows = np.full((B * T if sequence else B, 4), 0, np.int32)
    for i, row in enumerate(rows):  # the four letters before each place, as the counts alone read them
        word, place = (letters[i // T], i % T + 1) if sequence else (letters[i], T)
        row[-min(place, 4) :] = word[max(place - 4, 0) : place]
    np.testing.assert_allclose(model(letters).v, alone + 0.8 * counts()(rows).v, rtol=0, atol=1e-5)


def test_the_gradient_is_that_of_logits_and_of_trust_in_the_counts():
    """dW[c] is the sum of (p - target) / B over the places behind c, for p as it is without these targets,
    and dt the sum of (p - target) / B * log p(counts) over all places and letters."""
    model, examples = on_counts("bigram")
    letters, targets = examples.pairs()
    W = np.random.default_rng(0).standard_normal(model.net.W.v.shape)
    model.net.W.v[...], model.t.v[...] = W, -0.3
    xent_from_logits(model(letters, targets), targets).back(1.0)
    log_p = counts().log_p(letters, letters.shape[1] - 1, targets).astype(np.float64)
    surprise = softmax(W[letters[:, -1]] + 0.5 * log_p)
    surprise[np.arange(len(targets)), targets] -= 1
    expected = np.zeros_like(W)
    np.add.at(expected, letters[:, -1], surprise / len(targets))
    np.testing.assert_allclose(model.net.W.grad, expected, atol=1e-6)
    np.testing.assert_allclose(model.t.grad, (surprise * log_p).sum() / len(targets), rtol=1e-4)


@each_net
def test_targets_are_left_out_in_training_and_nowhere_else(name):
    model, examples = on_counts(name)
    plan = make_plan(configure(name, True), Budget(steps=3), batch=5)
    with mock.patch.object(Counts, "log_p", autospec=True, side_effect=Counts.log_p) as log_p:
        teach(model, examples, plan)
        assert len(log_p.call_args_list) == 3
        for call in log_p.call_args_list:
            _, letters, first, targets = call.args
            assert targets.size == letters.shape[0] * (letters.shape[1] - first)
            assert (targets >= PADDING).all() and targets.max() > 0
        mean_loss(model, examples)
        dream(model, ALPHABET, plan.config.context, 2, np.random.default_rng(0), longest=9)
        assert len(log_p.call_args_list) > 5
        assert all(call.args[3].size == 0 for call in log_p.call_args_list[3:])


def test_a_net_adds_what_counting_misses():
    words = Words(read_words("names-32k").distinct, 0)
    corpus = Corpus.of(words, None, seed=0)
    losses = {}
    for config in (configure("counts"), configure("mlp", True)):
        learned = learn(make_plan(config, Budget(steps=300), seed=0), corpus)
        losses[config.name] = mean_loss(learned.model, learned.held_out)
    assert losses["counts"] < 1.965
    assert losses["mlp+counts"] < losses["counts"] - 0.02


def test_counting_is_a_part_of_the_budget(monkeypatch):
    """A clock that shows 0.3 s more whenever the counts have learned."""
    now, budgets = [100.0], []

    def slow(model, text):
        now[0] += 0.3

    def watched(model, examples, plan, watch):
        budgets.append(plan.budget)
        watch(1, 0.2, 3.0, 0.5)
        return experiment.Run(7, 0.7, False)

    monkeypatch.setattr(experiment.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Counts, "learn", slow)
    monkeypatch.setattr(experiment, "train", watched)
    corpus = Corpus(ALPHABET, NAMES, [], 20)
    seen = []
    learned = learn(make_plan(configure("bag", True), Budget(1.0)), corpus, lambda *facts: seen.append(facts))
    assert budgets[0].seconds == pytest.approx(0.7)
    assert learned.run.seconds == pytest.approx(1.0) and learned.run.steps == 7
    assert seen == [(1, pytest.approx(0.5), 3.0, 0.5)]
    learn(make_plan(configure("bag", True), Budget(0.2)), corpus)
    assert 0 < budgets[1].seconds < 1e-6  # one step at least
    learn(make_plan(configure("bag", True), Budget(1.0, 50)), corpus)
    assert budgets[2].steps == 50
    alone = learn(make_plan(configure("counts"), Budget(1.0)), corpus)
    assert (alone.run.steps, alone.run.seconds) == (1, pytest.approx(0.3))
    assert alone.parameters == 0
    assert alone.tokens_per_second == pytest.approx((sum(map(len, NAMES)) + len(NAMES)) / 0.3)


def test_nets_on_counts_learn_at_half_the_rate():
    for name in nets():
        alone, added = (make_plan(configure(name, on)).lr for on in (False, True))
        assert added == alone / 2
    assert make_plan(configure("mlp", True), lr=0.3).lr == 0.3
    with pytest.raises(ValueError, match="there is no 'luck'"):
        make_plan(configure("mlp", True), optimiser="luck")


# --- files -------------------------------------------------------------------------------------------


def saved(tmp_path, name):
    """A file, and the model that it is of."""
    path, config = str(tmp_path / "model"), configure(name, name != "counts")
    model = build(config, ALPHABET.size, seed=3)
    counts_of(model).learn(make_text(NAMES, ALPHABET))
    checkpoint.save(path, Checkpoint(model, config, ALPHABET, 9))
    return path, model, config


@pytest.mark.parametrize("name", ["counts", *nets()])
def test_both_come_back(name, tmp_path):
    path, model, config = saved(tmp_path, name)
    loaded = checkpoint.load(path)
    assert loaded.config == config
    letters, _ = examples_for(model, NAMES, ALPHABET, config.context)[:50].pairs()
    np.testing.assert_array_equal(loaded.model(letters).v, model(letters).v)


@pytest.mark.parametrize("name", ["counts", "mlp"])
@pytest.mark.parametrize("table", TABLES)
def test_damaged_files_are_refused_in_one_line(name, table, tmp_path):
    path, _, _ = saved(tmp_path, name)
    with open(path, "rb") as file:
        content = file.read()
    size = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + size])["__metadata__"]
    tensors, key = load_tensors(content), f"counted.{table}"
    assert key in tensors
    for damaged, message in (
        ({**tensors, key: tensors[key] + np.int32(10**6)}, "damaged: the tables are no counts of"),
        ({**tensors, key: tensors[key][:-1]}, "damaged: the tables are no counts of"),
        ({**tensors, key: tensors[key].astype(np.float32)}, f"{key} is F32, the model needs I32"),
        ({name: tensors[name] for name in tensors if name != key}, "the model needs"),
        ({**tensors, "counted.more": tensors[key]}, "the model needs"),
    ):
        with open(path, "wb") as file:
            file.write(serialise(damaged, about))
        with pytest.raises(InputError) as error:
            checkpoint.load(path)
        assert str(error.value).startswith(path) and message in str(error.value)
        assert "\n" not in str(error.value)


# --- the commands ------------------------------------------------------------------------------------


def results(capsys, *arguments):
    assert cli.run(lambda: train.main(["--json", "--quiet", *arguments])) == 0
    return json.loads(capsys.readouterr().out)


def test_counting_takes_less_than_its_second_and_says_so(capsys, tmp_path):
    path = str(tmp_path / "model")
    names = "--data", "names-32k"
    facts = results(capsys, "--model", "counts", *names, "--save", path)
    assert facts["steps"] == 1 and 0 < facts["elapsed_seconds"] < 1
    assert facts["parameters"] == 0
    assert facts["config"]["lr"] is None and facts["config"]["context"] == 4
    assert 1.9 < facts["held_out_loss"] < 1.965
    assert results(capsys, "--model", "counts", *names, "--context", "2")["held_out_loss"] > 2.1
    words = [
        (sample.main([path, "--prefix", "em", *options]), capsys.readouterr().out.split())[1]
        for options in ([], ["--top-k", "1"], ["--seed", "1"])
    ]
    assert all(word.startswith("em") for dreamed in words for word in dreamed)
    assert len(set(words[1])) == 1 < len(set(words[0])) and words[2] != words[0]


def test_words_counted_are_told_instead_of_steps(capsys):
    assert cli.run(lambda: train.main(["--model", "counts"])) == 0
    err = capsys.readouterr().err
    assert re.search(r"^80 words counted in \d+\.\d{3} seconds$", err, re.MULTILINE)
    assert "steps per second" not in err


@pytest.mark.parametrize("model", [["counts"], ["gru", "--counts", "--steps", "20"]])
def test_the_same_seed_and_steps_give_the_same_bytes_on_counts(capsys, tmp_path, model):
    """With words held out."""
    (tmp_path / "words").write_text("\n".join(read_words("names-32k").distinct[:1000]))
    found = []
    for i in range(2):
        path = tmp_path / str(i)
        facts = results(capsys, "--data", str(tmp_path / "words"), "--save", str(path), "--model", *model)
        found.append((path.read_bytes(), facts["samples"], facts["held_out_loss"]))
    assert found[0] == found[1] and found[0][2] > 1
    assert sample.main([str(tmp_path / "0"), "-n", "3", "--prefix", "em", "--temperature", "0.1"]) == 0
    assert re.fullmatch(r"(em\w*\n){3}", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "counts", "--counts"], "the model counts cannot be added to counts; bag, bigram, "),
        (
            ["--model", "counts", "--lr", "1", "--batch", "3"],
            "counts has no batch or lr: it learns by counting",
        ),
        (["--model", "counts", "--dim", "3"], "the model counts has no dim"),
        (["--model", "counts", "--context", "0"], "'0' is not a whole number from 1"),
    ],
)
def test_options_that_counting_does_not_have(capsys, arguments, message):
    assert cli.run(lambda: train.main(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "options", "remark"),
    [
        (199, [], "of 199 words --model counts usually learns most\n"),
        (199, ["--model", "mlp", "--counts"], "of 199 words --model counts usually learns most\n"),
        (199, ["--model", "counts"], None),
        (200, [], "of 200 words --model mlp --counts usually learns most\n"),
        (1000, [], "of 1,000 words --model mlp --counts usually learns most\n"),
        (1000, ["--model", "mlp", "--counts"], None),
    ],
)
def test_a_remark_says_which_model_suits_a_list(capsys, tmp_path, words, options, remark):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(read_words("names-32k").distinct[:words]))
    assert cli.run(lambda: train.main(["--data", str(path), "--steps", "2", *options])) == 0
    err = capsys.readouterr().err
    assert remark in err if remark else "usually" not in err
    assert cli.run(lambda: train.main(["--steps", "2"])) == 0
    assert "usually" not in capsys.readouterr().err


def test_counts_that_would_not_fit_into_memory_are_refused(monkeypatch):
    corpus = Corpus(ALPHABET, ["a" * 1000] * 1000, [], 1000)
    plan = make_plan(configure("counts", context=1000))
    check_memory(replace(plan, config=configure("counts")), corpus, 20)
    monkeypatch.setattr("autollm.learning.memory.available_memory", lambda: 2**35)
    with pytest.raises(InputError, match="GB of memory"):
        check_memory(plan, corpus, 20)
