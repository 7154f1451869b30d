"""D-Flow: the source point is optimised through the solver (Ben-Hamu et al. 2024, arXiv 2402.14017)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline._shapes import check_state
from pathline._typing import Scalar
from pathline.control.base import Observation
from pathline.field import BaseField
from pathline.guidance import Guidance, guide
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.integrate import as_cond, as_solver, run
from pathline.solvers.sampling import choose_grid, draw_source, evaluating
from pathline.times import TimeLaw


@dataclass(frozen=True, kw_only=True)
class Optimised:
    """What an optimisation of the source gives."""

    x: Tensor
    """The states at t = 1, (B, ...)."""
    x_0: Tensor
    """Their source points, in units of N(0, I)."""
    losses: Tensor
    """The loss of each sample after each iteration, (iterations, B)."""


def d_flow(
    field: BaseField,
    loss: "Observation | Callable[[Tensor], Tensor]",
    shape_or_x_0: "Tensor | Sequence[int]",
    *,
    iterations: int = 100,
    lr: float = 0.1,
    prior: float = 1.0,
    solver: "Solver | str" = "midpoint",
    steps: int | None = 8,
    evaluations: int | None = None,
    grid: "Tensor | TimeLaw | None" = None,
    guidance: "Guidance | Scalar | None" = None,
    generator: torch.Generator | None = None,
    seeds: "Sequence[int] | None" = None,
    **cond: Any,
) -> Optimised:
    """min over x_0 of loss(psi(x_0)) + ``prior`` |x_0|²/2, psi the flow as a deterministic ``solver`` of fixed steps follows it.

    ``loss`` is an observation, counted as |y - A x|²/(2 std²), std = 0 counting as 0.01, or any function of the states (B, ...) to (B,), linear in
    nothing. ``prior`` = 1 then makes the optimum the most probable source point given y: an optimum, not a draw, so the spread of the posterior is
    lost (`docs/howto/control.md` measures it). Gradients pass through the whole solve, ``iterations`` of Adam with rate ``lr`` falling to zero, whose
    steps are entry by entry, so that no sample sees its batch. (The paper uses L-BFGS, which mixes a batch, and no prior but the start.)
    Further arguments are those of `pl.sample`.
    """
    solver = as_solver(solver)
    if solver.stochastic or solver.adaptive:
        raise ValueError("solver must be deterministic with fixed steps, such as 'midpoint' or 'ab2'")
    for name, value, least in (("iterations", iterations, 1), ("lr", lr, 0.0), ("prior", prior, 0.0)):
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    field = guide(field, guidance)
    field.check_conditions(cond)
    noise = Noise(generator, None if seeds is None else list(seeds))
    first = shape_or_x_0 if isinstance(shape_or_x_0, Tensor) else draw_source(field, shape_or_x_0, noise)
    check_state(first, "x_0")
    price = _misfit(loss) if isinstance(loss, Observation) else loss
    parameters = [p for module in field.modules() for p in module.parameters() if p.requires_grad]
    moments = choose_grid(field, solver, steps if grid is None and evaluations is None else None, evaluations, grid)
    x_0 = first.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([x_0], lr=lr, betas=(0.9, 0.99))
    cooling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    losses = []
    with evaluating(field), torch.enable_grad():
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            bound = Bound(field, as_cond(cond, len(first), first.device))
            for _ in range(iterations):
                x_1 = run(bound, field.path.start(x_0), solver, moments).x
                each = price(x_1) + prior * 0.5 * x_0.flatten(1).square().sum(1)
                (x_0.grad,) = torch.autograd.grad(each.sum(), x_0)
                optimizer.step()
                cooling.step()
                losses.append(each.detach())
            with torch.no_grad():
                x_1 = run(bound, field.path.start(x_0), solver, moments).x
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)
    return Optimised(x=x_1.detach(), x_0=x_0.detach(), losses=torch.stack(losses))


def _misfit(seen: Observation) -> Callable[[Tensor], Tensor]:
    """|y - A x|²/(2 std²) of each sample."""
    precision = 0.5 / max(seen.std, 1e-2) ** 2
    return lambda x: precision * seen.residual(x).flatten(1).square().sum(1)
