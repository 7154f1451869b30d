"""One process a run folder."""

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

LOCK = "run.lock"


class LockedError(RuntimeError):
    """Another process writes into the run folder."""


class Lock:
    """``with Lock(out):`` holds the folder for this process; it must exist.

    The system lets go of the lock when the process ends, however it ends, so a killed run leaves none behind. The
    file tells who holds it. Where the system knows no such locks (Windows), the file itself is the lock, and one whose
    process is gone is taken over.

    Raises:
        LockedError: another process holds it; the message tells which.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / LOCK
        self._file: int | None = None

    def __enter__(self) -> "Lock":
        self._file = _take(self.path)
        told = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, told)
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is None:
            return
        if os.name == "nt":
            os.close(self._file)
            self.path.unlink(missing_ok=True)
        else:
            os.ftruncate(self._file, 0)  # deleting it could take the lock of one who waits for this file
            os.close(self._file)
        self._file = None


def _take(path: Path) -> int:
    if os.name == "nt":
        return _take_by_name(path)
    import fcntl

    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise _locked(path) from None
        raise LockedError(f"{path} cannot be locked ({error}): use a disk of this machine for --out") from None
    return file


def _take_by_name(path: Path) -> int:
    """The lock is the file: taken over if the process that it names is gone."""
    for _ in range(2):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            holder = _holder(path)
            if holder.get("host") == socket.gethostname() and not _alive(holder.get("pid")):
                path.unlink(missing_ok=True)
    raise _locked(path)


def _locked(path: Path) -> LockedError:
    holder = _holder(path)
    who = f"process {holder['pid']} on {holder['host']}" if {"pid", "host"} <= holder.keys() else "another process"
    return LockedError(f"{path.parent} is being written by {who}: wait for it, stop it, or give another folder")


def _holder(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, TypeError):
        return False
    except OSError:
        return True
    return True
