"""A data set: tensors in the units of the user, and what is known about them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pathline.data.tables import TableCodec


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Samples, their labels, and what they mean.

    Attributes:
        x: samples ``(N, *shape)``, float32, in the units of the user (see `Standardizer` for training).
        y: class labels ``(N,)``, int64 in 0 … num_classes − 1, or None.
        name: how the set is called in tables and file names.
        class_names: one name a class, in the order of the labels; empty without labels.
        image: True where samples are channels-first images ``(C, H, W)``.
        levels: values are the integers 0 … levels − 1 (256 for 8 bits); None for continuous values.
        captions: one text a sample, or none.
        codec: how the columns of a table became ``x``, and the way back (`TableCodec`); None for other data.

    Raises:
        ValueError, TypeError: tensors of another dtype or shape, or labels outside the classes.
    """

    x: Tensor
    y: Tensor | None = None
    name: str = "data"
    class_names: tuple[str, ...] = ()
    image: bool = False
    levels: int | None = None
    captions: Sequence[str] = field(default=(), repr=False)
    codec: "TableCodec | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.x.dtype != torch.float32:
            raise TypeError(f"x must be float32, got {self.x.dtype}: use x.float()")
        if self.x.ndim < 2 or self.x[:1].numel() == 0:
            raise ValueError(f"x must have shape (N, ...) with N > 0 samples, got {tuple(self.x.shape)}")
        if self.image and self.x.ndim != 4:
            raise ValueError(f"images must have shape (N, C, H, W), got {tuple(self.x.shape)}")
        if self.levels is not None and self.levels < 2:
            raise ValueError(f"levels must be at least 2, or None for continuous values, got {self.levels}")
        if len(self.captions) not in (0, len(self.x)):
            raise ValueError(f"captions must be one a sample, {len(self.x)} of them, got {len(self.captions)}")
        if self.y is None:
            if self.class_names:
                raise ValueError(f"class_names {self.class_names} need labels y")
            return
        if self.y.dtype != torch.int64:
            raise TypeError(f"y must be int64, got {self.y.dtype}: use y.long()")
        if self.y.shape != (len(self.x),):
            raise ValueError(f"y must have shape ({len(self.x)},), one label a sample, got {tuple(self.y.shape)}")
        low, high = (int(v) for v in torch.aminmax(self.y))
        count = len(self.class_names)
        if low < 0 or high >= count:
            raise ValueError(
                f"labels y must lie in 0 … {count - 1} for the {count} class_names {self.class_names}, "
                f"got values from {low} to {high}"
            )

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.x.shape[1:])

    @property
    def num_classes(self) -> int | None:
        """How many classes the labels tell apart; None without labels."""
        return None if self.y is None else len(self.class_names)

    def subset(self, indices: Tensor | Sequence[int]) -> "Dataset":
        """The samples at ``indices``, in that order; everything else as it is."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        captions = tuple(self.captions[i] for i in rows.tolist()) if self.captions else ()
        return replace(self, x=self.x[rows], y=None if self.y is None else self.y[rows], captions=captions)

    def gather(self, indices: Tensor, seed: "int | None" = None) -> tuple[Tensor, Tensor | None]:
        """(x, y) at ``indices``; nothing is augmented, whatever the ``seed`` (see `flipped`)."""
        return self.x[indices], None if self.y is None else self.y[indices]

    def without_labels(self) -> "Dataset":
        """The same samples, unlabelled."""
        return replace(self, y=None, class_names=())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of samples and labels."""
        digest = hashlib.sha256(str(tuple(self.x.shape)).encode())
        for part in (self.x, self.y):
            if part is not None:
                digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()
