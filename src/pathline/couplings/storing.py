"""Fitted couplings as safetensors files, tied to the data they were fitted to."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_KIND = "pathline_pairs"


def fingerprint(data: Tensor, y: Tensor | None, source: Tensor | None) -> str:
    """SHA-256 over shapes and values: whether a file belongs to this data."""
    digest = hashlib.sha256()
    for part in (data, y, source):
        digest.update(b"none" if part is None else f"{part.dtype}{tuple(part.shape)}".encode())
        if part is not None:
            digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write(path: "str | Path", kind: str, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """``tensors`` and the JSON-ready ``about`` in one file."""
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(kept, str(path), metadata={_KIND: json.dumps({"kind": kind, **about})})


def read(path: "str | Path") -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """(kind, tensors, about) of a file.

    Raises:
        ValueError: not a file of pairs. FileNotFoundError: nothing there.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"no pairs at {path}: write them with pairs.save(path)")
    try:
        with safe_open(str(path), framework="pt") as opened:
            about = json.loads((opened.metadata() or {}).get(_KIND, "null"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  not a dictionary
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a safetensors file of pairs: {error}") from None
    if about is None:
        raise ValueError(f"{path} holds no pairs: it was not written by PairSource.save")
    return about.pop("kind"), tensors, about


def check_same_data(path: "str | Path", told: str, data: Tensor, y: Tensor | None, source: Tensor | None) -> None:
    """Refuse data other than those that the file was fitted to."""
    if fingerprint(data, y, source) != told:
        raise ValueError(
            f"{path} was fitted to other data, labels or source than these ({len(data)} points of shape "
            f"{tuple(data.shape[1:])}): give the same, in the same order and units, or fit again"
        )
