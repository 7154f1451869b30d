"""Batches of data that does not fit in memory: read ahead by a thread, or drawn from a stream."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import torch
from torch import Tensor

from pathline.data import Data, Dataset, LazyDataset, Standardizer, StreamDataset
from pathline.data.stream import Sample
from pathline.train.order import Batches, Order, derive_seed

AHEAD = 2
"""Batches that are read before they are asked for."""

Batch = tuple[Tensor, Tensor | None]


def batches_of(
    data: Data, standardizer: Standardizer, batch_size: int, seed: int, device: torch.device,
    part: "slice | None" = None,
) -> "Batches | LazyBatches | StreamBatches":  # fmt: skip
    """The batches of ``data``, or that ``part`` of each, standardised and on ``device``: ``batches(step)`` is (x_1, y)."""
    if isinstance(data, Dataset):
        x = standardizer.transform(data.x).to(device)
        return Batches(x, None if data.y is None else data.y.to(device), batch_size, seed, part)
    if isinstance(data, LazyDataset):
        return LazyBatches(data, standardizer, batch_size, seed, device, part)
    return StreamBatches(data, standardizer, batch_size, seed, device, part)


class LazyBatches:
    """Batches in the `Order` of the seed, read from files while the steps before them run."""

    def __init__(
        self, data: LazyDataset, standardizer: Standardizer, batch_size: int, seed: int, device: torch.device,
        part: "slice | None" = None,
    ) -> None:  # fmt: skip
        self.data, self.seed = data, seed
        self.indices = Order(len(data), batch_size, seed, part).indices
        self._standardizer, self._device = standardizer, device
        self._pool: ThreadPoolExecutor | None = None
        self._ready: dict[int, Future[Batch]] = {}

    def __call__(self, step: int) -> Batch:
        """(x_1, y) of batch ``step``."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="pathline-read")
        self._ready = {k: found for k, found in self._ready.items() if step <= k <= step + AHEAD}
        for k in range(step, step + AHEAD + 1):
            if k not in self._ready:
                self._ready[k] = self._pool.submit(self._read, self.indices(k), k)
        x, y = self._ready.pop(step).result()
        return x.to(self._device), None if y is None else y.to(self._device)

    def first(self, n: int) -> Batch:
        """``n`` samples to try a net on, no part of the order."""
        x, y = self.data.gather(torch.arange(min(n, len(self.data))))
        return self._standardizer.transform(x).to(self._device), None if y is None else y.to(self._device)

    def _read(self, rows: Tensor, step: int) -> Batch:
        x, y = self.data.gather(rows, derive_seed(self.seed, "augment", step))
        return self._standardizer.transform(x), y


class StreamBatches:
    """Batches of a stream; epoch e is shuffled by (seed, e).

    A step depends on seed and number alone, so a resumed run sees the same samples; it reads the stream up to its
    place to get there. One that wants a ``part`` of each batch reads all of the stream too.
    """

    def __init__(
        self, data: StreamDataset, standardizer: Standardizer, batch_size: int, seed: int, device: torch.device,
        part: "slice | None" = None,
    ) -> None:  # fmt: skip
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self._part = slice(None) if part is None else part
        self._standardizer, self._device = standardizer, device
        self._next, self._samples = 0, self._endless()

    def __call__(self, step: int) -> Batch:
        """(x_1, y) of batch ``step``."""
        if step != self._next:
            self._samples = self._endless()
            for _ in range(step * self.batch_size):
                next(self._samples)
        found = [next(self._samples) for _ in range(self.batch_size)][self._part]
        self._next = step + 1
        x = torch.stack([sample for sample, _ in found])
        if not bool(x.isfinite().all()):
            raise ValueError(f"{self.data.name} yields NaN or infinity in batch {step}: remove or fill those samples")
        y = None if self.data.num_classes is None else torch.tensor([label for _, label in found])
        return self._standardizer.transform(x).to(self._device), None if y is None else y.to(self._device)

    def first(self, n: int) -> Batch:
        """``n`` samples to try a net on, no part of the order."""
        head = self.data.in_memory(n)
        y = None if head.y is None else head.y.to(self._device)
        return self._standardizer.transform(head.x).to(self._device), y

    def _endless(self) -> Iterator[Sample]:
        for epoch in count():
            yield from self.data.shuffled(derive_seed(self.seed, "order", epoch))
