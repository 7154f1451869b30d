"""A folder of images: classes by sub-folder, or labels and captions from a CSV file."""

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from pathline._errors import nearest
from pathline.data.augment import flipped
from pathline.data.base import Dataset
from pathline.data.lazy import LazyDataset
from pathline.data.pixels import SUFFIXES, Crop, Pixels, as_size, levels_of, to_samples

CACHE_BYTES = 1 << 30
"""Decoded images that take more than this as float32 stay on the disk unless told otherwise."""
CSV_LIMIT = 1 << 30
FILE_COLUMNS = ("file_name", "file", "filename", "path", "image")
CAPTION_COLUMNS = ("caption", "text", "title")
THREADS = 4


class ImageReader:
    """Reads and decodes image files by position, a few at a time."""

    def __init__(self, files: Sequence[Path], pixels: Pixels) -> None:
        self.files, self.pixels = files, pixels
        self.shape: tuple[int, ...] | None = None
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, rows: Tensor, seed: "int | None") -> Tensor:
        """Images ``(B, C, H, W)`` at ``rows``, float32."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pathline-decode")
        chosen = [self.files[i] for i in rows.tolist()]
        images = list(self._pool.map(lambda file: self.pixels.decode(file.read_bytes(), str(file)), chosen))
        return to_samples(images, list(map(str, chosen)), self.shape)


def image_folder(
    path: str | PathLike[str],
    *,
    size: "int | tuple[int, int] | None" = None,
    channels: "int | None" = None,
    crop: Crop = "center",
    flip: bool = False,
    labels: "str | None" = None,
    lazy: "bool | None" = None,
) -> Dataset | LazyDataset:
    """The images in a folder.

    Args:
        path: the folder. Files below it whose suffix is that of an image, or ``.npy`` with an array (H, W) or
            (C, H, W), are the samples, in the order of their names. If every file lies in a sub-folder, the first
            sub-folders are the classes.
        size: height and width of the samples; None keeps that of the files, which then must all be equal.
        channels: 1, 3 or 4; any number for ``.npy`` files. None takes that of the first file.
        crop: "center" keeps the proportions and cuts the longer side, "none" squeezes.
        flip: mirror images at random in training.
        labels: a CSV file in the folder with a header: a column of file names, and "label" (any text or number),
            "caption" or both; only files that it names are samples. By default ``metadata.csv`` or ``labels.csv``
            where there is one.
        lazy: decode when a batch asks for it, not once; by default from 1 GiB of samples on.

    Raises:
        FileNotFoundError, ValueError: no folder, no images, files that are damaged, of different sizes, or outside.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    known = next((n for n in ("metadata.csv", "labels.csv") if (folder / n).is_file()), None)
    listing = known if labels is None else labels
    captions: tuple[str, ...] = ()
    if listing is not None:
        files, classes, captions = _listed(folder, folder / listing)
    else:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        below = [p.relative_to(folder).parts for p in files]
        classes = [parts[0] for parts in below] if files and all(len(parts) > 1 for parts in below) else []
    if len(files) < 2:
        raise ValueError(f"{folder} holds {len(files)} images ({', '.join(SUFFIXES)}): at least 2 are needed")
    names = tuple(sorted(set(classes), key=natural))
    number = {name: k for k, name in enumerate(names)}
    pixels = Pixels(size=as_size(size), channels=channels, crop=crop)
    first = pixels.decode(files[0].read_bytes(), str(files[0]))
    if channels is None:
        pixels = Pixels(size=pixels.size, channels=len(first), crop=crop)
    reader = ImageReader(files, pixels)
    reader.shape = first.shape
    found = LazyDataset(
        reader=reader,
        shape=first.shape,
        y=torch.tensor([number[c] for c in classes]) if classes else None,
        name=folder.resolve().name,
        class_names=names,
        image=True,
        levels=levels_of(first),
        captions=captions,
    )
    if lazy is None:
        lazy = 4 * first.size * len(files) > CACHE_BYTES
    data = found if lazy else _held(found)
    return flipped(data) if flip else data


def _held(data: LazyDataset) -> Dataset:
    held = data.in_memory()
    return Dataset(
        x=held.x, y=held.y, name=held.name, class_names=held.class_names, image=True, levels=held.levels,
        captions=data.captions,
    )  # fmt: skip


def _listed(folder: Path, listing: Path) -> tuple[list[Path], list[str], tuple[str, ...]]:
    """(files, classes or nothing, captions or nothing) that a CSV file names."""
    if not listing.is_file():
        raise FileNotFoundError(f"no file {listing}: labels must name a CSV file in {folder}")
    if listing.stat().st_size > CSV_LIMIT:
        raise ValueError(f"{listing} is larger than {CSV_LIMIT} bytes: this is no list of files")
    with listing.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        columns = list(rows.fieldnames or ())
        where = next((c for c in FILE_COLUMNS if c in columns), None)
        caption = next((c for c in CAPTION_COLUMNS if c in columns), None)
        if where is None or (caption is None and "label" not in columns):
            raise ValueError(
                f"{listing} has the columns {columns}: it needs {FILE_COLUMNS[0]!r}, and 'label' or 'caption' or both"
                + (f"; {nearest('label', columns)}" if columns else "")
            )
        records = list(rows)
    files, root = [], folder.resolve()
    for line, record in enumerate(records, 2):
        file = folder / (record[where] or "")
        if not file.resolve().is_relative_to(root):
            raise ValueError(f"{listing}, line {line}: {record[where]!r} lies outside {folder}")
        if not file.is_file():
            raise FileNotFoundError(f"{listing}, line {line}: no file {file}")
        files.append(file)
    classes = [record["label"] or "" for record in records] if "label" in columns else []
    if "" in classes:
        raise ValueError(f"{listing}, line {classes.index('') + 2}: the label is empty")
    return files, classes, tuple(record[caption] or "" for record in records) if caption else ()


def natural(name: str) -> tuple[int, str]:
    """Numbers in the order of their size, then texts."""
    return (int(name), "") if name.isdecimal() else (1 << 62, name)
