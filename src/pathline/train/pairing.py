"""Pairs of source and data for the training step, made by a thread while the steps before them run (theory T27-T32)."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline._draws import normal_like
from pathline.couplings import Coupling, DatasetCoupling, PairSource, load_pairs
from pathline.train.feed import LazyBatches, StreamBatches
from pathline.train.order import Batches, Order, derive_seed

LEAST, MOST = 2, 16
"""Steps whose pairs the thread makes in one go. It is given as many again before it has done: uneven steps even out, and
waking it for every step would cost the step more than all else."""
BYTES = 2**25
"""That the pairs of one go may take, unless they are those of `LEAST` steps."""

AnyBatches = Batches | LazyBatches | StreamBatches
Given = tuple[Tensor, dict[str, Tensor]]
"""What an objective is called with: x_1, and by name y and x_0 where there are any."""


def named(y: "Tensor | None", x_0: "Tensor | None") -> dict[str, Tensor]:
    """Those of y and x_0 that there are, by name."""
    return {name: value for name, value in (("y", y), ("x_0", x_0)) if value is not None}


class Plain:
    """Data alone, or with the source points of the step: nothing to work ahead on."""

    coupled = False
    """Whether pairs are made here, so that the objective must not make them again."""

    def __init__(self, batches: AnyBatches, draw: "Callable[[int], Tensor] | None" = None) -> None:
        self.batches, self._draw = batches, draw

    def __call__(self, step: int) -> Given:
        x_1, y = self.batches(step)
        return x_1, named(y, None if self._draw is None else self._draw(step))

    def waited(self) -> float:
        """Seconds that steps have waited for their pairs since the last call."""
        return 0.0

    def close(self) -> None:
        """Stop working ahead."""


def works_beside(device: torch.device) -> bool:
    """Whether a thread of this process can run while a step trains on ``device``: elsewhere, or on another core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return device.type != "cpu" or cores != 1


class Ahead:
    """Pairs of step k, k + 1, … made by one thread while step k trains.

    What a step sees is a function of seed and step alone: noise and ties are drawn from a generator of the step, so a
    resumed run sees the same pairs. The work is done on the CPU; ``device`` is where its results go. A thread is
    enough: SciPy's assignment and torch's products let go of the interpreter. On a single core it would only get in
    the way of the step, which then makes its own pairs. Pairs are those of a whole batch, each process makes all of
    them, and takes its ``part``.
    """

    coupled = True

    def __init__(self, make: Callable[[int], Given], device: torch.device, part: "slice | None" = None) -> None:
        self._make, self._device, self._part = make, device, part
        self._pool: ThreadPoolExecutor | None = None
        self._ready: dict[int, Future[Given]] = {}
        self._due = self._until = -1  # the step that comes next, and the first that the thread does not know of
        self._go = LEAST
        self._waited = 0.0
        self._beside = works_beside(device)

    def __call__(self, step: int) -> Given:
        begin = time.perf_counter()
        x_1, rest = self._take(step) if self._beside else self._make(step)
        self._waited += time.perf_counter() - begin
        return self._move(x_1), {name: self._move(value) for name, value in rest.items()}

    def _take(self, step: int) -> Given:
        """The pairs of a step from the thread, which goes on with those of the next."""
        if step != self._due or not self._ready:
            self._forget()
            self._until = step
            self._ask()
        self._due = step + 1
        x_1, rest = self._ready.pop(step).result()
        if self._until - step <= self._go:
            size = sum(value.nbytes for value in (x_1, *rest.values()))
            self._go = min(MOST, max(LEAST, BYTES // max(size, 1)))
            self._ask()
        return x_1, rest

    def _ask(self) -> None:
        """Give the thread the next steps."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="pathline-pair")
        asked: dict[int, Future[Given]] = {k: Future() for k in range(self._until, self._until + self._go)}
        self._until += self._go
        self._ready |= asked
        self._pool.submit(self._fill, asked)

    def _fill(self, asked: "dict[int, Future[Given]]") -> None:
        """What the thread does."""
        for step, future in asked.items():
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._make(step))
                except BaseException as error:  # raised where the step asks for its pairs
                    future.set_exception(error)

    def _forget(self) -> None:
        """Drop what is made or asked for."""
        for future in self._ready.values():
            future.cancel()
        self._ready = {}

    def waited(self) -> float:
        """Seconds that steps have waited for their pairs since the last call."""
        seconds, self._waited = self._waited, 0.0
        return seconds

    def close(self) -> None:
        """Stop working ahead."""
        self._forget()
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self._pool = None

    def _move(self, value: Tensor) -> Tensor:
        value = value if self._part is None else value[self._part]
        if self._device.type == "cuda":
            return value.pin_memory().to(self._device, non_blocking=True)
        return value.to(self._device)


def coupled(
    coupling: Coupling, batches: AnyBatches, draw: "Callable[[int], Tensor] | None", seed: int
) -> Callable[[int], Given]:
    """step -> a batch of data with its source points, noise unless ``draw`` gives them, paired by ``coupling``."""

    def make(step: int) -> Given:
        x_1, y = batches(step)
        generator = torch.Generator().manual_seed(derive_seed(seed, "pairs", step))
        x_0 = normal_like(x_1, generator) if draw is None else draw(step)
        return x_1, named(y, x_0[coupling(x_0, x_1, y, generator)])

    return make


def drawn(pairs: PairSource, batches: Batches, batch_size: int, seed: int) -> Callable[[int], Given]:
    """step -> pairs of a coupling of the whole data set."""

    def make(step: int) -> Given:
        generator = torch.Generator().manual_seed(derive_seed(seed, "pairs", step))
        x_0, rows = pairs.draw(batch_size, generator=generator)
        return batches.x[rows], named(None if batches.y is None else batches.y[rows], x_0)

    return make


def rows_of(
    points: Tensor, batches: AnyBatches, batch_size: int, seed: int, *, paired: bool, part: "slice | None" = None
) -> Callable[[int], Tensor]:
    """step -> the source points of a batch: those of its own rows, or rows in an order of their own."""
    if not paired:
        order = Order(len(points), batch_size, derive_seed(seed, "source"), part)
        return lambda step: points[order.indices(step).to(points.device)]
    if isinstance(batches, StreamBatches):
        raise ValueError("paired needs rows that can be told, and the data are a stream")
    return lambda step: points[batches.indices(step).to(points.device)]


def fit_pairs(
    coupling: DatasetCoupling, batches: Any, source: "Tensor | None", seed: int, path: Path, *, progress: bool
) -> PairSource:
    """The pairs of a `DatasetCoupling`: read from ``path`` if they are there, else fitted and kept."""
    if not isinstance(batches, Batches):
        raise TypeError("a coupling of the whole data set needs data in memory: take a batch coupling such as exact_ot")
    if path.is_file():
        return load_pairs(path, batches.x, batches.y, source=source)
    generator = torch.Generator().manual_seed(derive_seed(seed, "fit pairs"))
    found = coupling.fit(batches.x, batches.y, source=source, generator=generator, progress=progress)
    draft = path.with_name(f".{path.name}")
    found.save(draft)
    draft.replace(path)
    return found
