"""log.jsonl: one JSON object a line, only ever appended to."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

_CHUNK = 1 << 16


class Log:
    """The log of a run. What a crash left of its last line is cut off; whole lines are never touched.

    ``also`` is told every record that is written. Without a path nothing is: of several processes one keeps the log.
    """

    def __init__(self, path: "Path | None", also: "Callable[[dict[str, Any]], None] | None" = None) -> None:
        self._also = also
        if path is not None and path.is_file():
            _cut(path)
        self._file: TextIO | None = None if path is None else path.open("a", encoding="utf-8")

    def write(self, **record: Any) -> None:
        """Append one record and hand it to the system, so that a killed process loses none."""
        if self._file is None:
            return
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._also is not None:
            self._also(record)

    def close(self) -> None:
        """Make the log last and let go of the file."""
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The training records by step. A resumed run repeats some steps: the last word on a step counts."""
    records: dict[int, dict[str, Any]] = {}
    if not path.is_file():
        return []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # cut short by a crash
        if isinstance(record, dict) and isinstance(record.get("step"), int) and "loss" in record:
            records[record["step"]] = record
    return [records[step] for step in sorted(records)]


def last_job(path: Path) -> "str | None":
    """The job that began to write this log, or went on with it, last; None if it was none of a launcher."""
    found = None
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # cut short by a crash
            if isinstance(record, dict) and record.get("event") in ("start", "resume"):
                found = record.get("job")
    return found


def _cut(path: Path) -> None:
    """Shorten the file to the end of its last whole line."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _CHUNK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                file.truncate(start + found + 1)
                return
            end = start
        file.truncate(0)
