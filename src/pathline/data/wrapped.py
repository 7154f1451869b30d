"""Data sets of torch, seen as ours."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset

from pathline.data.lazy import LazyDataset
from pathline.data.stream import Sample, StreamDataset


class _Items:
    """Reads ``dataset[i]`` for every row."""

    def __init__(self, dataset: "TorchDataset[Any]") -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # pyright: ignore[reportArgumentType]

    def read(self, rows: Tensor, seed: "int | None") -> Tensor:
        return torch.stack([as_sample(self.dataset[i])[0] for i in rows.tolist()])


def from_torch(
    dataset: "TorchDataset[Any]",
    *,
    labels: "bool | Tensor | None" = None,
    class_names: tuple[str, ...] = (),
    image: "bool | None" = None,
    levels: "int | None" = None,
    name: str = "data",
    buffer: int = 1000,
) -> "LazyDataset | StreamDataset":
    """A `torch.utils.data.Dataset` whose items are samples, or pairs (sample, label).

    Samples are tensors or arrays of one shape. Items are read when a batch asks for them, in threads of this process,
    so ``dataset[i]`` must be safe to call from several threads. An `IterableDataset` becomes a `StreamDataset`.

    Args:
        labels: the label of every item as an integer tensor (N,); by default a ``targets`` of that length where there
            is one, else one pass over all items to read the second of each pair. False trains without.
        class_names: names of the classes; their numbers if empty.
        image: whether samples are images (C, H, W); by default those of rank 3 with 1, 3 or 4 channels are.
        levels: see `Dataset`; by default 256 for uint8 samples.
        name: how the set is called.
        buffer: the shuffle buffer of a stream.

    Raises:
        TypeError: items that are neither samples nor pairs, or labels that are no whole numbers.
    """
    if isinstance(dataset, IterableDataset):
        return _stream(dataset, labels, class_names, image, levels, name, buffer)
    items = _Items(dataset)
    if len(items) < 2:
        raise ValueError(f"the data set has {len(items)} items: at least 2 are needed")
    raw = dataset[0]
    first, label = as_sample(raw)
    y = _labels(dataset, labels, label is not None)
    if y is not None and not class_names:
        class_names = tuple(map(str, range(int(y.max()) + 1)))
    return LazyDataset(
        reader=items,
        shape=tuple(first.shape),
        y=y,
        name=name,
        class_names=class_names if y is not None else (),
        image=_is_image(first) if image is None else image,
        levels=_levels(raw) if levels is None else levels,
    )


def as_sample(item: Any) -> Sample:
    """(x float32, label or None) of an item: a sample, or a pair of a sample and a label."""
    label = None
    if isinstance(item, tuple | list):
        if len(item) != 2:
            raise TypeError(
                f"an item of the data set must be a sample or a pair (sample, label), got {len(item)} things"
            )
        item, label = item
    try:
        x = torch.as_tensor(item).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"a sample must be a tensor or an array, got {type(item).__name__}: apply a transform such as ToTensor"
        ) from error
    return (x[None] if x.ndim == 0 else x), None if label is None else as_label(label)


def as_label(label: Any) -> int:
    """A class as an int."""
    number = label.item() if isinstance(label, Tensor) and label.numel() == 1 else label
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(f"a label must be a whole number, got {label!r}: give from_torch(labels=...)")
    return int(number)


def _labels(dataset: "TorchDataset[Any]", given: "bool | Tensor | None", paired: bool) -> "Tensor | None":
    if given is False:
        return None
    n = len(dataset)  # pyright: ignore[reportArgumentType]
    if isinstance(given, Tensor):
        found = given
    elif len(getattr(dataset, "targets", ())) == n:  # as torchvision's sets have it
        found = torch.as_tensor(dataset.targets)  # pyright: ignore[reportAttributeAccessIssue]
    elif paired:
        found = torch.tensor([as_label(dataset[i][1]) for i in range(n)])
    elif given:
        raise TypeError("labels=True, but the items are no pairs (sample, label)")
    else:
        return None
    if found.is_floating_point() or found.dtype == torch.bool or found.shape != (n,):
        raise TypeError(f"labels must be integers of shape ({n},), got {found.dtype} {tuple(found.shape)}")
    return found.long()


def _is_image(x: Tensor) -> bool:
    return x.ndim == 3 and x.shape[0] in (1, 3, 4)


def _levels(item: Any) -> "int | None":
    sample = item[0] if isinstance(item, tuple | list) else item
    return 256 if str(getattr(sample, "dtype", "")).endswith("uint8") else None


def _stream(
    dataset: "IterableDataset[Any]",
    labels: "bool | Tensor | None",
    class_names: tuple[str, ...],
    image: "bool | None",
    levels: "int | None",
    name: str,
    buffer: int,
) -> StreamDataset:
    if isinstance(labels, Tensor):
        raise TypeError("a stream brings its labels with its items: labels may be True or False")
    raw = next(iter(dataset), None)
    if raw is None:
        raise ValueError("the data set yields no items")
    first, label = as_sample(raw)
    if label is not None and labels is not False and not class_names:
        raise ValueError("the classes of a stream cannot be counted: give class_names, or labels=False")

    def start() -> Any:
        for item in dataset:
            x, y = as_sample(item)
            yield x, (y if class_names else None)

    return StreamDataset.of(
        start,
        name=name,
        class_names=class_names,
        image=_is_image(first) if image is None else image,
        levels=_levels(raw) if levels is None else levels,
        buffer=buffer,
    )
