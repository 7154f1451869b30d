"""Arrays of the user: ``.npy`` and ``.npz`` files, checked before anything is trained on them."""

import tokenize
import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from pathline._errors import nearest
from pathline.data.base import Dataset

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


def from_file(
    path: str | PathLike[str], *, x: str | None = None, y: str | None = None, layout: Layout | None = None
) -> Dataset:
    """The data set in a ``.npy`` or ``.npz`` file.

    Args:
        path: a ``.npy`` file with the samples ``(N, ...)``, or a ``.npz`` file with named arrays.
        x: name of the array of samples; by default "x", or the only array that is not "y".
        y: name of the array of integer labels ``(N,)``, 0 … K − 1; by default "y" where there is one.
        layout: "array" for samples that are no images, "gray" for images ``(N, H, W)``, "channels_first" for
            ``(N, C, H, W)``, "channels_last" for ``(N, H, W, C)``. By default samples are images only if the
            array has rank 4 with 1, 3 or 4 entries along exactly one of axis 1 and axis 3, which then is that of
            the channels; if both fit, the layout must be told; everything else is "array".

    Returns:
        A `Dataset` named after the file. ``levels`` is 256 for uint8, 2 for bool, else None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or holds pickled objects; samples are not numbers, not
            finite, fewer than two, or of ambiguous layout; labels do not fit the samples.
    """
    import numpy as np

    path = Path(path)
    arrays = _read(path)
    samples = _pick_samples(arrays, x, path)
    labels = _pick_labels(arrays, y, path)
    if samples.dtype.kind not in "iufb":
        raise ValueError(f"the samples in {path} must be numbers, got an array of dtype {samples.dtype}")
    if samples.ndim < 2 or 0 in samples.shape[1:]:
        raise ValueError(
            f"the samples in {path} must have shape (N, ...), got {samples.shape}: reshape single numbers to (N, 1)"
        )
    if len(samples) < 2:
        raise ValueError(f"{path} holds {len(samples)} samples: at least 2 are needed, one to train on and one to test")
    samples, image = _arrange(samples, layout, path)
    levels = {np.dtype(np.uint8): 256, np.dtype(np.bool_): 2}.get(samples.dtype)
    classes, names = _labels(labels, len(samples), path)
    return Dataset(x=_finite(samples, path), y=classes, name=path.stem, class_names=names, image=image, levels=levels)


def _read(path: Path) -> "dict[str, ndarray]":
    """The arrays of the file by name; that of a ``.npy`` file is called "x"."""
    import numpy as np

    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"cannot read {path}: expected a .npy or .npz file, as numpy.save and numpy.savez write")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} (looked in {path.absolute().parent})")
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"x": content}
            arrays = {name: content[name] for name in content.files}
    except DAMAGE as error:
        if "allow_pickle" in str(error) and _looks_like_numpy(path):
            raise ValueError(
                f"{path} holds Python objects, which are never loaded (they can run code): save numeric arrays"
            ) from None
        raise ValueError(
            f"{path} is damaged or no {path.suffix} file ({type(error).__name__}: {error}): write it again with "
            f"numpy.{'savez' if path.suffix == '.npz' else 'save'}"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # any zip archive opens; its other members come as bytes
            raise ValueError(f"{path} is no .npz file: its member {name!r} is no array")
    return arrays


def _looks_like_numpy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"\x93NUMPY" or zipfile.is_zipfile(path)


def _pick_samples(arrays: "dict[str, ndarray]", name: str | None, path: Path) -> "ndarray":
    if name is not None or "x" in arrays:
        return _pick(arrays, name or "x", path)
    others = [key for key in arrays if key != "y"]
    if len(others) != 1:
        raise ValueError(f"{path} holds the arrays {sorted(arrays)}: tell which are the samples with x=")
    return arrays[others[0]]


def _pick_labels(arrays: "dict[str, ndarray]", name: str | None, path: Path) -> "ndarray | None":
    return arrays.get("y") if name is None else _pick(arrays, name, path)


def _pick(arrays: "dict[str, ndarray]", name: str, path: Path) -> "ndarray":
    if name not in arrays:
        raise ValueError(f"{path} holds no array {name!r}: {nearest(name, arrays)}")
    return arrays[name]


def _arrange(samples: "ndarray", layout: Layout | None, path: Path) -> "tuple[ndarray, bool]":
    """The samples with channels first where they are images, and whether they are."""
    if layout is None:
        layout = _infer_layout(samples.shape, path)
    elif layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}: {nearest(layout, LAYOUTS)}")
    rank, meaning = LAYOUTS[layout]
    if rank and samples.ndim != rank:
        raise ValueError(f"layout {layout!r} means {meaning}, but the samples in {path} have shape {samples.shape}")
    if layout == "gray":
        return samples[:, None], True
    if layout == "channels_last":
        return samples.transpose(0, 3, 1, 2), True
    return samples, layout == "channels_first"


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
