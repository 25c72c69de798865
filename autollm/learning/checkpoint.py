"""Saved models: safetensors files whose metadata hold the configuration and the alphabet."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from dataclasses import asdict
from typing import Any

import numpy as np

from autollm import files
from autollm.errors import InputError
from autollm.files import replace_file
from autollm.learning.alphabet import Alphabet
from autollm.models import Config, Model, build, parameters

FORMAT = 1
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


def save(path: str, model: Model, config: Config, alphabet: Alphabet) -> None:
    """Write a model to a temporary file and move it into place. Raises InputError if that fails."""
    from safetensors.numpy import save as serialise

    about = {"format": FORMAT, "config": asdict(config), "alphabet": alphabet.characters}
    tensors = {name: param.v for name, param in parameters(model).items()}
    replace_file(path, serialise(tensors, {KEY: json.dumps(about, sort_keys=True)}))


def load(path: str) -> tuple[Model, Config, Alphabet]:
    """Read a model. Raises InputError for a file that is missing, damaged, foreign or too new."""
    from safetensors import SafetensorError, safe_open

    if os.path.isdir(path):
        raise InputError(f"cannot read the model {path}: it is a folder")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: damaged, or not a safetensors file ({error})") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the model {path}: {reason}") from None
    if KEY not in metadata:
        raise InputError(f"{path}: a safetensors file, but not a model saved by autollm")
    about = _description(path, metadata[KEY])
    try:
        config = Config(**about["config"])
        alphabet = Alphabet(about["alphabet"])
        _check_sizes(config, tensors)
        model = build(config, alphabet.size)
    except (KeyError, TypeError, ValueError, MemoryError) as error:
        raise InputError(f"{path}: its description is damaged ({error})") from None
    _fill(path, model, tensors)
    return model, config, alphabet


def _description(path: str, text: str) -> dict[str, Any]:
    """What a saved model says of itself, if it says it in a format that is known here."""
    try:
        about: dict[str, Any] = json.loads(text)
        newer = about["format"] > FORMAT
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its description is damaged ({error})") from None
    if newer:
        raise InputError(
            f"{path}: saved in format {about['format']} by a newer autollm; this one reads {FORMAT}"
        )
    return about


def _check_sizes(config: Config, tensors: dict[str, np.ndarray]) -> None:
    """Raise ValueError for a model that is larger than the file, before it is built and fills the memory."""
    longest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    for size, most in ((config.dim, longest), (config.hidden, longest), (config.layers, len(tensors))):
        if size and size > most:
            raise ValueError(f"a size of {size}, with {len(tensors)} arrays of at most {longest} rows")


def _fill(path: str, model: Model, tensors: dict[str, np.ndarray]) -> None:
    """Put saved tensors into a model's parameters, checking that they are what it needs."""
    params = parameters(model)
    if params.keys() != tensors.keys():
        raise InputError(f"{path}: has parameters {sorted(tensors)}, the model needs {sorted(params)}")
    for name, param in params.items():
        tensor = tensors[name]
        if tensor.shape != param.v.shape or tensor.dtype != np.float32:
            raise InputError(
                f"{path}: {name} is {tensor.dtype} {tensor.shape}, the model needs float32 {param.v.shape}"
            )
        if not np.isfinite(tensor).all():
            raise InputError(f"{path}: {name} holds NaN or infinity")
        param.v[...] = tensor
