"""Saved models: safetensors files whose metadata hold the configuration, the alphabet, the longest word.

Whether a file is what it should be is decided from its header, before anything is read or built.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import stat
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autollm import files
from autollm.errors import InputError
from autollm.learning.alphabet import Alphabet
from autollm.models import Config, Model, build, parameters, shapes
from autollm.models.counts import TABLES, counts_of

FORMAT = 2  # 1, which had no longest word and other names for parameters, is not read any more
COUNTED = "counted."  # what the names of the tables of counts begin with
KEY = "autollm"  # one key with one JSON object: the order of several would differ from run to run


def check_target(path: str) -> None:
    """Raise InputError if no model can be saved at `path`, or something else is there already."""
    needs_safetensors("--save")
    files.check_target(path)
    with contextlib.suppress(FileNotFoundError):
        if os.path.getsize(path) and KEY not in _metadata(path):
            raise InputError(f"cannot save to {path}: what is there is not a model saved by autollm")


def _metadata(path: str) -> dict[str, str]:
    """The metadata of a safetensors file; of any other, none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        return {}


def needs_safetensors(what: str) -> None:
    """Raise InputError if safetensors is not installed."""
    if importlib.util.find_spec("safetensors") is None:
        raise InputError(f"{what} needs safetensors: pip install safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, and what is needed to dream with it."""

    model: Model
    config: Config
    alphabet: Alphabet
    longest: int  # letters in the longest word that it learned from


def save(path: str, saved: Checkpoint) -> None:
    """Write a model to a temporary file and move it into place. Raises InputError if that fails."""
    from safetensors.numpy import save as serialise

    about = {
        "format": FORMAT,
        "config": asdict(saved.config),
        "alphabet": saved.alphabet.characters,
        "graphemes": saved.alphabet.graphemes,
        "longest": saved.longest,
    }
    tensors: dict[str, np.ndarray] = {name: param.v for name, param in parameters(saved.model).items()}
    if counts := counts_of(saved.model):
        tensors |= {f"{COUNTED}{name}": table for name, table in counts.tables.items()}
    files.replace_file(path, serialise(tensors, {KEY: json.dumps(about, sort_keys=True)}))


def load(path: str) -> Checkpoint:
    """Read a model. Raises InputError for a file that is missing, damaged, foreign, or of another format."""
    needs_safetensors("a saved model")
    from safetensors import SafetensorError, safe_open

    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise InputError(f"cannot read the model {path}: it is {what}")
        with safe_open(path, framework="numpy") as file:
            config, alphabet, longest = _description(path, file.metadata() or {})
            counted = [COUNTED + name for name in TABLES] if config.counts or config.model == "counts" else []
            _check_arrays(path, file, shapes(config, alphabet.size), counted)
            model = build(config, alphabet.size)
            for name, param in parameters(model).items():
                param.v[...] = file.get_tensor(name)
                if not np.isfinite(param.v).all():
                    raise InputError(f"{path}: {name} holds NaN or infinity")
            if counts := counts_of(model):
                try:
                    counts.tables = {name: np.array(file.get_tensor(f"{COUNTED}{name}")) for name in TABLES}
                except ValueError as error:
                    raise InputError(f"{path}: damaged: {error}") from None
    except SafetensorError as error:
        raise InputError(f"{path}: damaged, or not a safetensors file ({error})") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the model {path}: {reason}") from None
    return Checkpoint(model, config, alphabet, longest)


def _description(path: str, metadata: dict[str, str]) -> tuple[Config, Alphabet, int]:
    """What a saved model says of itself, if it says it in the format that is known here."""
    if KEY not in metadata:
        raise InputError(f"{path}: a safetensors file, but not a model saved by autollm")
    try:
        about: dict[str, Any] = json.loads(metadata[KEY])
        found = about["format"]
        if type(found) is int and found != FORMAT:
            age = "a newer" if found > FORMAT else "an older"
            raise InputError(f"{path}: saved in format {found} by {age} autollm; this one reads {FORMAT}")
        config = Config(**about["config"])
        alphabet, longest = Alphabet(about["alphabet"], tuple(about.get("graphemes", ()))), about["longest"]
        if type(found) is not int or type(longest) is not int or longest < 1:
            raise ValueError(f"format {found!r:.40}, longest word {longest!r:.40}")
    except InputError as error:
        raise error if str(error).startswith(path) else InputError(f"{path}: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description is damaged ({error})") from None
    return config, alphabet, longest


def _check_arrays(path: str, file: Any, needed: dict[str, tuple[int, ...]], counted: list[str]) -> None:
    """Raise InputError unless a file's header announces the arrays that a model needs, and so many counts as
    there are."""
    names, all_needed = sorted(file.keys()), sorted([*needed, *counted])
    if names != all_needed:
        raise InputError(f"{path}: has parameters {_some(names)}, the model needs {_some(all_needed)}")
    for name in counted:
        if file.get_slice(name).get_dtype() != "I32":
            raise InputError(f"{path}: {name} is {file.get_slice(name).get_dtype()}, the model needs I32")
    for name, shape in needed.items():
        announced = file.get_slice(name)
        found = tuple(announced.get_shape())
        if found != shape or announced.get_dtype() != "F32":
            raise InputError(
                f"{path}: {name} is {announced.get_dtype()} {found}, the model needs F32 {shape}"
            )


def _some(names: list[str], most: int = 12) -> str:
    """Names for a message, which may be foreign, and many."""
    return f"{names[:most]}{' and more' if len(names) > most else ''}"
