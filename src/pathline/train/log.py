"""log.jsonl: one JSON object a line, only ever appended to."""

import json
import os
from pathlib import Path
from typing import Any, TextIO


class Log:
    """The log of a run. A line that a crash cut short is left behind and closed by a line break."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")
        if path.stat().st_size and not _ends_line(path):
            self._file.write("\n")

    def write(self, **record: Any) -> None:
        """Append one record and hand it to the system, so that a killed process loses none."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Make the log last and let go of the file."""
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


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
