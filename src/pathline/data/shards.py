"""Tar archives in the layout of WebDataset, read in place: nothing is ever extracted."""

import glob
import json
import os
import tarfile
import threading
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline.data.augment import flipped
from pathline.data.folder import natural
from pathline.data.lazy import LazyDataset
from pathline.data.pixels import SUFFIXES, Crop, Pixels, as_size, levels_of, to_samples

MEMBER_LIMIT = 1 << 28
"""Bytes of the largest member that is read."""
TEXT_LIMIT = 1 << 20
TEXTS = (".cls", ".txt", ".json")

Place = tuple[int, int, int]
"""(shard, offset, bytes) of a member."""


class ShardReader:
    """Reads and decodes members by their place in the archives."""

    def __init__(self, paths: list[Path], places: list[Place], keys: list[str], pixels: Pixels) -> None:
        self.paths, self.pixels, self.keys = paths, pixels, keys
        self.places = torch.tensor(places, dtype=torch.int64)
        self.shape: tuple[int, ...] | None = None
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.places)

    def read(self, rows: Tensor, seed: "int | None") -> Tensor:
        """Images ``(B, C, H, W)`` at ``rows``, float32."""
        names = [self.keys[i] for i in rows.tolist()]
        content = [self.content(*place) for place in self.places[rows].tolist()]
        return to_samples([self.pixels.decode(c, n) for c, n in zip(content, names)], names, self.shape)

    def content(self, shard: int, offset: int, size: int) -> bytes:
        """The bytes of a member."""
        with self._lock:
            if shard not in self._files:
                self._files[shard] = os.open(self.paths[shard], os.O_RDONLY | getattr(os, "O_BINARY", 0))
            if not hasattr(os, "pread"):
                os.lseek(self._files[shard], offset, os.SEEK_SET)
                return os.read(self._files[shard], size)
        return os.pread(self._files[shard], size, offset)

    def __del__(self) -> None:
        for file in self._files.values():
            os.close(file)


def shards(
    path: str | PathLike[str],
    *,
    size: "int | tuple[int, int] | None" = None,
    channels: "int | None" = None,
    crop: Crop = "center",
    flip: bool = False,
) -> LazyDataset:
    """Images in tar archives: members ``KEY.png`` (or another image, or ``KEY.npy``) beside ``KEY.cls``, ``.txt``, ``.json``.

    Members with one key make one sample: ``.cls`` holds a whole number, the class; ``.txt`` a caption; ``.json`` an
    object with "label", "caption" or both. Only headers are read at the start; a batch then reads its members where
    they lie, in any order, so the shuffle is over all shards and resumes exactly.

    Args:
        path: a ``.tar`` file, a folder of them, or a pattern such as ``data/train-*.tar``.
        size, channels, crop, flip: as in `image_folder`.

    Raises:
        FileNotFoundError, ValueError: no shards, a compressed or damaged one, a link, samples without an image, or
            labels for some samples only.
    """
    paths = _paths(fspath(path))
    samples: dict[str, dict[str, Place]] = {}
    for shard, file in enumerate(paths):
        _scan(file, shard, samples)
    keys, places, texts = [], [], []
    for key, parts in samples.items():
        images = [suffix for suffix in parts if suffix in SUFFIXES]
        if len(images) != 1:
            raise ValueError(f"{key}: a sample needs one image, got {sorted(parts)}")
        keys.append(key + images[0])
        places.append(parts[images[0]])
        texts.append({suffix: place for suffix, place in parts.items() if suffix in TEXTS})
    if len(keys) < 2:
        raise ValueError(f"{path} holds {len(keys)} samples: at least 2 are needed")
    pixels = Pixels(size=as_size(size), channels=channels, crop=crop)
    reader = ShardReader(paths, places, keys, pixels)
    first = pixels.decode(reader.content(*places[0]), keys[0])
    if channels is None:
        reader.pixels = Pixels(size=pixels.size, channels=len(first), crop=crop)
    reader.shape = first.shape
    labels, captions = _annotations(reader, keys, texts)
    names = tuple(sorted(set(labels), key=natural))
    number = {name: k for k, name in enumerate(names)}
    data = LazyDataset(
        reader=reader,
        shape=first.shape,
        y=torch.tensor([number[label] for label in labels]) if labels else None,
        name=Path(paths[0]).stem.rstrip("-_0123456789") or "shards",
        class_names=names,
        image=True,
        levels=levels_of(first),
        captions=captions,
    )
    return flipped(data) if flip else data


def _paths(text: str) -> list[Path]:
    path = Path(text)
    found = sorted(path.glob("*.tar")) if path.is_dir() else sorted(map(Path, glob.glob(text)))
    if not found:
        raise FileNotFoundError(f"no .tar file at {text}: give a file, a folder or a pattern such as train-*.tar")
    return found


def _scan(path: Path, shard: int, samples: dict[str, dict[str, Place]]) -> None:
    """Note where the members of an archive lie."""
    total = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise ValueError(f"{path}: member {member.name!r} is a link or a device, which is never read")
                if not 0 <= member.size <= MEMBER_LIMIT or member.offset_data + member.size > total:
                    raise ValueError(f"{path}: member {member.name!r} claims {member.size} bytes: damaged or too large")
                folder, _, base = member.name.rpartition("/")
                stem, dot, suffix = base.partition(".")
                suffix = (dot + suffix).lower()
                if stem and (suffix in SUFFIXES or suffix in TEXTS):
                    parts = samples.setdefault(f"{path.name}/{folder}/{stem}", {})
                    if suffix in parts:
                        raise ValueError(f"{path}: there are two members {member.name!r}")
                    parts[suffix] = (shard, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ValueError(f"{path} is damaged or no plain .tar file ({error}): decompress .tar.gz first") from None


def _annotations(
    reader: ShardReader, keys: list[str], texts: list[dict[str, Place]]
) -> tuple[list[str], tuple[str, ...]]:
    """(labels or nothing, captions or nothing), one a sample."""
    labels: list[str | None] = []
    captions: list[str | None] = []
    for key, parts in zip(keys, texts):
        label, caption = None, None
        for suffix, (shard, offset, size) in parts.items():
            if size > TEXT_LIMIT:
                raise ValueError(f"{key}: its {suffix} has {size} bytes, more than {TEXT_LIMIT}")
            text = reader.content(shard, offset, size).decode("utf-8", errors="replace").strip()
            if suffix == ".cls":
                label = text
            elif suffix == ".txt":
                caption = text
            else:
                told = _json(text, key)
                label, caption = told.get("label", label), told.get("caption", caption)
        labels.append(None if label is None else str(label))
        captions.append(None if caption is None else str(caption))
    known = [label for label in labels if label is not None]
    if known and len(known) < len(keys):
        raise ValueError(f"{len(known)} of {len(keys)} samples have a label: all or none must have one")
    return known, tuple(c or "" for c in captions) if any(c is not None for c in captions) else ()


def _json(text: str, key: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{key}: its .json is damaged: {error}") from None
    return told if isinstance(told, dict) else {}
