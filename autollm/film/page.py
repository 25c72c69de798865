"""The page that shows a film: one HTML file that asks nobody for anything."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from importlib.resources import files as resources
from typing import Any

from autollm import files
from autollm.errors import InputError

SCRIPTS = ("compute.js", "draw.js", "parts.js", "blame.js", "player.js")
MARK = '<meta name="generator" content="autollm film">'  # in page.html, within its first 1000 characters


def check_target(path: str) -> None:
    """Raise InputError if no film can be written to `path`, or something else is there already."""
    if not path.lower().endswith(".html"):
        raise InputError(f"--film {path[:200]!r}: the name of a film ends in .html")
    files.check_target(path)
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        if os.path.getsize(path) and MARK.encode() not in file.read(1000):
            raise InputError(f"cannot save to {path}: what is there is not a film made by autollm")


def write(path: str, film: dict[str, Any]) -> None:
    """Write the page that shows what a Recorder told. Raises InputError if that fails."""
    files.replace_file(path, page_of(film))


def page_of(film: dict[str, Any]) -> bytes:
    """The page that shows what a Recorder told."""
    style, script = source("style.css"), "".join(map(source, SCRIPTS))
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"POLICY": policy, "STYLE": style, "SCRIPT": script, "FILM": as_text(film)}
    page = source("page.html")
    for name, part in parts.items():
        before, _, after = page.partition(f"[[{name}]]")
        page = before + part + after
    return page.encode()


def source(name: str) -> str:
    """One of the plain files that the page is made of."""
    return resources(__package__).joinpath(name).read_text(encoding="utf-8")


def as_text(film: dict[str, Any]) -> str:
    """JSON that can stand in a script element: with no `<`, nothing in it can end that or begin another."""
    return json.dumps(film, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _digest(text: str) -> str:
    """What a content security policy calls an inline script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
