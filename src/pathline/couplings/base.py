"""Couplings: which source point goes to which data point (theory T27-T30).

Two kinds. A `Coupling` pairs the points of a batch: the objective calls it at every step. A `DatasetCoupling` looks at
a whole data set once (``fit``) and gives a `PairSource`, from which training then draws its batches:

    pairs = semidiscrete().fit(data, generator=g)      # data in the units of the network
    x_0, rows = pairs.draw(256, generator=g)          # x_1 = data[rows], y = labels[rows]
    loss = objective(net, data[rows], x_0=x_0, y=y)   # with coupling=None: the pairs are made
    pairs.save("pairs.safetensors"); load_pairs("pairs.safetensors", data)
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pathline._shapes import check_state


class Coupling(Protocol):
    """(x_0, x_1, y, generator) -> indices into the source: data point i is paired with x_0[indices[i]].

    A coupling returns indices, not points, so that data, labels and conditions stay in their order. Each source
    point is used exactly once, the indices are a permutation, unless the coupling says otherwise (`Sinkhorn`).
    Couplings are frozen and hold no state: they may be called in another thread, or pickled to another process.
    """

    def __call__(
        self, x_0: Tensor, x_1: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Indices, int64 of shape (B,) on the device of x_0."""
        ...


class Pairs(NamedTuple):
    """A batch of pairs: source points ``x_0`` (n, ...) and the ``rows`` (n,), int64, of their data points."""

    x_0: Tensor
    rows: Tensor


class PairSource(ABC):
    """A coupling of the source with one data set: pairs (x_0, row of the data) by the batch.

    A draw is a function of ``n`` and the state of the generator alone: nothing is counted, so a resumed run goes on
    as it would have, and a worker may draw ahead.
    """

    @abstractmethod
    def draw(self, n: int, *, generator: torch.Generator | None = None) -> Pairs:
        """``n`` pairs; x_0 in the dtype and on the device of the data that was fitted, where the generator lives too."""

    @abstractmethod
    def save(self, path: "str | Path") -> None:
        """Write what was fitted (not the data) as safetensors; `load_pairs` reads it beside the same data."""

    @abstractmethod
    def to(self, device: "torch.device | str") -> "PairSource":
        """The same on another device."""


class DatasetCoupling(Protocol):
    """(data, y, source) -> `PairSource`: the work that is done once, before training."""

    def fit(
        self,
        data: Tensor,
        y: Tensor | None = None,
        *,
        source: Tensor | None = None,
        generator: torch.Generator | None = None,
        progress: bool = False,
    ) -> PairSource:
        """Couple ``data`` (N, ...) with Gaussian noise, or with the points ``source`` (M, ...), drawn uniformly.

        With integer labels ``y`` (N,) a coupling that is made class by class keeps p(x_0 | y) = p(x_0) (T30).
        """
        ...


def flat_pair(x_0: Tensor, x_1: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets as rows (B, D), without gradients, in float32 at least.

    Raises:
        TypeError: not floating tensors. ValueError: sizes or shapes that differ.
    """
    check_state(x_0, "x_0")
    check_state(x_1, "x_1")
    if x_0.shape != x_1.shape:
        raise ValueError(
            f"a coupling pairs as many source points as data points, of one shape: got x_0 {tuple(x_0.shape)} "
            f"and x_1 {tuple(x_1.shape)}"
        )
    dtype = torch.float64 if torch.float64 in (x_0.dtype, x_1.dtype) else torch.float32
    return tuple(x.detach().reshape(len(x), -1).to(dtype) for x in (x_0, x_1))  # pyright: ignore[reportReturnType]
