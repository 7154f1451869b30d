"""Arrays of the user: ``.npy`` and ``.npz`` files, checked before anything is trained on them."""

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from pathline._errors import nearest
from pathline.data.arrays import ArrayReader
from pathline.data.augment import flipped
from pathline.data.base import Dataset
from pathline.data.headers import Member, check_memory, members
from pathline.data.lazy import LazyDataset

if TYPE_CHECKING:
    from numpy import ndarray

Layout = Literal["array", "gray", "channels_first", "channels_last"]
LAYOUTS: dict[str, tuple[int, str]] = {
    "array": (0, "no image: a shape of any rank"),
    "gray": (3, "images (N, H, W)"),
    "channels_first": (4, "images (N, C, H, W)"),
    "channels_last": (4, "images (N, H, W, C)"),
}
"""Layout -> the rank that it asks for (0 for any), and what it means."""

IMAGE_CHANNELS = (1, 3, 4)

DAMAGE = (
    ValueError, EOFError, OSError, KeyError, RuntimeError, SyntaxError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy raises on damaged files, by flipping random bytes of sound ones."""


LAZY_BYTES = 1 << 30
"""Samples that take more than this as float32 are read row by row unless told otherwise."""


def from_file(
    path: str | PathLike[str],
    *,
    x: str | None = None,
    y: str | None = None,
    layout: Layout | None = None,
    lazy: bool | None = None,
    flip: bool = False,
) -> Dataset | LazyDataset:
    """The data set in a ``.npy`` or ``.npz`` file.

    Args:
        path: a ``.npy`` file with the samples ``(N, ...)``, or a ``.npz`` file with named arrays.
        x: name of the array of samples; by default "x", or the only array that is not "y".
        y: name of the array of integer labels ``(N,)``, 0 … K − 1; by default "y" where there is one.
        layout: "array" for samples that are no images, "gray" for images ``(N, H, W)``, "channels_first" for
            ``(N, C, H, W)``, "channels_last" for ``(N, H, W, C)``. By default samples are images only if the
            array has rank 4 with 1, 3 or 4 entries along exactly one of axis 1 and axis 3, which then is that of
            the channels; if both fit, the layout must be told; everything else is "array".
        lazy: read rows from the file when a batch asks for them, for files larger than memory; the file must then be
            uncompressed. By default from 1 GiB of samples on.
        flip: mirror images at random in training.

    Returns:
        A `Dataset`, or `LazyDataset`, named after the file. ``levels`` is 256 for uint8, 2 for bool, else None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or holds pickled objects; samples are not numbers, not
            finite, fewer than two, or of ambiguous layout; labels do not fit the samples.
    """
    path = Path(path)
    declared = _declared(path)
    name = _name_of_samples(declared, x, path)
    header = declared[name].header
    shape, kind = header.shape, header.dtype.kind
    if kind not in "iufb":
        raise ValueError(f"the samples in {path} must be numbers, got an array of dtype {header.dtype}")
    if len(shape) < 2 or 0 in shape[1:]:
        raise ValueError(
            f"the samples in {path} must have shape (N, ...), got {shape}: reshape single numbers to (N, 1)"
        )
    if shape[0] < 2:
        raise ValueError(f"{path} holds {shape[0]} samples: at least 2 are needed, one to train on and one to test")
    layout = _layout_of(shape, layout, path)
    levels = {"uint8": 256, "bool": 2}.get(str(header.dtype))
    if lazy is None:
        lazy = declared[name].plain and not header.fortran and 4 * header.count > LAZY_BYTES
    wanted = () if lazy else (name,)
    label_name = ("y" if "y" in declared and name != "y" else None) if y is None else _known(declared, y, path)
    arrays = _read(path, declared, wanted if label_name is None else (*wanted, label_name))
    classes, names = _labels(None if label_name is None else arrays[label_name], shape[0], path)
    if lazy:
        reader = ArrayReader(path, declared[name], layout)
        data = LazyDataset(
            reader=reader, shape=tuple(reader.read(torch.zeros(1, dtype=torch.int64), None).shape[1:]), y=classes,
            name=path.stem, class_names=names, image=layout != "array", levels=levels,
        )  # fmt: skip
    else:
        samples = _arrange(arrays[name], layout)
        data = Dataset(
            x=_finite(samples, path), y=classes, name=path.stem, class_names=names, image=layout != "array",
            levels=levels,
        )  # fmt: skip
    return flipped(data) if flip else data


def _declared(path: Path) -> dict[str, Member]:
    """What the headers of the file claim, checked against its size."""
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"cannot read {path}: expected a .npy or .npz file, as numpy.save and numpy.savez write")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} (looked in {path.absolute().parent})")
    return members(path)


def _read(path: Path, declared: dict[str, Member], names: tuple[str, ...]) -> "dict[str, ndarray]":
    """The arrays called ``names``."""
    import numpy as np

    if not names:
        return {}
    # samples also need their float32 copy
    total = sum(declared[name].header.nbytes + 4 * declared[name].header.count for name in names)
    check_memory(total, str(path), "write it uncompressed with numpy.savez or numpy.save, and it is read row by row")
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            return {"x": content} if isinstance(content, np.ndarray) else {name: content[name] for name in names}
    except DAMAGE as error:
        raise ValueError(
            f"{path} is damaged or no {path.suffix} file ({type(error).__name__}: {error}): write it again with "
            f"numpy.{'savez' if path.suffix == '.npz' else 'save'}"
        ) from error


def _name_of_samples(declared: Mapping[str, object], name: str | None, path: Path) -> str:
    if name is not None or "x" in declared:
        return _known(declared, name or "x", path)
    others = [key for key in declared if key != "y"]
    if len(others) != 1:
        raise ValueError(f"{path} holds the arrays {sorted(declared)}: tell which are the samples with x=")
    return others[0]


def _known(declared: Mapping[str, object], name: str, path: Path) -> str:
    if name not in declared:
        raise ValueError(f"{path} holds no array {name!r}: {nearest(name, declared)}")
    return name


def _layout_of(shape: tuple[int, ...], layout: Layout | None, path: Path) -> Layout:
    """The layout that is told, or else inferred."""
    if layout is None:
        return _infer_layout(shape, path)
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}: {nearest(layout, LAYOUTS)}")
    rank, meaning = LAYOUTS[layout]
    if rank and len(shape) != rank:
        raise ValueError(f"layout {layout!r} means {meaning}, but the samples in {path} have shape {shape}")
    return layout


def _arrange(samples: "ndarray", layout: Layout) -> "ndarray":
    """The samples with channels first where they are images."""
    if layout == "gray":
        return samples[:, None]
    return samples.transpose(0, 3, 1, 2) if layout == "channels_last" else samples


def _infer_layout(shape: tuple[int, ...], path: Path) -> Layout:
    if len(shape) != 4:
        return "array"
    first, last = shape[1] in IMAGE_CHANNELS, shape[3] in IMAGE_CHANNELS
    if first and last:
        raise ValueError(
            f"the samples in {path} have shape {shape}, where axis 1 ({shape[1]}) and axis 3 ({shape[3]}) could "
            'both be channels: give layout="channels_first", "channels_last" or "array"'
        )
    return "channels_first" if first else "channels_last" if last else "array"


def _finite(samples: "ndarray", path: Path) -> Tensor:
    """The samples as float32, or an error that tells how many numbers are not finite and where the first is."""
    import numpy as np

    with np.errstate(over="ignore"):
        x = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    bad = ~x.isfinite()
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{int(bad.sum())} of {x.numel()} numbers in {path} are NaN or infinite in float32; the first is "
            f"{samples[first]} at index {first}: remove or fill those samples"
        )
    return x


def _labels(labels: "ndarray | None", n: int, path: Path) -> tuple[Tensor | None, tuple[str, ...]]:
    """Class labels as int64 ``(n,)`` and the names of the classes."""
    import numpy as np

    if labels is None:
        return None, ()
    if labels.dtype.kind not in "iub":
        raise ValueError(f"the labels in {path} must be integers 0 … K − 1, got dtype {labels.dtype}")
    if labels.shape != (n,):
        raise ValueError(f"the labels in {path} must have shape ({n},) for {n} samples, got {labels.shape}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise ValueError(
            f"the labels in {path} must be 0 … K − 1, got {low} at index {int(labels.argmin())} "
            "(a negative label means 'no label' to a net)"
        )
    if high >= n:
        raise ValueError(
            f"the labels in {path} must be 0 … K − 1, got {high} with only {n} samples: number the classes anew, "
            "for instance with numpy.unique(y, return_inverse=True)"
        )
    return torch.from_numpy(labels.astype(np.int64)), tuple(str(k) for k in range(high + 1))
