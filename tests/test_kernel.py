"""The kernel decorator: one signature, a cache that can be trusted, places that cannot be written."""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
from importlib import import_module
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from commands import fresh_python, python

import autollm.kernels
from autollm.kernels import cache, errors, simd
from autollm.kernels import kernel as decorator
from autollm.kernels.arguments import check_types
from autollm.kernels.kernel import dispatcher_of

KERNELS = Path(decorator.__file__).parent
compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="kernels run as plain Python")


def all_kernels():
    for module in pkgutil.iter_modules(autollm.kernels.__path__):
        for name, value in vars(import_module(f"autollm.kernels.{module.name}")).items():
            if hasattr(dispatcher_of(value), "py_func"):
                yield name, value


def test_kernels_take_no_defaults():
    """An omitted default makes a call forty times slower."""
    kernels = dict(all_kernels())
    assert len(kernels) > 10
    for name, kernel in kernels.items():
        for parameter in inspect.signature(dispatcher_of(kernel).py_func).parameters.values():
            assert parameter.default is parameter.empty, name
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD, name


@compiled_only
def test_no_kernel_is_compiled_as_if_there_were_no_nan_and_no_infinity():
    """A diverging loss must be seen. What helpers and vectors become counts too."""
    allowed = {"reassoc", "contract", "nsz", "arcp"}
    for name, kernel in all_kernels():
        assert set(dispatcher_of(kernel).targetoptions["fastmath"]) <= allowed, name
        assert dispatcher_of(kernel).targetoptions["error_model"] == "numpy", f"{name}: 1 / 0 is infinite"

    @decorator.helper
    def larger(a, b):
        return a * b if a > b else b / a

    @numba.njit(**decorator.OPTIONS)
    def sample(x):
        for i in range(0, x.size, simd.LANES):
            simd.store(simd.exp(simd.maximum(simd.load(x, i), simd.splat(0.5))), x, i)
        return larger(x[0], x[1]) + x[2]

    sample(np.ones(simd.LANES, np.float32))
    (code,) = sample.inspect_llvm().values()
    found = set(re.findall(r"\b(nnan|ninf|fast|afn|reassoc)\b", code))
    assert found == {"reassoc"}, "reassoc is asked for, so the others would be seen"


@compiled_only
def test_training_leaves_one_compiled_signature_per_kernel():
    program = """
import pkgutil, importlib, autollm.kernels
from autollm import train
from autollm.kernels.kernel import dispatcher_of
train.main(["--steps", "50", "--quiet", "--json"])
for module in pkgutil.iter_modules(autollm.kernels.__path__):
    for name, value in vars(importlib.import_module(f"autollm.kernels.{module.name}")).items():
        if hasattr(dispatcher_of(value), "py_func"):
            print(name, len(dispatcher_of(value).signatures))
"""
    done = python("-c", program)
    counts = dict(line.split() for line in done.stdout.splitlines()[1:])
    assert counts["matmul_wh_backward"] == "1"
    assert set(counts.values()) <= {"0", "1"}


# --- a package of kernels of its own, in a temporary folder ---------------------------------------

USER = """
import sys, warnings
from mykernels.kernel import kernel
from mykernels.cache import report
from mykernels.help import twice
import numpy as np

@kernel("x (N)")
def double(x):
    if x[0] < 0:
        raise ValueError("below 0")
    for i in range(x.size):
        x[i] = twice(x[i])

x = np.ones(3, np.float32)
double(x)
print(x[0], report.compiled, report.loaded)
"""
LOADED = """
import sys
from mykernels import user
try:
    user.double(-user.x)
except ValueError as error:
    print(error, "numba.np.linalg" in sys.modules)
"""
HELP = """
from mykernels.kernel import helper
@helper
def twice(x):
    return x * {factor}
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the decorator as the package `mykernels`, with a kernel and its helper."""
    folder = tmp_path / "mykernels"
    folder.mkdir()
    for name in ("kernel.py", "builtin.py", "arguments.py", "cache.py", "errors.py"):
        source = (KERNELS / name).read_text()
        (folder / name).write_text(source.replace("autollm.kernels", "mykernels"))
    (folder / "__init__.py").touch()
    (folder / "help.py").write_text(HELP.format(factor=2))
    (folder / "user.py").write_text(USER)
    return folder


def run(package, *arguments, start=python, **environment):
    # The processor is that which a warm process has been started for.
    env = {key: value for key, value in os.environ.items() if not re.match("NUMBA_(?!CPU)", key)}
    env |= {"HOME": str(package.parent / "home"), "XDG_CACHE_HOME": ""} | environment
    return start(*(arguments or ("-m", "mykernels.user")), cwd=package.parent, env=env)


def test_what_is_compiled_is_kept_until_it_is_made_from_something_else(package):
    """Compiled by the first process, loaded by the next ones; every kind of code has its own cache; and
    a damaged file is no reason to fail."""
    for settings in ({}, {"NUMBA_BOUNDSCHECK": "1"}):
        assert run(package, **settings).stdout == "2.0 1 0\n"
    for settings in ({}, {"NUMBA_BOUNDSCHECK": "1"}):
        assert run(package, **settings).stdout == "2.0 0 1\n"
    loaded = run(package, "-c", LOADED, start=fresh_python).stdout
    assert loaded == "2.0 0 1\nbelow 0 False\n", "wherever its memory lies, and without what compiles"
    (package / "help.py").write_text(HELP.format(factor=3.0))  # of another length: Python sees it at once
    assert run(package).stdout == "3.0 1 0\n", "a helper in another file was edited"
    for kind in ("nbi", "nbc"):
        for file in package.rglob(f"*.{kind}"):
            file.write_bytes(flipped(file.read_bytes()))
        assert run(package).stdout == "3.0 1 0\n"
    assert run(package).stdout == "3.0 0 1\n"


def flipped(content):
    """With one bit in the middle turned over: where machine code lies, that is a crash when it runs."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [lambda content: content[:100], flipped, lambda content: b""])
def test_what_is_left_of_a_file_after_a_crash_is_as_if_it_were_not_there(tmp_path, kind, damage):
    kept = cache.CheckedFiles(str(tmp_path), "kernel", "as of its source")
    for content in ("x" * 1000, "y" * 1000):
        kept.save("signature", content)
        assert kept.load("signature") == content
        (file,) = tmp_path.glob(f"*.{kind}")
        file.write_bytes(damage(file.read_bytes()))
        assert kept.load("signature") is None


def test_numba_keeps_what_others_compile_where_it_did(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "elsewhere")
    cache.cached_njit(dispatcher_of(in_two_parts).py_func)
    assert numba.config.CACHE_DIR == "elsewhere"


@pytest.mark.skipif(os.name != "posix", reason="needs owners and modes")
def test_what_others_may_have_written_is_not_run(package):
    """It is compiled into the next place, and one warning says why."""
    run(package)
    (folder,) = (package / "__pycache__").glob("kernels-*")
    assert folder.stat().st_mode & 0o077 == 0, "as it is made"

    def refused():
        done = run(package)
        assert done.stderr.count("are not used: others own it, or may write there") == 1
        return done.stdout

    for mode, expected in ((0o770, "2.0 1 0\n"), (0o757, "2.0 0 1\n")):
        folder.chmod(mode)
        assert refused() == expected
    folder.chmod(0o700)
    if os.getuid():
        pytest.skip("only root can give a folder away")
    os.chown(folder, 12345, -1)
    assert refused() == "2.0 0 1\n"


def test_what_compiling_and_loading_cost_adds_up(monkeypatch):
    """By a clock that shows a second more at every look."""
    report, clock = cache.Report(), count()
    monkeypatch.setattr(cache, "report", report)
    monkeypatch.setattr(cache, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    for hits in ({}, {"a signature": 1}, {}):
        stats = SimpleNamespace(cache_hits=hits)
        cache.compile_or_load(SimpleNamespace(compile=lambda signature: None, stats=stats), ())
    assert (report.compiled, report.loaded, report.seconds) == (2, 1, 3)


def test_a_cache_can_be_put_elsewhere_and_is_empty_before_the_first_run(package, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    program = "from mykernels import cache; print(cache.is_empty_cache()); import mykernels.user"
    for place, settings in ((elsewhere, {"NUMBA_CACHE_DIR": str(elsewhere)}), (package, {})):
        assert not any(package.rglob("*.nbc"))
        for is_first in (True, False):
            assert run(package, "-c", program, **settings).stdout.split()[0] == str(is_first)
        assert any(place.rglob("*.nbc"))


def test_without_a_writable_place_it_works_and_warns_once(package):
    """A file where the cache folders would be: not even the superuser can write there."""
    (package.parent / "home").touch()
    (package / "__pycache__").touch()
    done = run(package)
    assert done.stdout == "2.0 1 0\n"
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1


def test_two_first_runs_at_once(package):
    program = "import os; other = os.fork(); import mykernels.user; other and os.waitpid(other, 0)"
    done = run(package, "-c", program)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["2.0", "2.0"], done.stderr


@compiled_only
def test_a_cache_that_cannot_be_written_does_not_stop_the_run(package):
    """A full disk, here a limit of 1 KB on every file written."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); import mykernels.user"
    )
    done = python("-c", program, cwd=package.parent)
    assert done.stdout == "2.0 1 0\n"
    assert "were not kept" in done.stderr


# --- types -----------------------------------------------------------------------------------------


@decorator.kernel("x (B, D), ids i4 (K), factor f8")
def scale(x, ids, factor):
    decorator.check_ids(ids, x.shape[0])
    for i in range(ids.size):
        x[ids[i], 0] *= factor


GOOD = (np.ones((2, 3), np.float32), np.array([1], np.int32), 2.0)


def test_a_call_with_the_declared_types():
    x = np.ones((2, 3), np.float32)
    scale(x, *GOOD[1:])
    assert x[1, 0] == 2


def readonly(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.ones((2, 3)), "x must be a C-contiguous, writeable float32 array with 2 axes; got float64"),
        (0, np.ones(3, np.float32), r"got float32 of shape \(3,\)"),
        (0, np.ones((3, 2), np.float32).T, "got a transposed float32 of shape"),
        (0, np.ones((2, 6), np.float32)[:, ::2], "got a non-contiguous float32"),
        (0, readonly(np.ones((2, 3), np.float32)), "got a read-only float32"),
        (0, [[1.0]], r"got list \[\[1.0\]\]"),
        (0, None, "got NoneType None"),
        (0, 5, "x must be a C-contiguous, writeable float32 array with 2 axes; got int 5"),
        (1, np.array([1]), "ids must be a C-contiguous, writeable int32 array with 1 axis; got int64"),
        (2, "2", "factor must be a number of type float64; got str '2'"),
        (2, 2j, "factor must be a number"),
    ],
)
def test_other_types_are_refused_by_name(place, value, message):
    arguments = [value if i == place else good for i, good in enumerate(GOOD)]
    with pytest.raises(TypeError, match=f"scale: {message}" if "must" in message else message):
        scale(*arguments)


def test_a_wrong_number_of_arguments_is_refused():
    with pytest.raises(TypeError, match="argument"):
        scale(*GOOD[:2])
    kernel = dispatcher_of(scale)  # in plain Python there is no numba to count first
    for given in (GOOD[:2], (*GOOD, 1.0)):
        with pytest.raises(TypeError, match=rf"^scale takes .*; got {len(given)} arguments$"):
            check_types(kernel.py_func, kernel.arguments, given)


@pytest.mark.parametrize("bad", [-1, 2, 2**31 - 1])
def test_check_ids_names_the_value_and_the_limit(bad):
    with pytest.raises(errors.IdError, match=rf"^id {bad} at position 1 is outside 0\.\.1$"):
        scale(GOOD[0].copy(), np.array([0, bad], np.int32), 1.0)


# --- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("x (B, D), y (B, D)", "layout_of takes x, out, but its layout is"),
        ("x (B, D)", "layout_of takes x, out, but"),
        ("out (B, D), x (B, D)", "layout_of takes x, out, but"),
        ("x (B, D), out", "cannot be read from 'out' on"),
        ("x (B D), out (B, D)", "cannot be read from 'x "),
        ("x q4 (B, D), out (B, D)", "cannot be read from 'x q4"),
        ("(f4[:, ::1], f4[:, ::1])", "cannot be read"),
        ("", "layout_of takes x, out, but"),
    ],
)
def test_a_layout_that_is_not_that_of_the_arguments_is_refused(layout, message):
    def layout_of(x, out):
        pass

    with pytest.raises(TypeError, match=message):
        decorator.kernel(layout)(layout_of)


def draw_arguments(kernel):
    """Arrays of zeros, and ones, of the types that a kernel declares; sizes that have only a name are 2."""

    def size(axis):
        if axis.isdigit():
            return int(axis)
        constant = dispatcher_of(kernel).py_func.__globals__.get(axis)
        return constant if isinstance(constant, int) else 2

    return [
        np.dtype(argument.dtype).type(1).item()
        if argument.axes is None
        else np.zeros([size(axis) for axis in argument.axes], argument.dtype)
        for argument in dispatcher_of(kernel).arguments
    ]


@pytest.mark.parametrize(("name", "kernel"), [*all_kernels()])
def test_sizes_that_do_not_agree_are_refused_by_every_kernel(name, kernel):
    """Every axis whose letter is another's too, or that is a number, is made longer."""
    axes = [axis for argument in dispatcher_of(kernel).arguments for axis in argument.axes or ()]
    known = dispatcher_of(kernel).py_func.__globals__
    for i, argument in enumerate(dispatcher_of(kernel).arguments):
        for j, axis in enumerate(argument.axes or ()):
            if axes.count(axis) == 1 and not axis.isdigit() and axis not in known:
                continue
            arguments = draw_arguments(kernel)
            arguments[i] = np.repeat(arguments[i], 2, j)
            with pytest.raises(
                errors.ShapeError, match=rf"^{name}: .*\b{argument.name} \(.* must agree; got "
            ):
                kernel(*arguments)


def test_a_traceback_shows_where_the_kernel_is():
    with pytest.raises(errors.ShapeError) as caught:
        in_two_parts(np.ones(3, np.float32), np.ones(4, np.float32))
    line = dispatcher_of(in_two_parts).py_func.__code__.co_firstlineno + 1
    assert (caught.traceback[-1].path, caught.traceback[-1].lineno + 1) == (Path(__file__), line)
    with pytest.raises(ZeroDivisionError) as caught:
        in_two_parts(np.zeros(3, np.float32), np.ones(3, np.float32))
    assert caught.traceback[-1].lineno + 1 == line + 4


@decorator.kernel("a (N), b (N)")
def in_two_parts(a, b):
    """Kernels may have a docstring, or none."""
    for i in range(a.size):
        if a[i] == 0:
            raise ZeroDivisionError
        b[i] /= a[i]


def test_plain_python_checks_the_same(package):
    """Types and sizes, with the same messages; and a debugger finds the kernel's own lines."""
    (package / "plain.py").write_text(PLAIN)
    outputs = []
    for value in ("0", "1"):
        outputs.append(run(package, "-m", "mykernels.plain", NUMBA_DISABLE_JIT=value).stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].splitlines() == [
        "fill: x (N), out (N) must agree; got x (3), out (4)",
        "fill: out must be a C-contiguous, writeable float32 array with 1 axis; got float64 of shape (3,)",
        "done",
    ]


PLAIN = """
import numpy as np
from mykernels.kernel import kernel

@kernel("x (N), out (N)")
def fill(x, out):
    for i in range(x.size):
        out[i] = x[i]

x = np.ones(3, np.float32)
for out in (np.ones(4, np.float32), np.ones(3), x.copy()):
    try:
        fill(x, out)
        print("done")
    except (TypeError, ValueError) as error:
        print(error)
"""
