"""Fitting the unknowns of a non-stationary solver: least squares over particles (theory T40).

Few unknowns (times and coefficients) face many residuals (particles times dimensions), so the fit is Levenberg-Marquardt.
The Jacobian comes from forward-mode differentiation, whose memory does not grow with the number of evaluations, in
chunks of particles of which only J'J is kept. For a large network few particles do: 128 of them with 6 evaluations of the digits
model left half of the error that 300 steps of Adam on 512 did, and 256 with 4 or 5 evaluations left 0.7 of that of 128. Networks
without forward-mode derivatives are fitted by Adam with recomputed steps.

A fit to the ends first minimises Cauchy's loss, mean log(1 + r²/c²) with c = 5 median r, since a few particles rule the mean of
r² (see `robust`), and then that mean. A second fit begins with the states on the way too (see `course`), which keeps particles
near a boundary between modes on their side of it. In 64 dimensions that one comes nearer; in two the other often does, and always
where iterations are few. So the end of each stage of both is a candidate, for noise that the fits have not seen to decide between.
Of a large network, of which a fit takes minutes, only the second is made.
Adam, which needs all of its iterations for the ends, fits those alone: with half of them on the way it ended a fifth worse on the
digits model.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pathline.solvers import grids
from pathline.solvers.base import Bound
from pathline.solvers.nonstationary import clock_of, time_of
from pathline.solvers.robust import cauchy, cauchy_weights, squared, typical
from pathline.solvers.unknowns import Misses, Problem, Shape, adams_bashforth, first_time, misses, pack

Candidate: TypeAlias = tuple[Tensor, Shape]
"""Unknowns and what they are."""
Tick: TypeAlias = Callable[[int], None]
"""Is told how many iterations are done."""
PILOT = 256
"""Particles on which starting points are compared."""
SCALE = 5.0
"""Cauchy's scale in medians of the particles' errors."""
RATE = 1e-2
"""Of Adam, at the beginning."""
JACOBIAN = 2**25
"""Numbers of a Jacobian that are held at a time."""
CHEAP = 2e6
"""Operations of an evaluation, a sample, up to which derivatives along every unknown are taken of all particles: an MLP of 4
layers of 256 takes 0.4 million, a transformer of 4 layers on 16 patches of the digits 6 million."""


def scale_of(squares: Tensor) -> float:
    """Cauchy's scale for particles with these squared errors."""
    return max(SCALE * float(squares.median().sqrt()), 1e-12)


def starting_points(problem: Problem, what: str, grid_points: int) -> list[Candidate]:
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


@dataclass(frozen=True)
class Stage:
    """What the iterations of a fit between two shares of them lower: the errors of ``problem``, by a robust loss or their squares."""

    problem: Problem
    robust: bool
    begin: float
    end: float

    def steps(self, iterations: int) -> int:
        """How many of a fit's iterations are its own."""
        return round(self.end * iterations) - round(self.begin * iterations)


class Fit:
    """A fit in stages: to the ends of ``problem`` alone, or first to the states before them too, those of ``way``."""

    def __init__(self, problem: Problem, way: Problem | None, method: str) -> None:
        self.problem, self.method = problem, METHODS[method]
        if way is None:
            self.stages = [Stage(problem, True, 0.0, 0.5), Stage(problem, False, 0.5, 1.0)]
        else:
            self.stages = [
                Stage(way, False, 0.0, 0.5), Stage(problem, True, 0.5, 0.75), Stage(problem, False, 0.75, 1.0)
            ]  # fmt: skip

    def run(self, starts: list[Candidate], sprint: int, iterations: int, tick: Tick) -> list[Candidate]:
        """The unknowns at the end of each stage, from the start that comes furthest in a sprint."""
        unknowns, shape = self._race(starts, sprint, tick)
        begun, ends = len(starts) * sprint, []
        for stage in self.stages:
            unknowns = self.method(stage, unknowns, shape, iterations, _later(tick, begun))
            begun += stage.steps(iterations)
            ends.append((unknowns, shape))
        return ends

    def _race(self, starts: list[Candidate], iterations: int, tick: Tick) -> Candidate:
        """The start that a short first stage on few particles brings furthest, where it has got to."""
        first, judge = self.stages[0], self.problem.first(PILOT)
        sprint = Stage(first.problem.first(PILOT), first.robust, 0.0, 1.0)
        ends = [
            (self.method(sprint, unknowns, shape, iterations, _later(tick, k * iterations)), shape)
            for k, (unknowns, shape) in enumerate(starts)
        ]
        return min(ends, key=lambda end: typical(misses(judge, *end)))


def _later(tick: Tick, begun: int) -> Tick:
    """``tick`` for iterations that begin when ``begun`` others are done."""
    return lambda done: tick(begun + done)


def _free(unknowns: Tensor, n: int, what: str) -> Tensor:
    """Indices of the unknowns that the fit may move."""
    every = torch.arange(len(unknowns))
    return {"all": every, "times": every[: n + 1], "coefficients": every[n + 1 :]}[what]


def gauss_newton(stage: Stage, unknowns: Tensor, shape: Shape, iterations: int, tick: Tick) -> Tensor:
    """Levenberg-Marquardt on all particles; raises what the network raises if it has no forward-mode derivative."""
    problem, robust = stage.problem, stage.robust
    free = _free(unknowns, problem.n, shape.what)
    squares = misses(problem, unknowns, shape)
    damping, scale, gains = 1e-2, math.inf, []
    for done in range(stage.steps(iterations)):
        tick(done)
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
    return unknowns


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
    states = 1 if problem.course is None else problem.n
    rows = max(1, min(problem.chunk, JACOBIAN // (states * problem.x_0[0].numel() * len(free))))
    for part, counts in zip(problem.parts(rows), weights.split(rows), strict=True):
        roots = counts.sqrt().to(part.x_0).reshape(-1, *(1,) * part.x_0.ndim)
        found, jacobian = _weighed(Misses(part, shape, unknowns), roots, there, directions)
        gram += jacobian.T @ jacobian
        slope += jacobian.T @ found
    return gram.to(unknowns.device), slope.to(unknowns.device)


def _weighed(off: Misses, roots: Tensor, unknowns: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """(what is missed, its derivatives along the directions) of each particle times its root, flat and in the dtype of the unknowns."""

    def missed(theta: Tensor) -> Tensor:
        return (roots * off(theta)).flatten()

    def column(v: Tensor) -> Tensor:
        return torch.func.jvp(missed, (unknowns,), (v,))[1]  # pyright: ignore[reportReturnType]

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the fused kernels know no forward mode
        jacobian = torch.vmap(column, out_dims=1, chunk_size=8)(directions)
    return missed(unknowns).to(unknowns), jacobian.to(unknowns)


def adam(stage: Stage, unknowns: Tensor, shape: Shape, iterations: int, tick: Tick) -> Tensor:
    """Adam on chunks of the particles, at a rate that decays over the whole fit."""
    free = _free(unknowns, stage.problem.n, shape.what)
    parts, steps = stage.problem.parts(), stage.steps(iterations)
    with torch.enable_grad():
        theta = unknowns[free].clone().requires_grad_()
        optimiser = torch.optim.Adam([theta], betas=(0.9, 0.99))
        for part, step in zip(itertools.cycle(parts), range(steps)):
            tick(step)
            done = stage.begin + (stage.end - stage.begin) * step / steps
            optimiser.param_groups[0]["lr"] = RATE * 0.5 * (1.0 + math.cos(math.pi * done))
            full = unknowns.index_copy(0, free, theta)
            squares = squared(Misses(part, shape, full)(full, recompute=True))
            optimiser.zero_grad()
            torch.log(cauchy(squares, scale_of(squares.detach()) if stage.robust else math.inf)).backward()
            torch.nn.utils.clip_grad_norm_([theta], 5.0)
            optimiser.step()
    return unknowns.index_copy(0, free, theta.detach())


Method: TypeAlias = Callable[[Stage, Tensor, Shape, int, Tick], Tensor]
"""(stage, unknowns, their shape, iterations of the whole fit, what is told of them) to better unknowns."""
METHODS: dict[str, Method] = {"gauss_newton": gauss_newton, "adam": adam}


def suitable(problem: Problem, what: str) -> str:
    """The plan for a field: "adam" if it has no forward-mode derivatives, else "gauss_newton", or "few" if the products of
    matrices of one evaluation take more than `CHEAP` operations a sample."""
    one = problem.first(1)
    with FlopCounterMode(display=False) as counter:
        Bound(one.field, one.cond)(one.x_0, torch.tensor(0.5, dtype=torch.float64))
    first = first_time(problem.field)
    middle = torch.tensor([0.5 * (1.0 + first)], dtype=torch.float64)
    unknowns = pack(middle, [torch.ones_like(middle)], first)
    try:
        normal_equations(replace(one, n=1), unknowns, Shape(what, 1), torch.arange(1), torch.ones_like(middle))
    except (NotImplementedError, RuntimeError):
        return "adam"
    return "few" if counter.get_total_flops() > CHEAP else "gauss_newton"
