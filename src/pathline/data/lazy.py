"""Data larger than memory: samples that are read when a batch asks for them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from pathline.data.base import Dataset

PROBES = 256
"""Samples whose values enter a `LazyDataset.fingerprint`."""


class Reader(Protocol):
    """Where samples come from: a file, a folder, a data set of another library."""

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def read(self, rows: Tensor, seed: "int | None") -> Tensor:
        """Samples ``(B, *shape)``, float32, at int64 ``rows`` ``(B,)``, in that order.

        ``seed`` draws the augmentation, one draw a row that does not depend on the other rows; None is none.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class LazyDataset:
    """Like `Dataset`, but only labels are held in memory: a batch reads its own rows, so memory does not grow.

    Attributes:
        reader: what reads the samples.
        shape: of one sample.
        rows: the rows of the reader that belong to the set, int64; all of them if None.
        y, name, class_names, image, levels: as in `Dataset`; ``y`` is that of ``rows``.
        captions: one text a row of the reader, or none.
    """

    reader: Reader
    shape: tuple[int, ...]
    rows: Tensor | None = None
    y: Tensor | None = None
    name: str = "data"
    class_names: tuple[str, ...] = ()
    image: bool = False
    levels: int | None = None
    captions: Sequence[str] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if len(self) < 1:
            raise ValueError(f"{self.name} has no samples")
        if self.image and len(self.shape) != 3:
            raise ValueError(f"images must have shape (C, H, W), got {self.shape}")
        if self.y is not None:
            if self.y.dtype != torch.int64 or self.y.shape != (len(self),):
                raise ValueError(f"y must be int64 of shape ({len(self)},), got {self.y.dtype} {tuple(self.y.shape)}")
            low, high = (int(v) for v in torch.aminmax(self.y))
            if low < 0 or high >= len(self.class_names):
                raise ValueError(
                    f"labels y must lie in 0 … {len(self.class_names) - 1} for the class_names, got {low} to {high}"
                )

    def __len__(self) -> int:
        return len(self.reader) if self.rows is None else len(self.rows)

    @property
    def num_classes(self) -> int | None:
        """How many classes the labels tell apart; None without labels."""
        return None if self.y is None else len(self.class_names)

    def gather(self, indices: Tensor, seed: "int | None" = None) -> tuple[Tensor, Tensor | None]:
        """(x, y) at ``indices`` ``(B,)``: samples ``(B, *shape)`` float32, labels ``(B,)`` or None.

        ``seed`` draws the augmentation that the reader knows (flips); None reads the samples as they are.

        Raises:
            ValueError: a sample with NaN or infinity; the message tells its row.
        """
        rows = indices if self.rows is None else self.rows[indices]
        x = self.reader.read(rows, seed)
        if not bool(x.isfinite().all()):
            bad = (~x.isfinite()).flatten(1).any(1).nonzero()[0, 0]
            raise ValueError(f"sample {int(rows[bad])} of {self.name} has NaN or infinity: remove or fill it")
        return x, None if self.y is None else self.y[indices]

    def subset(self, indices: Tensor | Sequence[int]) -> "LazyDataset":
        """The samples at ``indices``, in that order; everything else as it is."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        rows = chosen if self.rows is None else self.rows[chosen]
        return replace(self, rows=rows, y=None if self.y is None else self.y[chosen])

    def without_labels(self) -> "LazyDataset":
        """The same samples, unlabelled."""
        return replace(self, y=None, class_names=())

    def spread(self, limit: int) -> Tensor:
        """At most ``limit`` indices, evenly spaced over the set."""
        n = len(self)
        return torch.arange(n) if n <= limit else torch.linspace(0, n - 1, limit, dtype=torch.float64).long()

    def chunks(self, limit: int, size: int = 256) -> Iterator[Tensor]:
        """Samples at `spread` of ``limit``, a few at a time."""
        for indices in self.spread(limit).split(size):
            yield self.gather(indices)[0]

    def in_memory(self, limit: "int | None" = None) -> Dataset:
        """The samples as a `Dataset`; with ``limit`` at most so many of them, evenly spaced."""
        indices = self.spread(len(self) if limit is None else limit)
        parts = [self.gather(rows) for rows in indices.split(256)]
        return Dataset(
            x=torch.cat([x for x, _ in parts]),
            y=None if self.y is None else self.y[indices],
            name=self.name,
            class_names=self.class_names,
            image=self.image,
            levels=self.levels,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of count, shape, rows, labels and of 256 samples evenly spaced: cheap, whatever the size."""
        digest = hashlib.sha256(repr((len(self.reader), len(self), self.shape, self.class_names)).encode())
        for part in (self.rows, self.y):
            if part is not None:
                digest.update(part.numpy().data)
        for x in self.chunks(PROBES):
            digest.update(x.contiguous().numpy().data)
        return digest.hexdigest()


def in_memory(data: "Dataset | LazyDataset", limit: int = 20_000) -> Dataset:
    """``data`` itself, or at most ``limit`` samples of one that is read lazily: what a measurement can hold."""
    return data if isinstance(data, Dataset) else data.in_memory(limit)
