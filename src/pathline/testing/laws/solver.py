"""Laws of solvers: exactness, order, reversal, stepping by hand, and the cost that they claim (T4, T5, T36)."""

import itertools
import math

import torch
from torch import Tensor

from pathline.field import Field
from pathline.paths import AffinePath
from pathline.predictions import DATA, VELOCITY
from pathline.schedules import Linear, Trig
from pathline.solvers import Bound, Noise, Solver, integrate
from pathline.testing import oracles
from pathline.testing.laws.base import close, gap, generator, linear_path, require, states
from pathline.testing.laws.device import check_device


def check_solver(solver: Solver, *, adaptive: bool = False) -> None:
    """Every law that applies to the solver: `unit_field`, `point_mass`, `by_hand`, `cost`, `order`, `reversal`, `shapes`,
    `states_anywhere`.

    Stochastic solvers are held against moments in place of states; ``adaptive`` ones choose their steps by the errors that they
    read, so cost, order and `states_anywhere` do not apply.
    """
    check_shapes(solver)
    if not adaptive:
        check_states_anywhere(solver)
    if solver.stochastic:
        check_moments(solver)
        if not adaptive:
            check_cost(solver)
        return
    check_unit_field(solver)
    check_point_mass(solver)
    check_by_hand(solver, 1e-3 if adaptive else 1e-9)
    check_reversal(solver)
    if not adaptive:
        check_cost(solver)
        check_order(solver)


def _grids() -> list[Tensor]:
    return [torch.linspace(0, 1, 6), torch.tensor([0.0, 0.1, 0.15, 0.7, 1.0]), torch.tensor([1.0, 0.6, 0.0])]


def check_states_anywhere(solver: Solver) -> None:
    """States on another device than the times, from a network of velocities and one of data (`check_device`)."""
    net = torch.nn.Linear(2, 2, device="meta")
    for prediction in (VELOCITY, DATA):
        field = Field(lambda x, t: net(x), linear_path(), prediction)
        for noise in (Noise(generator(11)), Noise(seeds=list(range(6)))) if solver.stochastic else (Noise(),):
            check_device(lambda x, f=field, n=noise: integrate(f, x, solver, _grids()[0].double(), noise=n))


def check_unit_field(solver: Solver) -> None:
    """A field of velocity 1 moves x by s - t on any grid."""
    field = Field(lambda x, t: torch.ones_like(x), linear_path(), VELOCITY)
    x = torch.zeros(4, 2, dtype=torch.float64)
    for grid in _grids():
        moved = integrate(field, x, solver, grid.double())
        expected = x + float(grid[-1] - grid[0])
        require(
            close(moved, expected, 1e-9),
            "A field of velocity 1 moves a state by s - t",
            f"off by {gap(moved, expected):.1e} on the grid {grid.tolist()}",
            "Check the step size h = s - t of each step; an n-step loop makes n steps.",
        )


def check_point_mass(solver: Solver) -> None:
    """Data in one point is reached exactly from any start on the linear path, whose conditional flow is straight (T12)."""
    target = torch.tensor([1.0, -2.0], dtype=torch.float64)
    field = Field(lambda x, t: target.expand_as(x), linear_path(), DATA)
    x = torch.randn(5, 2, generator=generator(5), dtype=torch.float64)
    for grid in _grids()[:2]:
        end = integrate(field, x, solver, grid.double())
        require(
            close(end, target.expand_as(end), 1e-8),
            "A point mass is reached exactly",
            f"off by {gap(end, target.expand_as(end)):.1e} on the grid {grid.tolist()}",
            "The velocity (z - x)/(1 - t) is read from a data prediction: no stage may fall on t = 1.",
        )


def check_by_hand(solver: Solver, tolerance: float = 1e-9) -> None:
    """Stepping by hand from state None gives what `integrate` gives.

    An adaptive solver that is stepped by hand must land on every time, in place of reading its dense output there.
    """
    field = oracles.eight_gaussians(AffinePath(Trig()))
    x = torch.randn(6, 2, generator=generator(6), dtype=torch.float64)
    grid = torch.tensor([0.05, 0.2, 0.3, 0.6, 0.9], dtype=torch.float64)
    looped = integrate(field, x, solver, grid)
    hand, state = x, None
    for t, s in zip(grid.tolist(), grid.tolist()[1:], strict=False):
        hand, state = solver.step(field, hand, torch.tensor(t, dtype=x.dtype), torch.tensor(s, dtype=x.dtype), state)
    require(
        close(hand, looped, tolerance),
        "A solver can be stepped by hand",
        f"a gap of {gap(hand, looped):.1e} between step() from state None and integrate()",
    )


def check_reversal(solver: Solver) -> None:
    """Forward and back on a fine grid returns to the start (T1)."""
    field = oracles.gaussian(
        torch.tensor([1.0, 0.0]).double(), torch.diag(torch.tensor([0.5, 2.0])).double(), linear_path()
    )
    x = torch.randn(6, 2, generator=generator(7), dtype=torch.float64)
    grid = torch.linspace(0.0, 1.0, 129, dtype=torch.float64)
    back = integrate(field, integrate(field, x, solver, grid), solver, grid.flip(0))
    require(close(back, x, 0.05), "Forward and back returns to the start", f"off by {gap(back, x):.1e} after 128 steps")


def check_cost(solver: Solver) -> None:
    """`evaluations(n)` is what n steps take."""
    field = oracles.eight_gaussians(linear_path())
    for steps in (1, 2, 5):
        bound = Bound(field)
        x = torch.randn(3, 2, generator=generator(8), dtype=torch.float64)
        grid = torch.linspace(0.0, 0.9, steps + 1, dtype=torch.float64)
        state = solver.start(bound, x, grid, Noise(generator(9)))
        for t, s in itertools.pairwise(grid):
            x, state = solver.step(bound, x, t, s, state)
        require(
            bound.calls == solver.evaluations(steps),
            "A solver takes the evaluations that it claims",
            f"{bound.calls} calls in {steps} steps, evaluations({steps}) = {solver.evaluations(steps)}",
        )


def measured_order(solver: Solver, path: AffinePath, grids: tuple[int, ...] = (24, 48, 96)) -> float:
    """The slope of the error against the step size on an anisotropic Gaussian, whose flow is known exactly (T4)."""
    mean, scale = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.4, 1.7]).double()
    field = oracles.gaussian(mean, torch.diag(scale**2), path)
    x_0 = torch.randn(64, 2, generator=generator(10), dtype=torch.float64)
    first, last = 0.05, 0.9

    def place(t: float) -> Tensor:
        c = path.coefs(torch.tensor(t, dtype=torch.float64), x_0)
        return c.alpha * mean + (c.alpha**2 * scale**2 + c.sigma**2) ** 0.5 * x_0

    errors = []
    for steps in grids:
        grid = torch.linspace(first, last, steps + 1, dtype=torch.float64)
        end = integrate(field, place(first), solver, grid)
        errors.append(float((end - place(last)).pow(2).mean().sqrt()))
    if errors[-1] < 1e-13:
        return math.inf
    return math.log(errors[0] / errors[-1]) / math.log(grids[-1] / grids[0])


def check_order(solver: Solver) -> None:
    """The measured order is at least the declared one (a multistep start at order 1 caps it at 2)."""
    expected = solver.order if solver.one_step else min(solver.order, 2)
    for schedule in (Linear(), Trig()):
        slope = measured_order(solver, AffinePath(schedule))
        require(
            slope > expected - 0.25,
            f"The measured order is the declared one, {expected}",
            f"a slope of {slope:.2f} on {schedule!r}",
            "Look for a stage at a wrong time, or a coefficient at t in place of s.",
        )


def check_moments(solver: Solver, n: int = 20_000) -> None:
    """A stochastic solver ends at the mean, variance and fourth moment of the data, and repeats itself by seed (T14)."""
    mean, scale = torch.tensor([1.0, -1.0]).double(), torch.tensor([0.5, 1.5]).double()
    field = oracles.gaussian(mean, torch.diag(scale**2), linear_path())
    x_0 = torch.randn(n, 2, generator=generator(11), dtype=torch.float64)
    grid = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    x = integrate(field, x_0, solver, grid, noise=Noise(generator(12)))
    z = (x - mean) / scale
    for name, value, truth, bound in (
        ("mean", z.mean(0), 0.0, 0.04),
        ("variance", z.var(0), 1.0, 0.06),
        ("fourth moment", (z**4).mean(0), 3.0, 0.3),
    ):
        worst = float((value - truth).abs().max())
        require(
            worst < bound,
            f"The {name} of the data is reached",
            f"{value.tolist()} for {truth} after standardising",
            "A variance off by a factor hints at g and eta = g²/2 confused.",
        )
    again = integrate(field, x_0[:50], solver, grid[::20], noise=Noise(seeds=list(range(50))))
    part = integrate(field, x_0[20:30], solver, grid[::20], noise=Noise(seeds=list(range(20, 30))))
    require(
        close(part, again[20:30], 1e-12), "Sample i depends on seed i alone", f"a gap of {gap(part, again[20:30]):.1e}"
    )


def check_shapes(solver: Solver) -> None:
    """Shape and dtype are kept for states of rank 2 to 4 in float32 and float64, with finite values from 0 to 1."""
    for x in states():
        if x.ndim == 1:
            continue
        for dtype in (torch.float32, torch.float64):
            field = oracles.gaussian_mixture(torch.zeros(1, *x.shape[1:], dtype=dtype), 0.5, None, linear_path())
            end = integrate(
                field, x.to(dtype), solver, torch.linspace(0.0, 1.0, 4, dtype=torch.float64), noise=Noise(generator(13))
            )
            require(
                end.shape == x.shape and end.dtype == dtype,
                "Shape and dtype are kept",
                f"{tuple(end.shape)} {end.dtype}",
            )
            require(
                torch.isfinite(end).all(), "States stay finite from t = 0 to t = 1", f"{end.flatten()[:4].tolist()}"
            )
