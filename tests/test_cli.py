"""The commands, as a user types them: most of them in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autollm import cli, sample, train

QUICK = ("--steps", "100", "--samples", "3")
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, /dev/full, shells")


def autollm(*arguments, stdin=None, **settings):
    """Run `python -m autollm.COMMAND ...`."""
    command = [sys.executable, "-m", f"autollm.{arguments[0]}", *arguments[1:]]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, encoding="utf-8", **settings)


def installed(*arguments):
    """Run `autollm ...`."""
    command = str(Path(sys.executable).with_name("autollm"))
    return subprocess.run([command, *arguments], capture_output=True, text=True)


def refused(*arguments, **settings):
    """The one line that a refused command prints."""
    done = autollm(*arguments, **settings)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert re.fullmatch(r"autollm: error: .+\n", done.stderr), done.stderr
    return done.stderr


def refused_here(capsys, *arguments, command=train):
    """The same in this process, which is much faster."""
    assert cli.run(lambda: command.main(list(arguments))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"autollm: error: .+\n", err), err
    return err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short training by the installed command, and where its model is."""
    path = str(tmp_path_factory.mktemp("trained") / "names.safetensors")
    return installed("train", *QUICK, "--save", path), path


def without_time(text):
    return re.sub(r"Elapsed: .*", "", text)


def test_the_output_has_the_seeds_shape():
    done = autollm("train", "--seconds", "0.2", "--samples", "12")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"Elapsed: 0\.2\d\d seconds", lines[0])
    assert re.fullmatch(r"Steps: \d+", lines[1])
    assert re.fullmatch(r"Final loss: \d\.\d{4}", lines[2])
    assert lines[3] == "Samples:"
    assert len(lines) == 16
    for number, line in enumerate(lines[4:], 1):
        assert re.fullmatch(rf" *{number} : [a-z]+( +\(in the list\))?", line)


def test_remarks_go_to_standard_error(trained):
    done, _ = trained
    assert re.search(r"kernels (loaded|compiled, first run only): [\d.]+ s", done.stderr)
    assert re.search(r"ready [\d.]+ s after the start", done.stderr)
    assert re.search(r"[\d,]+ steps per second", done.stderr)
    assert re.search(r"\d of 3 samples are new \(\d+%\)", done.stderr)
    assert "\r" not in done.stderr, "no live line when nobody watches"


def test_a_first_run_says_that_it_compiles(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    for expected, is_first in (("compiled, first run only", True), ("loaded", False)):
        remarks = autollm("train", *QUICK, "--model", "bigram", env=environment).stderr
        assert expected in remarks
        assert ("compiling the kernels" in remarks) == is_first, "it says so before the wait"


def test_json_holds_everything():
    done = autollm("train", *QUICK, "--json", "--seed", "4", "--quiet")
    assert done.stderr == "", "--quiet leaves nothing but the results"
    facts = json.loads(done.stdout)
    assert facts["steps"] == 100
    assert facts["steps_per_second"] == pytest.approx(100 / facts["elapsed_seconds"])
    assert 1.9 < facts["final_loss"] < 3.3
    assert len(facts["samples"]) == 3
    assert facts["startup_seconds"] > facts["compile_seconds"] > 0
    config = facts["config"]
    assert (config["data"], config["batch"], config["context"], config["dim"]) == ("names", 64, 3, 32)
    assert (config["seed"], config["lr"], config["temperature"]) == (4, 0.5, 1.0)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    def result(name):
        path = str(tmp_path / name)
        done = autollm("train", "--steps", "2000", "--seed", "7", "--save", path)
        return without_time(done.stdout), Path(path).read_bytes()

    assert result("a") == result("b")


def test_samples_that_are_in_the_list_are_marked(capsys, tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    train.main(["--steps", "400", "--data", str(tmp_path / "words")])
    assert "(in the list)" in capsys.readouterr().out


def test_words_of_any_kind_go_in_and_come_out():
    words = "Zoë\r\nstraße\r\nПривет\r\n中文\r\n🦊🐻\r\nNew York\r\nR2.D2\r\n"
    done = autollm("train", *QUICK, "--data", "-", "--json", "--prefix", "New ", stdin="\ufeff" + words)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["words"] == 7
    assert all(sample.startswith("New ") for sample in facts["samples"])


def test_output_in_a_terminal_that_knows_no_such_letters():
    done = autollm(
        "train", *QUICK, "--data", "-", stdin="éé\nèè\n", env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_save_then_sample(capsys, trained):
    done, path = trained
    assert done.returncode == 0, done.stderr
    done = autollm("sample", path, "-n", "1000", "--prefix", "ma", "--temperature", "0.7", "--top-k", "5")
    words = done.stdout.splitlines()
    assert len(words) == 1000
    assert all(word.startswith("ma") for word in words)
    sample.main([path, "-n", "1000", "--prefix", "ma", "--temperature", "0.7", "--top-k", "5"])
    assert capsys.readouterr().out == done.stdout
    sample.main([path, "-n", "2", "--json", "--seed", "9"])
    assert len(json.loads(capsys.readouterr().out)["samples"]) == 2


def test_the_installed_command(trained):
    done, path = trained
    assert "Steps: 100" in done.stdout
    assert len(installed("sample", path, "-n", "2").stdout.splitlines()) == 2
    done = installed("dance")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "dance" in done.stderr


@pytest.mark.parametrize("command", ["train", "sample"])
def test_help_shows_defaults_and_an_example(capsys, command):
    with pytest.raises(SystemExit) as end:
        {"train": train, "sample": sample}[command].main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "default:" in text
    assert f"example:  autollm {command}" in text
    options = {
        "train": "data seconds steps batch context dim optimiser lr schedule clip seed samples temperature "
        "prefix save quiet json"
    }
    for option in options.get(command, "prefix temperature seed top-k json").split():
        assert f"--{option}" in text


def test_optimiser_schedule_and_clipping_can_be_chosen(capsys):
    def facts(*options):
        assert train.main([*QUICK, "--quiet", "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    settings = facts("--optimiser", "adamw", "--schedule", "warm-up", "--clip", "1.5")
    config = settings["config"]
    assert (config["optimiser"], config["schedule"], config["clip"]) == ("adamw", "warm-up", 1.5)
    assert config["lr"] == 0.01, "the bag's own rate is for SGD"
    assert settings["final_loss"] < 3.2
    plain = facts()
    config = plain["config"]
    assert (config["optimiser"], config["schedule"], config["clip"]) == ("sgd", "linear", None)
    assert facts("--schedule", "linear", "--optimiser", "sgd")["samples"] == plain["samples"]
    assert facts("--schedule", "constant")["final_loss"] != plain["final_loss"]


# --- what goes wrong -------------------------------------------------------------------------------


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
    assert "--wings" in refused("train", "--wings", "2")
    assert "'cat' (choose from" in refused_here(capsys, "--optimiser", "cat")
    assert "'cat' (choose from" in refused_here(capsys, "--schedule", "cat")
    assert "'nan' is not a finite number" in refused_here(capsys, "--lr", "nan")
    assert "not allowed with" in refused_here(capsys, "--seconds", "1", "--steps", "5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least 2 different words"),
        (b"emma", "found only one"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a\0\nb", "control"),
    ],
)
def test_unusable_data(capsys, tmp_path, content, message):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    line = refused_here(capsys, "--data", str(path))
    assert message in line and str(path) in line


def test_missing_data_and_folders(capsys, tmp_path):
    assert "No such file" in refused_here(capsys, "--data", str(tmp_path / "missing"))
    assert "directory" in refused_here(capsys, "--data", str(tmp_path))


def test_a_prefix_with_an_unknown_letter(capsys, trained):
    message = "'7' in 'ma7' is not in the alphabet"
    assert message in refused_here(capsys, "--prefix", "ma7")
    assert message in refused_here(capsys, trained[1], "--prefix", "ma7", command=sample)


def test_models_that_cannot_be_read(capsys, tmp_path):
    assert "cannot read the model" in refused("sample", str(tmp_path / "missing"))
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"emma\nolivia\n" * 20)
    assert "not a safetensors file" in refused_here(capsys, str(foreign), command=sample)
    assert foreign.read_bytes() == b"emma\nolivia\n" * 20
    assert "it is a folder" in refused_here(capsys, str(tmp_path), command=sample)


def test_a_target_that_cannot_be_written_is_refused_before_training(capsys, tmp_path):
    start = time.monotonic()
    missing = str(tmp_path / "no" / "model")
    assert "cannot save to" in refused_here(capsys, "--seconds", "60", "--save", missing)
    assert "not a regular file" in refused_here(capsys, "--seconds", "60", "--save", str(tmp_path))
    assert "a file needs a name" in refused_here(capsys, "--seconds", "60", "--save", "")
    assert time.monotonic() - start < 60, "it did not train first"


@posix
def test_a_disk_that_fills_up_while_saving_loses_nothing(tmp_path):
    """A limit on the size of files that are written acts like a full disk."""
    target = tmp_path / "model"
    target.write_text("an older model")
    script = f"ulimit -f 1; exec {sys.executable} -m autollm.train --steps 100 --dim 64 --save {target}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Samples:" in done.stdout, "what was learned is printed first"
    assert f"autollm: error: cannot save to {target}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert target.read_text() == "an older model"
    assert os.listdir(tmp_path) == ["model"]


@posix
def test_standard_output_on_a_full_disk():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "autollm.train", *QUICK, "--quiet"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "autollm: error: cannot write: No space left on device\n"


@posix
def test_closed_streams():
    """A closed standard input is an empty one; what goes to a closed output is not missed."""
    command = f"{sys.executable} -m autollm.train --steps 5 --samples 1"
    done = subprocess.run(["bash", "-c", f"{command} --data - <&-"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "found none" in done.stderr
    done = subprocess.run(["bash", "-c", f"{command} >&-"], capture_output=True, text=True)
    assert done.returncode == 0
    done = subprocess.run(["bash", "-c", f"{command} 2>&-"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n")) == (0, 5), "remarks do not end up among the results"


@posix
def test_a_reader_that_leaves_early():
    script = f"{sys.executable} -m autollm.train --steps 50 --samples 20000 | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("Elapsed:")
    assert (
        "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr and "Exception" not in done.stderr
    )


@posix
def test_ctrl_c_ends_training_and_prints_what_was_learned():
    process = subprocess.Popen(
        [sys.executable, "-m", "autollm.train", "--seconds", "600", "--samples", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("ready"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, remarks = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Final loss:" in output and " 3 : " in output
    assert "Traceback" not in remarks


@posix
def test_ctrl_c_before_training(tmp_path):
    """While it waits for words from a pipe, which can be opened here once it has been opened there."""
    os.mkfifo(tmp_path / "words")
    process = subprocess.Popen(
        [sys.executable, "-m", "autollm.train", "--data", str(tmp_path / "words")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with open(tmp_path / "words", "wb"):
        process.send_signal(signal.SIGINT)
        _, remarks = process.communicate(timeout=60)
    assert process.returncode == 130
    assert remarks == "autollm: interrupted\n"


def test_divergence_saves_nothing(capsys, tmp_path):
    hasty = "--steps", "2000", "--lr", "1e6", "--save", str(tmp_path / "model")
    assert cli.run(lambda: train.main(list(hasty))) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"autollm: error: the loss is \S+ after \d+ steps; try a --lr below 1e\+06\n$", err)
    assert os.listdir(tmp_path) == []


@posix
def test_a_live_line_while_a_person_watches():
    import pty

    master, slave = pty.openpty()
    command = [sys.executable, "-m", "autollm.train", "--seconds", "0.5", "--samples", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait() == 0
    assert re.search(rb"\r +\d+%  loss \d\.\d{3}  [\d,]+ steps  [\d,]+ steps/s", shown)
