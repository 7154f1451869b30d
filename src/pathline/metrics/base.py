"""What every metric shares: checked points, pairwise distances in blocks, and the record of the registry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Better = Literal["lower", "higher"]
Space = Literal["samples", "features"]

# Entries of one block of a distance matrix: 32 MiB in float64, whatever the number of points.
BLOCK_ENTRIES = 2**22


@dataclass(frozen=True, kw_only=True)
class Part:
    """One number of a metric: how it is printed and which way is good."""

    label: str
    better: Better


@dataclass(frozen=True, kw_only=True)
class Metric:
    """An entry of `METRICS`: a two-sample function with what a report needs to print it.

    ``function(samples, real, generator)`` returns one float per part. ``space`` says whether it is meant for
    the points themselves or for features of them; ``max_points`` is the size above which `evaluate` subsamples
    because the cost grows with n² or n³ (None: no limit).
    """

    parts: tuple[Part, ...]
    space: Space
    function: Callable[[Tensor, Tensor, torch.Generator | None], tuple[float, ...]]
    max_points: int | None = None

    def __call__(self, samples: Tensor, real: Tensor, generator: torch.Generator | None = None) -> tuple[float, ...]:
        return self.function(samples, real, generator)


class FeatureExtractor(Protocol):
    """Anything that turns a batch (N, *shape) into features (N, F) and says what it is.

    `pathline.metrics.Classifier` is one; an Inception network with its weights at hand can be another.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def features(self, x: Tensor) -> Tensor: ...


def check_samples(x: Tensor, name: str, *, minimum: int = 1) -> Tensor:
    """``x`` itself, after refusing what no metric can use.

    Raises:
        TypeError: not a floating tensor.
        ValueError: no batch axis, fewer than ``minimum`` points, no coordinates, NaN or infinity.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape (N, *shape), got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {x.dtype}: convert with {name}.float()")
    if x.ndim == 0 or 0 in x.shape[1:]:
        raise ValueError(f"{name} must have shape (N, *shape) with no empty axis, got {tuple(x.shape)}")
    if len(x) < minimum:
        raise ValueError(f"{name} has {len(x)} points, at least {minimum} are needed: give more points")
    bad = int((~torch.isfinite(x)).reshape(len(x), -1).any(1).sum())
    if bad:
        raise ValueError(
            f"{name} has NaN or infinity in {bad} of {len(x)} points: "
            "look for a diverged sampler, or drop them and report how many"
        )
    return x


def as_points(x: Tensor, name: str, *, minimum: int = 1) -> Tensor:
    """``x`` of shape (N, *shape) as float64 rows (N, D), checked. (N,) is read as N points on the line.

    float64 because every metric here is a small difference of large sums.
    """
    return check_samples(x, name, minimum=minimum).detach().reshape(len(x), -1).to(torch.float64)


def as_pair(
    samples: Tensor,
    real: Tensor,
    *,
    minimum: int = 1,
    names: tuple[str, str] = ("samples", "real"),
) -> tuple[Tensor, Tensor]:
    """Both sets as checked float64 rows on one device.

    Raises:
        ValueError: the shapes of one point differ, or the devices do.
    """
    x, y = as_points(samples, names[0], minimum=minimum), as_points(real, names[1], minimum=minimum)
    if samples.shape[1:] != real.shape[1:]:
        raise ValueError(
            f"{names[0]} and {names[1]} must hold points of one shape, "
            f"got {tuple(samples.shape[1:])} and {tuple(real.shape[1:])}"
        )
    if x.device != y.device:
        raise ValueError(f"{names[0]} is on {x.device} and {names[1]} on {y.device}: move one with .to(device)")
    return x, y


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows such that a block of rows × columns holds at most `BLOCK_ENTRIES` entries."""
    step = max(1, BLOCK_ENTRIES // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i − y_j|² as (N, M), through one matrix product. Centre the points first: the error is about
    machine precision times their squared norm."""
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return torch.addmm(squares, x, y.T, alpha=-2.0).clamp_min_(0.0)
