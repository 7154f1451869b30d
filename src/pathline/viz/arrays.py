"""What the user brings as numpy arrays, checked; and pictures as arrays of bytes."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Values: TypeAlias = Tensor | np.ndarray | Sequence[object]
Range: TypeAlias = tuple[float, float]

CHANNELS = (1, 3)
BORDER = 150
"""Grey level of the frame around an image."""


def as_array(values: Values, name: str) -> np.ndarray:
    """``values`` as a numpy array of bool, integers or floats (half precisions become float32)."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, got {type(values).__name__} of dtype {array.dtype}")
    return array


def as_points(values: Values, name: str) -> np.ndarray:
    """``values`` as float points (B, D) with B > 0."""
    array = as_array(values, name)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must hold points of shape (B, D), got {array.shape}")
    return array.astype(float)


def as_images(values: Values, name: str) -> np.ndarray:
    """``values`` as images (B, C, H, W) with C = 1 or 3 and B > 0."""
    array = as_array(values, name)
    if array.ndim != 4 or array.size == 0:
        raise ValueError(f"{name} must hold images of shape (B, C, H, W), got {array.shape}")
    if array.shape[1] not in CHANNELS:
        hint = f": move the channels first with {name}.movedim(-1, 1)" if array.shape[3] in CHANNELS else ""
        raise ValueError(f"{name} must hold images of 1 or 3 channels (B, C, H, W), got {array.shape}{hint}")
    return array


def as_labels(y: Values, count: int, name: str = "y") -> np.ndarray:
    """``y`` as integer labels (count,)."""
    array = as_array(y, name)
    if array.shape != (count,) or array.dtype.kind == "f":
        raise ValueError(f"{name} must hold one integer label a sample, ({count},), got {array.dtype} {array.shape}")
    return array.astype(int)


def class_name(label: int, names: Sequence[str]) -> str:
    """What the class ``label`` is called: its name, or its number."""
    return names[label] if 0 <= label < len(names) else str(label)


def pixel_range(x: np.ndarray, given: Range | None) -> Range:
    """The values that are black and white.

    Unless ``given``: 0 … 1 for bool, 0 … 255 for uint8, else from the smallest to the largest finite value of ``x``.
    """
    if given is not None:
        low, high = (float(v) for v in given)
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"value_range must be (black, white) with black < white, got {given}")
        return low, high
    if x.dtype == np.bool_:
        return 0.0, 1.0
    if x.dtype == np.uint8:
        return 0.0, 255.0
    finite = x[np.isfinite(x)] if x.dtype.kind == "f" else x
    if finite.size == 0:
        raise ValueError("no value of the images is finite")
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def to_bytes(x: np.ndarray, limits: Range) -> np.ndarray:
    """Images (B, C, H, W) as uint8 (B, H, W, 3): 255 (x − low)/(high − low), rounded and clipped; NaN is black."""
    low, high = limits
    unit = (x.astype(float) - low) / (high - low)
    levels = np.rint(255.0 * np.clip(np.nan_to_num(unit, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0))
    return np.broadcast_to(levels.astype(np.uint8), (x.shape[0], 3, *x.shape[2:])).transpose(0, 2, 3, 1)


def mosaic(
    pictures: np.ndarray,
    rows: Sequence[Sequence[int | None]],
    *,
    scale: int = 1,
    gap: int = 2,
    border: int = 0,
    breaks: Sequence[int] = (),
) -> np.ndarray:
    """One picture (H', W', 3) of ``pictures``, uint8 (B, H, W, 3), where ``rows`` says which stands where.

    Each pixel becomes ``scale`` × ``scale`` pixels and each picture gets a grey ``border``, so that white strokes do not
    run into the white around it. Cells are ``gap`` pixels apart, and before the rows in ``breaks`` three times as far.
    None leaves a cell empty.
    """
    height, width = (scale * side + 2 * border for side in pictures.shape[1:3])
    tops = row_tops(len(rows), height, gap, breaks)
    columns = max((len(row) for row in rows), default=0)
    shape = (tops[-1] + height, columns * (width + gap) - gap, 3) if tops and columns else (0, 0, 3)
    canvas = np.full(shape, 255, dtype=np.uint8)
    for top, row in zip(tops, rows):
        for column, index in enumerate(row):
            if index is not None:
                left = column * (width + gap)
                cell = canvas[top : top + height, left : left + width]
                cell[:] = BORDER
                inner = cell[border : height - border, border : width - border]
                inner[:] = pictures[index].repeat(scale, axis=0).repeat(scale, axis=1)
    return canvas


def row_tops(count: int, height: int, gap: int, breaks: Sequence[int] = ()) -> list[int]:
    """Where the rows of a `mosaic`, of cells of ``height``, begin."""
    extra = [2 * gap if i in breaks else 0 for i in range(count)]
    return [i * (height + gap) + sum(extra[: i + 1]) for i in range(count)]
