"""The entropic coupling (theory T29)."""

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pathline._draws import rand
from pathline.couplings.base import flat_pair
from pathline.couplings.conditional_ot import squared_distances

Backend = Literal["own", "pot"]

# Scalings within one kernel; then they are taken into the potentials and the kernel is formed anew, so that nothing
# but differences within a few iterations is ever exponentiated.
_ABSORB = 10
_TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class EntropicPlan:
    """The plan P (B, B), source in rows, data in columns, each row and column of mass 1/B, and how it was reached."""

    plan: Tensor
    reg: float
    """The regularisation in units of squared distance."""
    iterations: int
    marginal_error: float
    """sum_i |sum_j P_ij − 1/B|, between 0 and 2, or that of the columns where it is larger."""
    entropy: float
    """H(P) = −sum P log P in nats: log B for a permutation, 2 log B for the independent coupling."""
    cost: float
    """sum P_ij |x_0_i − x_1_j|²."""

    @property
    def blur(self) -> float:
        """(H(P) − log B)/log B: 0 for a permutation, 1 for the independent coupling."""
        n = len(self.plan)
        return (self.entropy - math.log(n)) / math.log(n) if n > 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class Sinkhorn:
    """min_P sum P_ij |x_0_i − x_1_j|² + reg sum P_ij log P_ij, and a source point for each data point drawn from P.

    Data point j draws its source from its column, i ~ P_ij / sum_i P_ij: every data point is used once, a source point
    on average once, so the indices are no permutation. With reg = 2 sigma² this is the static Schrödinger bridge
    for a Brownian motion of variance sigma² a unit of time.

    Sinkhorn's iteration is scaled down from a large regularisation and kept in the log domain (potentials; kernels
    are formed from differences), until the rows are within ``tolerance`` of their mass.

    Attributes:
        reg: the regularisation, in units of squared distance; with ``relative``, in units of the mean squared distance.
        tolerance: on sum_i |sum_j P_ij − 1/B|.
        max_iterations: after which it warns and returns what it has.
        backend: ``"own"``, or ``"pot"`` for POT's log-domain solver on the CPU.
    """

    reg: float
    relative: bool = False
    tolerance: float = 1e-3
    max_iterations: int = 2000
    backend: Backend = "own"

    def __post_init__(self) -> None:
        for name in ("reg", "tolerance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} must be a positive number, got {value}; for reg → 0 use exact_ot()")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, got {self.max_iterations}")
        if self.backend not in ("own", "pot"):
            raise ValueError(f"backend must be 'own' or 'pot', got {self.backend!r}")

    def __call__(
        self, x_0: Tensor, x_1: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        weights = self.plan(x_0, x_1).plan.T.double()
        levels = weights.cumsum(1)
        u = rand(len(weights), generator, device=levels.device, dtype=torch.float64)[:, None]
        return torch.searchsorted(levels, u * levels[:, -1:]).flatten().clamp_max_(len(weights) - 1)

    def plan(self, x_0: Tensor, x_1: Tensor) -> EntropicPlan:
        """The plan of a batch, with its entropy, cost, iterations and marginal error."""
        x_0, x_1 = flat_pair(x_0, x_1)
        if not bool(torch.isfinite(x_0).all() and torch.isfinite(x_1).all()):
            raise ValueError("x_0 and x_1 must be finite to be coupled: look for NaN or infinity")
        centre = x_1.mean(0)
        cost = squared_distances(x_0 - centre, x_1 - centre)
        reg = self.reg * float(cost.mean()) if self.relative else self.reg
        if reg == 0.0:  # all points are one
            reg = 1.0
        solve = _pot if self.backend == "pot" else _scaled
        plan, iterations = solve(cost, reg, self.tolerance, self.max_iterations)
        n = len(plan)
        error = max(float((plan.double().sum(axis) - 1.0 / n).abs().sum()) for axis in (0, 1))
        if not error <= 1.01 * self.tolerance:
            warnings.warn(
                f"Sinkhorn stopped after {iterations} iterations with a marginal error of {error:.1e} "
                f"(tolerance {self.tolerance:.1e}) at reg = {reg:.3g}: raise reg or max_iterations, or use exact_ot()",
                stacklevel=2,
            )
        return EntropicPlan(
            plan=plan,
            reg=reg,
            iterations=iterations,
            marginal_error=error,
            entropy=float(torch.special.entr(plan.double()).sum()),
            cost=float((plan.double() * cost).sum()),
        )


def _scaled(cost: Tensor, reg: float, tolerance: float, most: int) -> tuple[Tensor, int]:
    """The plan and the number of iterations, from potentials that follow a falling regularisation."""
    n = len(cost)
    f, g = cost.new_zeros(n), cost.new_zeros(n)
    kernel = torch.empty_like(cost)
    start = max(0, math.ceil(math.log2(max(0.3 * float(cost.std()) / reg, 1.0)))) if n > 1 else 0
    done = 0
    for level in range(start, -1, -1):
        scale = reg * 2.0**level
        while done < most:
            torch.sub(g, cost, out=kernel)
            f = -kernel.amax(1)
            kernel.add_(f[:, None]).div_(scale).exp_()
            a, b = f.new_ones(n), g.new_ones(n)
            for _ in range(min(_ABSORB, most - done)):
                a = torch.mv(kernel, b).clamp_min_(_TINY).reciprocal_()
                b = torch.mv(kernel.T, a).clamp_min_(_TINY).reciprocal_()
                done += 1
            f, g = f + scale * a.log(), g + scale * b.log()
            error = float((a * torch.mv(kernel, b) - 1.0).abs().mean())
            if error <= tolerance or (level > 0 and error <= 0.1):
                break
    return kernel.mul_(a[:, None]).mul_(b).div_(n), done  # pyright: ignore[reportPossiblyUnboundVariable]


def _pot(cost: Tensor, reg: float, tolerance: float, most: int) -> tuple[Tensor, int]:
    try:
        import ot
    except ImportError:
        raise ValueError("backend='pot' needs POT: `pip install pot`, or use backend='own'") from None
    weights = cost.new_full((len(cost),), 1.0 / len(cost)).cpu().double().numpy()
    table = cost.double().cpu().numpy()
    plan, log = ot.sinkhorn(
        weights, weights, table, reg, method="sinkhorn_log", numItermax=most, stopThr=tolerance / len(cost) ** 0.5,
        log=True, warn=False,
    )  # fmt: skip
    return torch.from_numpy(plan).to(cost), int(log["niter"])  # pyright: ignore[reportArgumentType]


def sinkhorn(
    reg: float,
    *,
    relative: bool = False,
    tolerance: float = 1e-3,
    max_iterations: int = 2000,
    backend: Backend = "own",
) -> Sinkhorn:
    """The entropic coupling at regularisation ``reg``; see `Sinkhorn`."""
    return Sinkhorn(reg=reg, relative=relative, tolerance=tolerance, max_iterations=max_iterations, backend=backend)
