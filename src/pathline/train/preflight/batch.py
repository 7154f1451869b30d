"""Samples to try things on, none of which are part of the order that training sees."""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pathline.data import Dataset, StreamDataset, in_memory
from pathline.objectives import BridgeMatching, Matching
from pathline.train.setup import uncoupled

if TYPE_CHECKING:
    from pathline.train.loop import Trainer

Given = tuple[Tensor, dict[str, Tensor]]

SEEN = 4096
"""Samples that the data are judged by, evenly spaced."""
NUMBERS = 1 << 24
"""Numbers that are held at most to judge the data."""


def sample_of(trainer: "Trainer", limit: int = SEEN) -> Dataset:
    """At most ``limit`` samples of the training part in your units, evenly spaced, fewer where they are large."""
    train = trainer.parts.train
    if isinstance(train, StreamDataset):
        train = train.in_memory()
    size = max(1, torch.Size(train.shape).numel())
    limit = max(2, min(limit, NUMBERS // size, len(train)))
    if isinstance(train, Dataset):
        return train.subset(torch.linspace(0, len(train) - 1, limit, dtype=torch.float64).long())
    return in_memory(train, limit)


def batch_of(trainer: "Trainer", n: int, seen: Dataset) -> Given:
    """``n`` samples as an objective is given them, by turns from ``seen`` where there are fewer; on the device."""
    if trainer.origin is not None or trainer.feed.generated:
        x_1, rest = trainer.feed.first(n)
        rows = torch.arange(n, device=x_1.device) % len(x_1)
        return x_1[rows], {name: value[rows] for name, value in rest.items()}
    rows = torch.arange(n) % len(seen) if n >= len(seen) else torch.linspace(0, len(seen) - 1, n).long()
    device = trainer.loss_sum.device
    x_1 = trainer.parts.standardizer.transform(seen.x[rows]).to(device)
    return x_1, {} if seen.y is None else {"y": seen.y[rows].to(device)}


def objective_of(trainer: "Trainer") -> Any:
    """The objective for pairs that are made already; one of the user's is copied where that can be, for it may count its calls."""
    if isinstance(trainer.objective, Matching | BridgeMatching):
        return uncoupled(trainer.objective)
    try:
        return copy.deepcopy(trainer.objective)
    except Exception:
        return trainer.objective
