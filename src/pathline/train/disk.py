"""Files and folders that are written whole or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

_CHUNK = 1 << 20


def separate(content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, each with memory of its own (tied weights are stored twice)."""
    seen: set[int] = set()
    ready = {}
    for name, value in content.items():
        value = value.detach().to("cpu").contiguous()
        place = value.untyped_storage().data_ptr()
        ready[name] = value.clone() if place in seen else value
        seen.add(place)
    return ready


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def digest_of(body: Mapping[str, Any]) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows has no handle of a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def discard(path: Path) -> None:
    """Delete a folder so that a crash in between leaves no half checkpoint."""
    doomed = path.with_name(f".{path.name}.deleted")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path, prefix: str) -> None:
    """Delete what a crash left half written or half deleted."""
    for pattern in (f".{prefix}*.writing", f".{prefix}*.deleted"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
