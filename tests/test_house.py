"""Who imports whom: one way, in no circle, and nothing that a run does not need."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from commands import fresh_python, python

ROOT = Path(__file__).parent.parent
# Every floor may import from those before it. What is named nowhere is a door, or shared by the doors.
FLOORS = [
    ("autollm.errors", "autollm.interrupts"),
    ("autollm.kernels",),
    ("autollm.buffers", "autollm.node"),
    ("autollm.bricks",),
    ("autollm.models",),
    ("autollm.files",),
    ("autollm.learning",),
]


def modules():
    """The source of every module of the package, by its name."""
    found = {}
    for folder, package in ((ROOT / "autollm", "autollm"), (ROOT / "kernels", "autollm.kernels")):
        for file in folder.rglob("*.py"):
            name = ".".join([package, *file.relative_to(folder).with_suffix("").parts])
            found[name.removesuffix(".__init__")] = file
    return found


@cache
def imports():
    """For every module, the modules of the package that it imports when it is imported."""
    known = modules()
    graph = {}
    for name, file in known.items():
        named = set()
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                named |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
            elif isinstance(node, ast.Import):
                named |= {one.name for one in node.names}
        graph[name] = {
            one for one in named if one in known and one != name and not name.startswith(f"{one}.")
        }
    return graph


def floor(name):
    for number, rooms in enumerate(FLOORS):
        if any(name == room or name.startswith(f"{room}.") for room in rooms):
            return number
    return len(FLOORS)


def test_imports_point_one_way():
    graph = imports()
    assert len(graph) > 40
    for name, imported in graph.items():
        for other in imported - {"autollm"}:
            assert floor(other) <= floor(name), f"{name} imports {other}"


def test_no_module_imports_itself_by_way_of_others():
    graph = imports()
    while graph:
        leaves = {name for name, imported in graph.items() if not imported & graph.keys()}
        assert leaves, f"there is a circle among {sorted(graph)}"
        graph = {name: imported for name, imported in graph.items() if name not in leaves}


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import autollm.cli, autollm.tables, autollm.remarks, autollm.files", "numba numpy"),
        (
            "import autollm.train, autollm.ladder, autollm.sample",
            "safetensors matplotlib regex scipy.optimize",
        ),
    ],
)
def test_nothing_is_imported_that_is_not_needed(program, unwanted):
    script = f"{program}; import sys; print(*set({unwanted.split()}) & set(sys.modules))"
    start = fresh_python if "numba" in unwanted else python  # which has numba already
    done = start("-c", script, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_every_public_name_is_what_it_says():
    import autollm

    for name in autollm.__all__:
        assert getattr(autollm, name).__name__ == name
        assert getattr(autollm, name).__module__.startswith("autollm.")
    assert autollm.linear.__module__ == "autollm.bricks.matmul", "not the schedule of that name"
    with pytest.raises(AttributeError, match="no attribute 'wings'"):
        _ = autollm.wings
