"""Data that can only be read from front to back: no length, no way to ask for sample number 17."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from pathline.data.base import Dataset

HEAD = 2000
"""Samples at the front of a stream that are looked at before training."""

Sample = tuple[Tensor, int | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamDataset:
    """Samples from an iterator, shuffled by a buffer, one pass an epoch.

    The first `HEAD` samples are held in memory: statistics come from them, and held-out samples are drawn from them,
    which the training never yields. If the source is sorted (by class, say), neither they nor a buffer are a fair
    sample of it: shuffle the shards when you write them.

    Attributes:
        start: ``start()`` begins a pass and yields pairs (x ``shape`` float32, label or None), always in one order.
        head: the first samples.
        buffer: how many samples wait to be drawn from at random; 1 keeps the order.
        held_out: positions in the head that are not trained on.
    """

    start: Callable[[], Iterator[Sample]]
    head: Dataset
    buffer: int = 1000
    held_out: frozenset[int] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        if self.buffer < 1:
            raise ValueError(f"buffer must be at least 1, got {self.buffer}")

    @classmethod
    def of(
        cls,
        start: Callable[[], Iterator[Sample]],
        *,
        name: str,
        class_names: tuple[str, ...] = (),
        image: bool = False,
        levels: "int | None" = None,
        buffer: int = 1000,
    ) -> "StreamDataset":
        """The stream of ``start``, once its head was read.

        Raises:
            ValueError: it is empty.
        """
        first = list(islice(start(), HEAD))
        if len(first) < 2:
            raise ValueError(f"{name} yields {len(first)} samples: at least 2 are needed")
        x = torch.stack([sample for sample, _ in first])
        y = torch.tensor([label for _, label in first]) if class_names else None
        head = Dataset(x=x, y=y, name=name, class_names=class_names, image=image, levels=levels)
        return cls(start=start, head=head, buffer=buffer)

    def __len__(self) -> int:
        """The samples that are held in memory: how many there are in all is unknown."""
        return len(self.head)

    @property
    def name(self) -> str:
        """How the set is called in tables and file names."""
        return self.head.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.head.shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class; empty without labels."""
        return self.head.class_names

    @property
    def num_classes(self) -> "int | None":
        """How many classes the labels tell apart; None without labels."""
        return self.head.num_classes

    @property
    def image(self) -> bool:
        """True where samples are images."""
        return self.head.image

    @property
    def levels(self) -> "int | None":
        """As in `Dataset`."""
        return self.head.levels

    def without_labels(self) -> "StreamDataset":
        """The same samples, unlabelled."""

        def bare() -> Iterator[Sample]:
            return ((x, None) for x, _ in self.start())

        return replace(self, start=bare, head=self.head.without_labels())

    def split(self, share: float, *, seed: int) -> "tuple[StreamDataset, Dataset]":
        """(the stream without them, the samples held out): a random ``share`` of the head."""
        count = max(1, round(share * len(self.head)))
        chosen = sorted(random.Random(seed).sample(range(len(self.head)), count))
        return replace(self, held_out=frozenset(chosen)), self.head.subset(chosen)

    def shuffled(self, seed: int) -> Iterator[Sample]:
        """One pass, in the order of the buffer: it is filled, then a random place is yielded and filled anew."""
        draw, waiting = random.Random(seed), []
        for place, sample in enumerate(self.start()):
            if place in self.held_out:
                continue
            if len(waiting) < self.buffer:
                waiting.append(sample)
                continue
            chosen = draw.randrange(self.buffer)
            yield waiting[chosen]
            waiting[chosen] = sample
        draw.shuffle(waiting)
        yield from waiting

    def in_memory(self, limit: "int | None" = None) -> Dataset:
        """The head, without what is held out; at most ``limit`` samples of it."""
        kept = [i for i in range(len(self.head)) if i not in self.held_out]
        return self.head.subset(kept[:limit])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the head."""
        return hashlib.sha256(f"stream/{self.head.fingerprint}".encode()).hexdigest()
