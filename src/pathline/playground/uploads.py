"""Points that somebody uploads: .npy, .npz or .csv, checked before anything large is read, and never a pickle."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from pathline.data.files import DAMAGE
from pathline.playground import UPLOAD_BYTES
from pathline.playground.settings import MOST_POINTS, Points, drawn_points

MOST_NUMBERS = 8_000_000 // 8
"""Numbers that one array of a file may hold."""
MOST_MEMBERS = 16
KINDS = (".npy", ".npz", ".csv")


def read_points(path: "str | Path", *, std: float = 0.1) -> Points:
    """The points (N, 2) of an uploaded file, moved and scaled into the square where they are outside; labels if there are any.

    ``.npy``: an array (N, 2). ``.npz``: arrays x (N, 2) and, if wanted, y (N,). ``.csv``: two numbers a line, a whole one
    after them for the class; a line of names may head it. More than `MOST_POINTS` are thinned evenly.

    Raises:
        ValueError: another kind of file, one that is too large or unfolds to something too large, a pickle, damage, or
            no points in the plane; the message says which.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise ValueError(f"cannot read {path.name}: give a file of the kinds {', '.join(KINDS)}")
    size = path.stat().st_size
    if size > UPLOAD_BYTES:
        raise ValueError(f"{path.name} has {size:,} bytes: at most {UPLOAD_BYTES:,} are read, thin the points out")
    content = path.read_bytes()
    try:
        x, y = _parse(content, path)
    except _Refused as error:
        raise ValueError(str(error)) from None
    except (*DAMAGE, csv.Error, MemoryError) as error:
        told = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise ValueError(f"{path.name} is damaged or of another kind: {told}") from None
    if x.ndim != 2 or x.shape[1] != 2 or x.dtype.kind not in "iuf" or len(x) < 2:
        raise ValueError(f"{path.name} must hold at least 2 points (N, 2), got {x.dtype} of shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{path.name} holds numbers that are NaN or infinite: remove those points")
    if y is not None and (y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() > 99):
        raise ValueError(
            f"the labels in {path.name} must be whole numbers 0 … 99, one a point, got {y.dtype} of shape {y.shape}"
        )
    if len(x) > MOST_POINTS:
        chosen = np.linspace(0, len(x) - 1, MOST_POINTS).astype(int)
        x, y = x[chosen], None if y is None else y[chosen]
    return drawn_points(
        _fitted(torch.from_numpy(x.astype(np.float64))), None if y is None else y.astype(np.int64), std=std
    )


class _Refused(Exception):
    """Bad content whose message is ready for the user."""


def _parse(content: bytes, path: Path) -> "tuple[np.ndarray, np.ndarray | None]":
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _array(content, path.name), None
    if suffix == ".csv":
        return _table(content.decode("utf-8-sig"), path.name)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS:
            raise _Refused(f"{path.name} has {len(members)} members: give at most an x and a y")
        unfolded = sum(member.file_size for member in members)
        if unfolded > 8 * MOST_NUMBERS:
            raise _Refused(f"{path.name} unfolds to {unfolded:,} bytes: at most {8 * MOST_NUMBERS:,} are read")
        arrays = {}
        for member in members:
            if member.filename not in ("x.npy", "y.npy"):
                continue
            with archive.open(member) as file:  # the size that a member claims is not believed
                inside = file.read(8 * MOST_NUMBERS + 1)
            arrays[member.filename[0]] = _array(inside, f"{path.name}/{member.filename}")
    if "x" not in arrays:
        raise _Refused(f"{path.name} holds no array x: numpy.savez(file, x=points)")
    return arrays["x"], arrays.get("y")


def _array(content: bytes, name: str) -> np.ndarray:
    """The array of a .npy file, whose header is judged before room is made for what it announces."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise _Refused(
            f"{name} has the format {version} of numpy files, which is not read: save it again with numpy.save"
        )
    shape, _, kind = reader(file)
    if kind.hasobject:
        raise _Refused(f"{name} holds Python objects, which are never loaded (they can run code): save numeric arrays")
    count = 1
    for length in shape:
        count *= int(length)
    if count > MOST_NUMBERS:
        raise _Refused(f"{name} announces {count:,} numbers: at most {MOST_NUMBERS:,} are read")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _table(text: str, name: str) -> "tuple[np.ndarray, np.ndarray | None]":
    rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    if rows and not _numbers(rows[0]):
        rows = rows[1:]
    widths = {len(row) for row in rows}
    if not rows or widths not in ({2}, {3}) or not all(map(_numbers, rows)):
        raise _Refused(f"{name} must have two numbers a line, and a whole one for the class if wanted")
    values = np.array([[float(cell) for cell in row] for row in rows])
    if values.shape[1] == 2:
        return values, None
    if not (np.isfinite(values[:, 2]).all() and (values[:, 2] == np.round(values[:, 2])).all()):
        raise _Refused(f"the third column of {name} must hold whole numbers, the classes")
    return values[:, :2], values[:, 2].astype(np.int64)


def _numbers(row: "list[str]") -> bool:
    try:
        [float(cell) for cell in row]
    except ValueError:
        return False
    return True


def _fitted(x: torch.Tensor) -> torch.Tensor:
    """``x`` as it is where it lies within ±4; else centred, its farthest coordinate at 3.5."""
    if float(x.abs().max()) <= 4.0:
        return x
    x = x - x.mean(0)
    return x * (3.5 / float(x.abs().max().clamp(min=1e-12)))
