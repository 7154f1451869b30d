"""Data sets by name or from a file, their standardisation, and their division into train and held-out parts."""

import inspect
from collections.abc import Callable
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pathline._errors import nearest
from pathline.data.augment import flipped
from pathline.data.base import Dataset
from pathline.data.files import from_file
from pathline.data.folder import image_folder
from pathline.data.hub import hub
from pathline.data.images import digits
from pathline.data.lazy import LazyDataset, Reader, in_memory
from pathline.data.named import diamonds, emoji, fashion_mnist, mnist, photos, pydoc_text, pydoc_tokens
from pathline.data.shards import shards
from pathline.data.splits import Split, split
from pathline.data.standardize import Standardizer
from pathline.data.stream import StreamDataset
from pathline.data.tables import TableCodec, table
from pathline.data.toys import (
    TOYS,
    Points,
    checkerboard,
    circles,
    eight_gaussians,
    moons,
    pinwheel,
    s_curve,
    spiral,
    swiss_roll,
    toy,
    twenty_five_gaussians,
    two_spirals,
)
from pathline.data.wrapped import from_torch

Data = Dataset | LazyDataset | StreamDataset
"""What training reads: held in memory, read by the row, or streamed."""

DATASETS: dict[str, Callable[..., Data]] = {
    **{name: partial(toy, name) for name in TOYS},
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "emoji": emoji,
    "photos": photos,
    "diamonds": diamonds,
}
"""Data sets by name."""

FORMS: dict[str, Callable[..., Data]] = {
    "file": from_file,
    "images": image_folder,
    "table": table,
    "shards": shards,
    "hub": hub,
}
"""Forms of your own data: each takes a ``path`` and options. A path alone is seen for what it is by `form_of`."""


def load(name_or_path: str | PathLike[str], **options: Any) -> Data:
    """The data set of a name in `DATASETS`, or your own at a path.

    Args:
        name_or_path: a name; or a path: ``.npy`` or ``.npz`` arrays (`from_file`), a folder of images
            (`image_folder`), a ``.csv`` or ``.parquet`` table (`table`), a ``.tar`` file, a folder of them or a
            pattern (`shards`), a folder that Hugging Face's ``save_to_disk`` wrote (`hub`). A name of `FORMS` with
            ``path=`` says outright which form it is.
        options: those of the loader; `toy` for a toy.

    Raises:
        ValueError: an unknown name, or a file that is no data set.
        TypeError: an option that the loader does not take.
        FileNotFoundError: a path where there is nothing.
    """
    name = fspath(name_or_path)
    if name in DATASETS:
        return _call(name, DATASETS[name], options)
    if name in FORMS and "path" in options:
        return _call(name, FORMS[name], options)
    if Path(name).suffix or len(Path(name).parts) > 1 or Path(name).is_dir():
        return _call(name, FORMS[form_of(name)], {"path": name, **options})
    raise ValueError(f"unknown data set {name!r}: {nearest(name, DATASETS)}; or give the path of a file or folder")


def form_of(path: str) -> str:
    """The name in `FORMS` of what lies at ``path``.

    Raises:
        FileNotFoundError: nothing does.
        ValueError: nothing that is known.
    """
    place = Path(path)
    if place.suffix in (".npy", ".npz"):
        return "file"
    if place.suffix in (".csv", ".parquet"):
        return "table"
    if place.suffix == ".tar" or "*" in path:
        return "shards"
    if place.suffix in (".arrow", ".jsonl", ".json"):
        return "hub"
    if place.is_dir():
        if any((place / mark).is_file() for mark in ("dataset_info.json", "dataset_dict.json", "state.json")):
            return "hub"
        return "shards" if next(place.glob("*.tar"), None) is not None else "images"
    if not place.exists():
        raise FileNotFoundError(f"no file or folder {path} (looked in {place.absolute().parent})")
    raise ValueError(f"cannot read {path}: expected .npy, .npz, .csv, .parquet, .tar, or a folder of images")


def _call(name: str, loader: Callable[..., Data], options: dict[str, Any]) -> Data:
    """``loader(**options)``, where an option that it does not take is told in terms of the data set."""
    known = {key for key in inspect.signature(loader).parameters if key != "options"}
    if name in TOYS:
        known |= inspect.signature(TOYS[name]).parameters.keys() - {"generator"}
    for key in options:
        if key not in known:
            raise TypeError(f"data set {name!r} takes no option {key!r}; known: {', '.join(sorted(known)) or 'none'}")
    return loader(**options)


__all__ = [
    "DATASETS",
    "FORMS",
    "TOYS",
    "Data",
    "Dataset",
    "LazyDataset",
    "Points",
    "Reader",
    "Split",
    "Standardizer",
    "StreamDataset",
    "TableCodec",
    "checkerboard",
    "circles",
    "diamonds",
    "digits",
    "eight_gaussians",
    "emoji",
    "fashion_mnist",
    "flipped",
    "form_of",
    "from_file",
    "from_torch",
    "hub",
    "image_folder",
    "in_memory",
    "load",
    "mnist",
    "moons",
    "photos",
    "pinwheel",
    "pydoc_text",
    "pydoc_tokens",
    "s_curve",
    "shards",
    "spiral",
    "split",
    "swiss_roll",
    "table",
    "toy",
    "twenty_five_gaussians",
    "two_spirals",
]
