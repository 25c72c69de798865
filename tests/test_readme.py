"""What the documents show is what happens."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from pathlib import Path

import pytest
from commands import autollm, python

from autollm import ladder
from autollm.models import build, parameters

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_ten_lines_print_what_they_say():
    (program,) = blocks("python")
    assert len(program.strip().splitlines()) <= 13  # ten, and the imports
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    promised = re.search(r"print\(.*\)  # (.*)", program)[1]
    assert float(printed.getvalue()) == pytest.approx(float(promised), abs=2e-3)


def test_the_output_shown_has_the_shape_of_real_output():
    shown = blocks("text")[0].strip()
    done = autollm("train", "--steps", "50")

    def shape(text):
        return [
            re.sub(r"\d+", "0", re.sub(r": [a-z]+( +\(in the list\))?$", ": word", line)) for line in text
        ]

    assert shape(shown.splitlines()) == shape(done.stdout.strip().splitlines())


def test_the_ladder_shown_has_the_models_of_the_ladder():
    """Its figures are a machine's; its columns, models and numbers of parameters are not."""
    (shown,) = [block for block in blocks("text") if block.startswith("model ")]
    header, *rows = (re.split(r"  +", line) for line in shown.strip().splitlines())
    assert tuple(header) == ladder.HEADER
    assert [row[0] for row in rows] == ladder.rungs()
    for row in rows:
        model = build(ladder.config_of(row[0]), 27)
        assert row[1] == f"{sum(param.v.size for param in parameters(model).values()):,}", row[0]


@pytest.mark.parametrize(("name", "file"), re.findall(r"\[`(\w+)`\]\(([\w/]+\.py)\)", README))
def test_links_lead_to_the_definitions(name, file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(class|def) {name}\b", text, re.MULTILINE | re.IGNORECASE), file


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"])
def test_links_to_files_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / document).parent.joinpath(target).exists(), target


def test_ci_runs_the_readmes_commands():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install -q -e '.[dev]'" in README and "pip install -q -e '.[dev]'" in script
    assert ".venv/bin/pytest -n auto\n" in README and "\npytest -n auto\n" in script


def run_pytest(*arguments, **where):
    options = "-q", "--tb=line", "-p", "no:cacheprovider"
    return python("-m", "pytest", *options, *arguments, warm="pytest", **where)


def test_the_primitive_of_contributing_works(tmp_path):
    """Follow CONTRIBUTING in a copy of the sources, and run the tests it promises for `sine`."""
    for folder in ("autollm", "kernels", "data", "tests"):
        ignore = shutil.ignore_patterns("kernels-*")  # compiled ones; bytecode is as good in the copy
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    package = tmp_path / "package" / "autollm"
    package.parent.mkdir()
    shutil.move(tmp_path / "autollm", package)
    shutil.move(tmp_path / "kernels", package / "kernels")
    shutil.move(tmp_path / "data", package / "data")
    kernel_file, function, row = blocks("python", CONTRIBUTING)[:3]
    (package / "kernels" / "sine.py").write_text(kernel_file)
    with (package / "bricks" / "pointwise.py").open("a") as file:
        file.write("\n\n" + function)
    tests = tmp_path / "tests"

    def run_tests():
        chosen = "-k", "sine or has_a_row", *map(str, sorted(tests.glob("test_primitives*.py")))
        environment = os.environ | {"PYTHONPATH": str(package.parent)}
        return run_pytest(*chosen, cwd=tests, env=environment)

    without_row = run_tests()
    assert "sine" in without_row.stdout and "1 failed" in without_row.stdout, without_row.stdout
    with (tests / "table.py").open("a") as file:
        file.write("\n\n" + row)
    with_row = run_tests()
    assert with_row.returncode == 0, with_row.stdout
    assert int(re.search(r"(\d+) passed", with_row.stdout)[1]) >= 10


def test_the_model_of_contributing_works(tmp_path):
    """Run the tests that CONTRIBUTING promises for `votes`, entered in MODELS by a plugin."""
    model_file, entry, equation = blocks("python", CONTRIBUTING)[3:]
    plugin = f"{model_file}\n\nfrom autollm.models import MODELS\n\nMODELS |= {{\n{entry}}}\n"
    plugin += f"\nfrom equations import LOGITS\n\n{equation}"
    (tmp_path / "votes.py").write_text(plugin)
    path = os.pathsep.join([str(tmp_path), str(ROOT / "tests")])
    chosen = "-p", "votes", "-k", "votes", "tests/test_models.py"
    done = run_pytest(*chosen, cwd=ROOT, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 10
