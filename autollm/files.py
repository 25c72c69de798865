"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from autollm.errors import InputError
from autollm.interrupts import interrupts

try:
    import fcntl
except ImportError:  # Windows, which lets nobody delete a file that is being written anyway
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".autollm-part"  # of a temporary file


def check_target(path: str) -> None:
    """Raise InputError if nothing can be saved at `path`, before the work that is to be saved."""
    if not path:
        raise InputError("cannot save to '': a file needs a name")
    try:
        target = _final(path)
        if _existing(path) and not os.access(target, os.W_OK):
            raise InputError("it is write-protected")
        handle, temporary = _new_file(target, 0o600)
        os.close(handle)
        os.unlink(temporary)
    except (OSError, ValueError) as error:
        raise _cannot_save(path, error) from None


def replace_file(path: str, content: bytes) -> None:
    """Write `content` to a temporary file and move it into place. Raises InputError if that fails.

    A file that was there keeps its mode and its owner. Temporary files that runs have left in that folder
    when they were killed are removed.
    """
    try:
        target = _final(path)
        old = _existing(path)
        with interrupts.put_off():
            _remove_leftovers(target.parent)
            handle, temporary = _new_file(target, 0o600 if old else 0o666)
            try:
                with open(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                if old:
                    _become_like(temporary, old)
                os.replace(temporary, target)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
    except (OSError, ValueError) as error:
        raise _cannot_save(path, error) from None


def _cannot_save(path: str, error: Exception) -> InputError:
    return InputError(f"cannot save to {path}: {getattr(error, 'strerror', None) or error}")


def _final(path: str) -> Path:
    """Where a path leads: a link stays a link, and the file behind it is replaced."""
    if path.endswith((os.sep, os.altsep or os.sep)):
        raise InputError("it names a folder")
    return Path(os.path.realpath(path, strict=False))


def _existing(path: str) -> os.stat_result | None:
    """What is known of the file at `path`; None if there is none. Raises InputError for what is no file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise InputError("it is not a regular file")
    return found


def _new_file(target: Path, mode: int) -> tuple[int, str]:
    """A temporary file beside `target`, locked as long as it is open: handle and name."""
    while True:
        temporary = str(target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}{SUFFIX}"))
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        if _lock(handle) and os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # another process took it for a leftover before it was locked


def _become_like(path: str, old: os.stat_result) -> None:
    """Give a file the mode and, where the system lets us, the owner of another."""
    with contextlib.suppress(OSError, AttributeError):
        os.chown(path, old.st_uid, old.st_gid)
    os.chmod(path, stat.S_IMODE(old.st_mode))


def _lock(handle: int) -> bool:
    """Lock an open file for this process; False if another process has. Where there are no locks, True."""
    try:
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files that no process has locked: whoever wrote them was killed."""
    for leftover in folder.glob(f".*{SUFFIX}") if fcntl else ():
        with contextlib.suppress(OSError):
            handle = os.open(leftover, os.O_WRONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
            finally:
                os.close(handle)
