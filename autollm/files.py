"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from autollm.errors import InputError


def check_target(path: str) -> None:
    """Raise InputError if nothing can be saved at `path`, before the work that is to be saved."""
    if not path:
        raise InputError("cannot save to '': a file needs a name")
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise InputError("it is not a regular file")
        tempfile.TemporaryFile(dir=_final(path).parent).close()
    except (OSError, ValueError) as error:
        raise _cannot_save(path, error) from None


def replace_file(path: str, content: bytes) -> None:
    """Write `content` to a temporary file and move it into place. Raises InputError if that fails."""
    try:
        target = _final(path)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        try:
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except (OSError, ValueError) as error:
        raise _cannot_save(path, error) from None


def _cannot_save(path: str, error: Exception) -> InputError:
    return InputError(f"cannot save to {path}: {getattr(error, 'strerror', None) or error}")


def _final(path: str) -> Path:
    """Where a path leads: a link stays a link, and the file behind it is replaced."""
    return Path(os.path.realpath(path, strict=False))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
