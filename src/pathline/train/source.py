"""Where a flow starts when that is not noise: another data set, standardised on its own (theory T31)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pathline.data import Data, Dataset, Standardizer, StreamDataset
from pathline.data import split as divide
from pathline.train.config import Settings
from pathline.train.order import derive_seed


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """The source side of a run, in the units of the user, and the way to those of the network."""

    train: Dataset
    held_out: "Dataset | None"
    standardizer: Standardizer
    paired: bool = False
    """Whether row i of the source belongs to row i of the data."""

    def pick(self, first: int, n: int) -> Dataset:
        """``n`` samples to start from, those numbered ``first``, first + 1, …: held-out ones before those trained on.

        The numbering is a fixed shuffle, so that any stretch is a sample; after the last the first comes again.
        """
        count = 0 if self.held_out is None else len(self.held_out)
        rows = []
        for part, offset in ((self.held_out, 0), (self.train, count)):
            if part is not None:
                generator = torch.Generator().manual_seed(derive_seed(offset, "pick", len(part)))
                rows.append(offset + torch.randperm(len(part), generator=generator))
        order = torch.cat(rows)
        chosen = order[torch.arange(first, first + n) % len(order)]
        if self.held_out is None:
            return self.train.subset(chosen)
        x = torch.cat([self.held_out.x, self.train.x])[chosen]
        return replace(self.train.without_labels(), x=x, captions=())

    def points(self, first: int, n: int) -> Tensor:
        """The same in the units of the network, (n, *shape)."""
        return self.standardizer.transform(self.pick(first, n).x)


def check_source(source: Data, data: Data, *, paired: bool) -> Dataset:
    """Refuse a source that cannot start a flow to ``data``.

    Raises:
        TypeError: it is not held in memory. ValueError: another shape, or paired rows that do not match.
    """
    if not isinstance(source, Dataset):
        raise TypeError(f"a source must fit in memory, {source.name} is read by the row: give a smaller file")
    if source.shape != data.shape:
        raise ValueError(
            f"source and data must have one shape: {source.name} has {source.shape}, {data.name} {data.shape}"
        )
    bad = int((~source.x.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(source)} samples of the source {source.name} have NaN or infinity")
    if not paired:
        return source
    if isinstance(data, StreamDataset):
        raise ValueError(f"paired needs rows that can be told, and {data.name} is a stream: give a file")
    if len(source) != len(data):
        raise ValueError(
            f"paired source and data must have as many rows: {source.name} has {len(source)}, {data.name} {len(data)}"
        )
    return source


def prepare_source(
    source: Data, data: Data, settings: Settings, *, paired: bool, fit: Callable[[Dataset, Settings], Standardizer]
) -> Source:
    """Check, divide and standardise the source by ``fit``; ``paired`` rows are divided as those of ``data`` are."""
    found = check_source(source, data, paired=paired).without_labels()
    train, held_out = found, None
    if settings.held_out > 0.0:
        if paired:
            labels = getattr(data, "y", None)
            names = data.class_names if labels is not None else ()
            places = torch.arange(len(found), dtype=torch.float32)[:, None]  # whole up to 2^24 rows
            parts = divide(Dataset(x=places, y=labels, class_names=names), settings.held_out, seed=settings.seed)
            train, held_out = (found.subset(part.x[:, 0].long()) for part in parts)
        else:
            train, held_out = divide(found, settings.held_out, seed=settings.seed)
    return Source(train=train, held_out=held_out, standardizer=fit(train, settings), paired=paired)
