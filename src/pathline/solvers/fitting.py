"""Fitting the unknowns of a non-stationary solver: least squares over particles (theory T40).

Few unknowns (times and coefficients) face many residuals (particles times dimensions), so the fit is Levenberg-Marquardt.
The Jacobian comes from forward-mode differentiation, whose memory does not grow with the number of evaluations, in
chunks of particles of which only J'J is kept. Networks without forward-mode derivatives are fitted by Adam with
recomputed steps. Half of the iterations minimise Cauchy's loss, mean log(1 + r²/c²) with c = 5 median r, the rest the
mean of r²: a few particles rule that mean (see `robust`), and a fit that begins with it follows them into a poor
minimum. Whether following them at last helps others depends on the field, so both ends are candidates, for noise that
the fit has not seen to decide between.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pathline.solvers import grids
from pathline.solvers.base import Bound
from pathline.solvers.integrate import bar
from pathline.solvers.nonstationary import clock_of, time_of
from pathline.solvers.robust import cauchy, cauchy_weights, squared, typical
from pathline.solvers.unknowns import Problem, Shape, adams_bashforth, first_time, misses, pack, solve_with

PILOT = 256
"""Particles on which starting points are compared."""
SCALE = 5.0
"""Cauchy's scale in medians of the particles' errors."""
CHEAP = 2e6
"""Operations of an evaluation, a sample, up to which derivatives along every unknown are worth their time: an MLP of 4 layers
of 256 takes 0.4 million, a transformer of 4 layers on 16 patches of the digits 6 million."""


def scale_of(squares: Tensor) -> float:
    """Cauchy's scale for particles with these squared errors."""
    return max(SCALE * float(squares.median().sqrt()), 1e-12)


def starting_points(problem: Problem, what: str, grid_points: int) -> list[tuple[Tensor, Shape]]:
    """Adams-Bashforth solvers on closed-form grids and on those fitted to ``grid_points`` particles, as unknowns, the best
    first."""
    n, schedule, first = problem.n, problem.field.path.schedule, first_time(problem.field)
    begin, _ = clock_of(schedule, torch.zeros((), dtype=torch.float64))
    u = torch.arange(n, dtype=torch.float64) / n
    clocks = [begin + (1.0 - begin) * bent
              for power in (0.7, 1.0, 1.4, 2.0) for bent in (u**power, torch.sin(0.5 * math.pi * u) ** (2.0 * power))]  # fmt: skip
    few, fewer = problem.first(PILOT), problem.first(grid_points)
    for name in ("ab2", "ab3"):
        fitted = grids.fit(problem.field, n, fewer.x_0, solver=name, **fewer.cond)
        clocks.append(clock_of(schedule, fitted[:-1].clone())[0])
    found: list[tuple[float, Tensor, Shape]] = []
    for order in range(1, min(4, n) + 1):
        for r in clocks:
            t = time_of(schedule, r).clamp(min=first + 1e-3 * (1.0 - first))
            if not bool((t.diff() > 0).all()):
                continue
            r, _ = clock_of(schedule, t)
            unknowns, shape = pack(t, adams_bashforth(r, begin, order), first), Shape(what, order)
            error = typical(misses(few, unknowns, shape))
            if math.isfinite(error):
                found.append((error, unknowns, shape))
    if not found:
        raise ValueError("no starting point has finite endpoints: is the field finite on its path?")
    return [(unknowns, shape) for _, unknowns, shape in sorted(found, key=lambda each: each[0])]


def race(
    problem: Problem, starts: list[tuple[Tensor, Shape]], method: "Method", iterations: int
) -> tuple[Tensor, Shape]:
    """The start that a short fit to few particles brings furthest, where it has got to."""
    few = problem.first(PILOT)
    ends = [(end, shape) for unknowns, shape in starts for end in method(few, unknowns, shape, iterations, False)]
    return min(ends, key=lambda end: typical(misses(few, *end)))


def _free(unknowns: Tensor, n: int, what: str) -> Tensor:
    """Indices of the unknowns that the fit may move."""
    every = torch.arange(len(unknowns))
    return {"all": every, "times": every[: n + 1], "coefficients": every[n + 1 :]}[what]


def gauss_newton(
    problem: Problem, unknowns: Tensor, shape: Shape, iterations: int | None, progress: bool
) -> list[Tensor]:
    """Levenberg-Marquardt on all particles; raises what the network raises if it has no forward-mode derivative."""
    free = _free(unknowns, problem.n, shape.what)
    total = 40 if iterations is None else iterations
    squares = misses(problem, unknowns, shape)
    ends = []
    for robust, count in ((True, (total + 1) // 2), (False, total // 2)):
        damping, scale, gains = 1e-2, math.inf, []
        for _ in bar(range(count), progress, "tune"):
            scale = min(scale, scale_of(squares)) if robust else math.inf
            gram, slope = normal_equations(problem, unknowns, shape, free, cauchy_weights(squares, scale))
            step = _descend(problem, unknowns, shape, free, gram, slope, squares, scale, damping)
            if step is None:
                break
            trial, found, damping = step
            gains.append(float(cauchy(found, scale) / cauchy(squares, scale)))
            unknowns, squares, damping = trial, found, max(damping / 5.0, 1e-10)
            if math.prod(gains[-5:]) > 0.98 and len(gains) >= 5:  # five steps that gained under one percent in RMS
                break
        ends.append(unknowns)
    return ends


def _descend(
    problem: Problem,
    unknowns: Tensor,
    shape: Shape,
    free: Tensor,
    gram: Tensor,
    slope: Tensor,
    squares: Tensor,
    scale: float,
    damping: float,
) -> tuple[Tensor, Tensor, float] | None:
    """(unknowns, squared errors, damping) of a damped step that lowers the loss, damping harder up to eight times; None if
    none does."""
    diagonal = gram.diagonal()
    lifted = torch.diag(diagonal.clamp(min=1e-10 * float(diagonal.max())))
    for _ in range(8):
        trial = unknowns.index_add(0, free, -torch.linalg.solve(gram + damping * lifted, slope))
        found = misses(problem, trial, shape)
        if bool(cauchy(found, scale) < cauchy(squares, scale)):
            return trial, found, damping
        damping *= 4.0
    return None


def normal_equations(
    problem: Problem, unknowns: Tensor, shape: Shape, free: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """(J'WJ, J'W residual) summed over the particles, which count by ``weights``; by forward-mode differentiation along each
    free unknown."""
    there = unknowns.to(problem.x_0.device)  # a batch of directions is no scalar, which alone may be on another device
    gram = there.new_zeros(len(free), len(free))
    slope = there.new_zeros(len(free))
    directions = torch.eye(len(unknowns)).to(there)[free]
    for (bound, x_0, target), counts in zip(problem.parts(), weights.split(problem.chunk), strict=True):
        roots = counts.sqrt().to(x_0).reshape(-1, *(1,) * (x_0.ndim - 1))

        def residual(
            theta: Tensor, bound: Bound = bound, x_0: Tensor = x_0, target: Tensor = target, roots: Tensor = roots
        ) -> Tensor:
            return (roots * (solve_with(theta, shape, problem, bound, x_0, False) - target)).flatten()

        def column(v: Tensor, residual: Callable[[Tensor], Tensor] = residual) -> Tensor:
            return torch.func.jvp(residual, (there,), (v,))[1]  # pyright: ignore[reportReturnType]

        with torch.nn.attention.sdpa_kernel(
            torch.nn.attention.SDPBackend.MATH
        ):  # the fused kernels know no forward mode
            jacobian = torch.vmap(column, out_dims=1, chunk_size=8)(directions).to(gram)
        gram += jacobian.T @ jacobian
        slope += jacobian.T @ residual(there).to(gram)
    return gram.to(unknowns.device), slope.to(unknowns.device)


def adam(problem: Problem, unknowns: Tensor, shape: Shape, iterations: int | None, progress: bool) -> list[Tensor]:
    """Adam on chunks of the particles with a decaying rate: where its robust half ends, and the best on all of them."""
    free = _free(unknowns, problem.n, shape.what)
    steps = 250 if iterations is None else iterations
    best, least, halfway = unknowns, float(misses(problem, unknowns, shape).mean()), unknowns
    with torch.enable_grad():
        theta = unknowns[free].clone().requires_grad_()
        optimiser = torch.optim.Adam([theta], lr=1e-2, betas=(0.9, 0.99))
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        parts = problem.parts()
        for step in bar(range(steps), progress, "tune"):
            bound, x_0, target = parts[step % len(parts)]
            full = unknowns.index_copy(0, free, theta)
            squares = squared(solve_with(full, shape, problem, bound, x_0, True) - target)
            scale = scale_of(squares.detach()) if 2 * step < steps else math.inf
            optimiser.zero_grad()
            torch.log(cauchy(squares, scale)).backward()
            torch.nn.utils.clip_grad_norm_([theta], 5.0)
            optimiser.step()
            decay.step()
            if step == (steps - 1) // 2:
                halfway = unknowns.index_copy(0, free, theta.detach())
            if step % 50 == 49 or step == steps - 1:
                full = unknowns.index_copy(0, free, theta.detach())
                found = float(misses(problem, full, shape).mean())
                if found < least:
                    best, least = full, found
    return [halfway, best]


Method: TypeAlias = Callable[[Problem, Tensor, Shape, int | None, bool], list[Tensor]]
METHODS: dict[str, Method] = {"gauss_newton": gauss_newton, "adam": adam}


def suitable(problem: Problem, what: str) -> str:
    """The method for a field: "gauss_newton", or "adam" for one that has no forward-mode derivatives, or for which the
    products of matrices of one evaluation take more than `CHEAP` operations a sample."""
    bound, x_0, target = problem.parts()[0]
    one = bound.take(torch.arange(1))
    with FlopCounterMode(display=False) as counter:
        one(x_0[:1], torch.tensor(0.5, dtype=torch.float64))
    if counter.get_total_flops() > CHEAP:
        return "adam"
    first = first_time(problem.field)
    probe = Problem(problem.field, x_0[:1], target[:1], one.cond, 1, 1)
    middle = torch.tensor([0.5 * (1.0 + first)], dtype=torch.float64)
    unknowns = pack(middle, [torch.ones_like(middle)], first)
    try:
        normal_equations(probe, unknowns, Shape(what, 1), torch.arange(1), torch.ones_like(middle))
    except (NotImplementedError, RuntimeError):
        return "adam"
    return "gauss_newton"
