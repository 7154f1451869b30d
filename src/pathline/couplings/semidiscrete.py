"""Semi-discrete optimal transport: from a continuous source to all data points at once (theory T28, T30).

The optimal map sends x_0 to the data point argmax_i <x_0, z_i> + h_i, with one number h_i for each data point that makes
all of them equally likely. The h are the solution of a convex problem, minimise E max_i(<x_0, z_i> + h_i) − mean_i h_i,
whose gradient is p_i − 1/N, with p_i the probability of being chosen. Source: Genevay et al. (2016), stochastic optimisation
of the semi-discrete dual; used to train flows in arXiv 2509.25519 and AlignFlow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from pathline._draws import integers, normal
from pathline._shapes import check_state
from pathline.couplings.base import Pairs, PairSource
from pathline.couplings.storing import check_same_data, fingerprint, read, write

# Entries of a block of inner products: 64 MiB in float32.
BLOCK = 2**24

Group = tuple[int | None, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Violation:
    """How far a fitted coupling is from using every data point equally often, from ``draws`` fresh source points."""

    chi_square: float
    """Unbiased estimate of N sum_i p_i² − 1, averaged over classes by their size: 0 is perfect."""
    unused: float
    """Share of the data points that no draw has chosen; exp(−draws/N) of them would be missed by chance."""
    draws: int

    @property
    def effective(self) -> float:
        """1/(1 + chi²): the share of the data that would give as even a sample."""
        return 1.0 / (1.0 + max(0.0, self.chi_square))


@dataclass(frozen=True, kw_only=True, eq=False)
class SemiDiscretePairs(PairSource):
    """The fitted map: `assign` sends source points to data points, `draw` makes batches of it.

    ``data`` (N, ...), ``heights`` (N,), ``y`` (N,) or None, ``source`` (M, ...) or None for Gaussian noise. With labels
    there is one map a class, from the whole source to the points of that class (whose points are then held twice).
    """

    data: Tensor
    heights: Tensor
    y: Tensor | None = None
    source: Tensor | None = None
    violation: Violation | None = None

    def assign(self, x_0: Tensor, y: Tensor | None = None) -> Tensor:
        """argmax_i <x_0, z_i> + h_i over the data (of class ``y`` (B,), if it was fitted by class): rows, int64 (B,)."""
        check_state(x_0, "x_0")
        if x_0.shape[1:] != self.data.shape[1:]:
            raise ValueError(f"x_0 must hold points of shape {tuple(self.data.shape[1:])}, got {tuple(x_0.shape[1:])}")
        if (y is None) != (self.y is None):
            raise ValueError(
                "this coupling was fitted class by class: give the classes y (B,) of x_0"
                if y is None
                else "this coupling was fitted without labels: leave out y, or fit with them"
            )
        x_0 = x_0.flatten(1).to(self.data)
        if y is None:
            (_, _, points), *_ = self._groups
            return nearest(x_0, points, self.heights)
        rows = torch.full((len(x_0),), -1, dtype=torch.int64, device=x_0.device)
        for label, members, points in self._groups:
            asked = (y == label).nonzero().flatten().to(x_0.device)
            if len(asked):
                rows[asked] = members[nearest(x_0[asked], points, self.heights[members])]
        if bool((rows < 0).any()):
            raise ValueError(f"y holds the class {int(y[rows.to(y.device) < 0][0])}, which the fitted data do not have")
        return rows

    @cached_property
    def _groups(self) -> list[Group]:
        return list(groups(self.data, self.y))

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> Pairs:
        x_0 = draw_source(n, self.data, self.source, generator)
        if self.y is None:
            return Pairs(x_0, self.assign(x_0))
        drawn = integers(len(self.y), n, generator, self.y.device)
        return Pairs(x_0, self.assign(x_0, self.y[drawn]))

    def measure(self, draws: int, *, generator: torch.Generator | None = None) -> Violation:
        """The violation of the marginal from ``draws`` fresh source points, shared among the classes by their size."""
        chi, counts = 0.0, torch.zeros(len(self.data), device=self.data.device)
        for _, members, points in self._groups:
            share = max(2, round(draws * len(members) / len(self.data)))
            count = counts.new_zeros(len(members))
            for size in batches(share, 65_536):
                x_0 = draw_source(size, self.data, self.source, generator).flatten(1)
                count += torch.bincount(nearest(x_0, points, self.heights[members]), minlength=len(members))
            counts[members] = count
            pairs = float((count.double() * (count.double() - 1.0)).sum()) / (share * (share - 1.0))
            chi += (len(members) * pairs - 1.0) * len(members) / len(self.data)
        return Violation(chi_square=chi, unused=float((counts == 0).float().mean()), draws=draws)

    def to(self, device: "torch.device | str") -> "SemiDiscretePairs":
        return SemiDiscretePairs(
            data=self.data.to(device),
            heights=self.heights.to(device),
            y=None if self.y is None else self.y.to(device),
            source=None if self.source is None else self.source.to(device),
            violation=self.violation,
        )

    def save(self, path: "str | Path") -> None:
        about = {
            "data": fingerprint(self.data, self.y, self.source),
            "violation": None if self.violation is None else vars(self.violation),
        }
        write(path, "semidiscrete", {"heights": self.heights}, about)

    @classmethod
    def load(
        cls, path: "str | Path", data: Tensor, y: Tensor | None = None, source: Tensor | None = None
    ) -> "SemiDiscretePairs":
        """The saved map beside the data that it was fitted to."""
        kind, tensors, about = read(path)
        if kind != "semidiscrete":
            raise ValueError(f"{path} holds pairs of the kind {kind!r}: read it with load_pairs")
        check_same_data(path, about["data"], data, y, source)
        violation = None if about["violation"] is None else Violation(**about["violation"])
        return cls(data=data, heights=tensors["heights"].to(data), y=y, source=source, violation=violation)


def nearest(x_0: Tensor, points: Tensor, heights: Tensor) -> Tensor:
    """argmax_i <x_0, z_i> + h_i for rows (B, D) and points (N, D), in blocks of bounded memory."""
    step = max(1, BLOCK // len(points))
    blocks = [torch.addmm(heights, part, points.T).argmax(1) for part in x_0.split(step)]
    return torch.cat(blocks) if blocks else torch.empty(0, dtype=torch.int64, device=points.device)


def draw_source(n: int, data: Tensor, source: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """``n`` source points like ``data``: Gaussian noise, or rows of ``source`` drawn uniformly."""
    if source is None:
        return normal((n, *data.shape[1:]), generator, data)
    return source[integers(len(source), n, generator, source.device)]


def groups(data: Tensor, y: Tensor | None) -> Iterator[Group]:
    """(label, rows, points) of each class in turn, or of everything, with label None, where there are no labels."""
    if y is None:
        yield None, torch.arange(len(data), device=data.device), data.flatten(1)
        return
    for label in y.unique().tolist():
        members = (y == label).nonzero().flatten()
        yield label, members, data[members].flatten(1)


def batches(total: int, size: int) -> Iterator[int]:
    """Sizes that add up to ``total``, none above ``size``."""
    for start in range(0, total, size):
        yield min(size, total - start)
