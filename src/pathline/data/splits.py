"""A fixed division into a part to train on and a part that is never seen in training."""

from typing import Generic, NamedTuple, TypeVar

import torch

from pathline.data.base import Dataset
from pathline.data.lazy import LazyDataset

Rows = TypeVar("Rows", bound=Dataset | LazyDataset)


class Split(NamedTuple, Generic[Rows]):
    """Two disjoint parts that together are the data set."""

    train: Rows
    held_out: Rows


def split(dataset: Rows, held_out: float = 0.1, *, seed: int = 0) -> Split[Rows]:
    """``dataset`` divided at random; each class in the same proportion if there are labels.

    The held-out part has round(held_out · N) samples, spread over the classes by largest remainder; a class is
    never held out entirely. The order of the samples is kept. The same seed gives the same division with every
    version of torch and NumPy: samples are ranked by the raw 64-bit numbers of PCG64, whose stream is frozen.

    Raises:
        ValueError: ``held_out`` is not in (0, 1), or leaves one of the two parts without a sample.
    """
    import numpy as np

    if not 0 < held_out < 1:
        raise ValueError(f"held_out must be a fraction in (0, 1), got {held_out}")
    n = len(dataset)
    priority = np.random.PCG64(seed).random_raw(n)
    labels = np.zeros(n, dtype=np.int64) if dataset.y is None else dataset.y.numpy()
    counts = np.bincount(labels)
    quota = held_out * counts
    taken = np.floor(quota).astype(np.int64)
    missing = round(held_out * n) - int(taken.sum())
    for k in np.argsort(taken - quota, kind="stable"):
        if missing > 0 and taken[k] + 1 < counts[k]:
            taken[k] += 1
            missing -= 1
    chosen = np.zeros(n, dtype=bool)
    for k, count in enumerate(taken):
        members = np.flatnonzero(labels == k)
        chosen[members[np.argsort(priority[members], kind="stable")[:count]]] = True
    if chosen.sum() in (0, n):
        raise ValueError(
            f"held_out {held_out} of {n} samples leaves a part empty: give more samples or another fraction"
        )
    mask = torch.from_numpy(chosen)
    return Split(dataset.subset((~mask).nonzero()[:, 0]), dataset.subset(mask.nonzero()[:, 0]))  # pyright: ignore[reportReturnType]
