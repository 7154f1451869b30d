"""Data sets by name or from a file, their standardisation, and their division into train and held-out parts."""

import inspect
from collections.abc import Callable
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pathline._errors import nearest
from pathline.data.base import Dataset
from pathline.data.files import from_file
from pathline.data.images import digits
from pathline.data.lazy import LazyDataset, Reader, in_memory
from pathline.data.splits import Split, split
from pathline.data.standardize import Standardizer
from pathline.data.stream import StreamDataset
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

DATASETS: dict[str, Callable[..., Dataset]] = {
    **{name: partial(toy, name) for name in TOYS},
    "digits": digits,
}


def load(name_or_path: str | PathLike[str], **options: Any) -> Dataset:
    """The data set of a name in `DATASETS`, or in a ``.npy`` or ``.npz`` file.

    Args:
        name_or_path: a name, or a path with the suffix ``.npy`` or ``.npz``.
        options: those of the loader: ``n``, ``seed`` and the parameters of the distribution for a toy (see `toy`),
            ``x``, ``y`` and ``layout`` for a file (see `from_file`), none for the digits.

    Raises:
        ValueError: an unknown name, or a file that is no data set (see `from_file`).
        TypeError: an option that the loader does not take.
        FileNotFoundError: a path where there is no file.
    """
    name = fspath(name_or_path)
    if name in DATASETS:
        return _call(name, DATASETS[name], options)
    if Path(name).suffix or len(Path(name).parts) > 1:
        return _call(name, partial(from_file, name), options)
    raise ValueError(f"unknown data set {name!r}: {nearest(name, DATASETS)}; or give the path of a .npy or .npz file")


def _call(name: str, loader: Callable[..., Dataset], options: dict[str, Any]) -> Dataset:
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
    "TOYS",
    "Data",
    "Dataset",
    "LazyDataset",
    "Points",
    "Reader",
    "Split",
    "Standardizer",
    "StreamDataset",
    "checkerboard",
    "circles",
    "digits",
    "eight_gaussians",
    "from_file",
    "from_torch",
    "in_memory",
    "load",
    "moons",
    "pinwheel",
    "s_curve",
    "spiral",
    "split",
    "swiss_roll",
    "toy",
    "twenty_five_gaussians",
    "two_spirals",
]
