"""Approximate prices for the assignment problem, and the pairs that matter: entropic plans at a falling temperature (T28, T29).

The plan P_ij = exp((f_i + g_j − c_ij)/T) whose rows and columns sum to one is found by Sinkhorn's iterations. As T falls, g
tends to the prices of the optimum and the plan thins out to the few pairs that compete for it. Halving the temperature is
squaring the entries of the plan: one pass over memory, no exponential. And as g_T is nearly linear in T, the step of g from
T to T/2 is half the step that led to T, so that the scaling b, g += T log b, starts from its last value: one or two
iterations suffice where starting from 1 leaves the long waves of g far behind.
"""

import math
from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST = 0.3  # of the standard deviation of the cost: the first temperature
_HALVINGS = 16  # at most
_ERROR = 0.03  # of the sums of the rows, in the mean: ends the iterations at a temperature
_ITERATIONS = 10  # at most
_PAIRS = 32  # a row, in the mean: the plan is thin enough
_SAMPLED = 64  # rows that tell how thin it is

KEPT = 1e-4
"""The least entry of the plan that counts. Where all that is less sums to less than one, the rest has a full matching."""

# Entries stay above it, so that none becomes a denormal number, which processors multiply twenty times slower. Squared
# twice, once more by the scalings, it is still a normal number.
_FLOOR = 1e-15

# Numbers of a block of rows that stays in the cache while it is worked on.
_BLOCK = 2**18


class Plan(NamedTuple):
    """The plan diag(a) K diag(b) at the last temperature, float32, with its prices."""

    kernel: Tensor
    a: Tensor
    b: Tensor
    prices: Tensor
    """g (n,)."""

    def pairs(self) -> float:
        """How many entries of a row are above `KEPT`, in the mean of some rows."""
        some = slice(None, None, -(-len(self.b) // _SAMPLED))
        return float((self.kernel[some] * self.b > KEPT / self.a[some, None]).sum(1, dtype=torch.float32).mean())

    def entries(self) -> "NDArray[np.int64]":
        """Where the plan is above `KEPT`: flat indices i n + j, rising."""
        n, found, begin = len(self.b), [], 0
        for block, a in blocks(self.kernel, self.a):
            kept = block * self.b > KEPT / a
            found.append(np.flatnonzero(kept.cpu().numpy()) + begin * n)
            begin += len(block)
        return np.concatenate(found)


def plans(cost: Tensor, spread: float, least: int, most: int) -> Iterator[Plan]:
    """Plans of ``cost`` (n, n) at temperatures that halve; each is gone when the next is asked for.

    ``spread`` > 0 is the standard deviation of the cost. At each temperature there are at least ``least`` iterations and at
    most ``most``, and none more once the sums of the rows are right to `_ERROR`.
    """
    temperature = _FIRST * spread
    kernel = cost.to(torch.float32, copy=True)
    kernel.sub_(kernel.amin(1, keepdim=True)).mul_(-1.0 / temperature).clamp_min_(math.log(_FLOOR)).exp_()
    prices, b = kernel.new_zeros(len(cost)), kernel.new_ones(len(cost))
    while True:
        a, b = _balance(kernel, b, least, most)
        prices.add_(b.log(), alpha=temperature)
        yield Plan(kernel, a, b, prices)
        for block, scale in blocks(kernel, a):
            block.mul_(scale).mul_(b).clamp_min_(_FLOOR).square_()
        temperature *= 0.5
        b.clamp_(1e-4, 1e4)  # a guess


def thin_plan(cost: Tensor, spread: float) -> Plan:
    """The plan at the first temperature that leaves no more than `_PAIRS` in a row."""
    falling = plans(cost, spread, 1, _ITERATIONS)
    plan = next(falling)
    for _ in range(_HALVINGS):
        if plan.pairs() <= _PAIRS:
            break
        plan = next(falling)
    return plan


def _balance(kernel: Tensor, b: Tensor, least: int, most: int) -> tuple[Tensor, Tensor]:
    """Scalings with diag(a) K diag(b) nearly doubly stochastic, from the scaling ``b`` of the columns."""
    a, b = _iterate(kernel, b)
    for done in range(1, most):
        before = a
        a, b = _iterate(kernel, b)  # the sums of the rows were before/a
        if done >= least and float((before / a).sub_(1.0).abs_().mean()) < _ERROR:
            break
    return a, b


def _iterate(kernel: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a = 1/(K b), then b = 1/(Kᵀ a), in one pass over memory."""
    if kernel.numel() <= _BLOCK:
        a = torch.mv(kernel, b).reciprocal_()
        return a, torch.mv(kernel.T, a).reciprocal_()
    rows, columns = [], []
    for block in kernel.split(max(1, _BLOCK // len(b))):
        rows.append(torch.mv(block, b).reciprocal_())
        columns.append(torch.mv(block.T, rows[-1]))
    return torch.cat(rows), reduce(torch.add, columns).reciprocal_()


def blocks(matrix: Tensor, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of the rows of ``matrix`` (n, m) that fit the cache, with the same rows of ``values`` (n,) as a column."""
    step = max(1, _BLOCK // matrix.shape[1])
    column = values[:, None]
    if step >= len(matrix):
        yield matrix, column
        return
    for begin in range(0, len(matrix), step):
        yield matrix[begin : begin + step], column[begin : begin + step]
