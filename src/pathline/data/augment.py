"""Flips that a seed and a row decide, whatever else is in the batch."""

import torch
from torch import Tensor

from pathline.data.base import Dataset
from pathline.data.lazy import LazyDataset, Reader


class Held:
    """Samples in memory, as a `Reader`."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def read(self, rows: Tensor, seed: "int | None") -> Tensor:
        """``x[rows]`` as float32."""
        return self.x[rows].float()


class Flipped:
    """Every image mirrored left to right with probability 1/2."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def read(self, rows: Tensor, seed: "int | None") -> Tensor:
        """Samples at ``rows``; mirrored where the bit of (seed, row) says so, none without a seed."""
        x = self.reader.read(rows, seed)
        if seed is None:
            return x
        mirrored = coins(rows, seed)
        return torch.where(mirrored.reshape(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def coins(rows: Tensor, seed: int) -> Tensor:
    """A fair coin for each (seed, row): the top bit of SplitMix64's mixing function (Steele et al. 2014)."""
    start = (seed * 6364136223846793005 + 2**63) % 2**64 - 2**63
    z = rows * -7046029254386353131 + start  # int64 arithmetic wraps
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        z = (z ^ _logical_shift(z, shift)) * factor
    return (z ^ _logical_shift(z, 31)) < 0


def _logical_shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def flipped(data: "Dataset | LazyDataset") -> LazyDataset:
    """``data`` with its images mirrored at random while training, never when they are measured.

    Raises:
        ValueError: the samples are no images.
    """
    if not data.image:
        raise ValueError(f"flip is for images, but a sample of {data.name} has shape {data.shape}")
    if isinstance(data, LazyDataset):
        return LazyDataset(
            reader=Flipped(data.reader), shape=data.shape, rows=data.rows, y=data.y, name=data.name,
            class_names=data.class_names, image=True, levels=data.levels, captions=data.captions,
        )  # fmt: skip
    whole = data.levels is not None and data.levels <= 256
    return LazyDataset(
        reader=Flipped(Held(data.x.to(torch.uint8) if whole else data.x)), shape=data.shape, y=data.y, name=data.name,
        class_names=data.class_names, image=True, levels=data.levels, captions=data.captions,
    )  # fmt: skip
