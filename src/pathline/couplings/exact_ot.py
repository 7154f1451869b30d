"""The optimal pairing of a batch (theory T28)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pathline.couplings.assignment import assign, transport_cost
from pathline.couplings.base import flat_pair


@dataclass(frozen=True)
class ExactOT:
    """The permutation pi that minimises sum_i |x_0[pi(i)] − x_1[i]|²: exact, each source point once.

    On the line it is the order of the points; else the assignment problem of `couplings.assignment`, whose optimum is
    exact up to the rounding of the inner products in the dtype of the points (float64 in up to 16 dimensions). The
    search runs on the CPU, up to 1,024 points without the interpreter's lock, so that a thread can pair the next batch
    while this one trains; of more points about a fifth of the time needs the lock.
    Source: minibatch OT of Pooladian et al. (2023) and Tong et al. (2024), as a true assignment.

    >>> x_0, x_1 = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[9.0], [7.0], [8.0]])
    >>> x_0[exact_ot()(x_0, x_1)].flatten().tolist()
    [2.0, 0.0, 1.0]
    """

    def __call__(
        self, x_0: Tensor, x_1: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return optimal(*flat_pair(x_0, x_1))


def optimal(x_0: Tensor, x_1: Tensor) -> Tensor:
    """For each row of ``x_1`` (B, D) its row of ``x_0`` (B, D) in the pairing of least squared distance, int64 (B,)."""
    if x_0.shape[1] != 1:
        return assign(transport_cost(x_0, x_1), overwrite=True)
    if not bool(torch.isfinite(x_0).all() and torch.isfinite(x_1).all()):
        raise ValueError("x_0 and x_1 must be finite to be coupled: look for NaN or infinity")
    chosen = torch.empty(len(x_0), dtype=torch.int64, device=x_0.device)
    chosen[x_1.flatten().argsort(stable=True)] = x_0.flatten().argsort(stable=True)
    return chosen


def exact_ot() -> ExactOT:
    """The exact minibatch optimal transport coupling."""
    return ExactOT()
