"""Changing given states with a trained field: from the middle of the way, there and back, and between two of them (theory T1, T8)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pathline._shapes import check_state
from pathline._typing import Scalar
from pathline.field import BaseField
from pathline.guidance import Guidance, guide
from pathline.likelihood import encode
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.integrate import Solution, as_cond, as_solver, run
from pathline.solvers.sampling import choose_grid, evaluating, finish
from pathline.times import TimeLaw


def resume(
    field: BaseField,
    x_t: Tensor,
    t: float,
    *,
    solver: "Solver | str" = "heun",
    steps: int | None = None,
    evaluations: int | None = None,
    grid: TimeLaw | None = None,
    guidance: "Guidance | Scalar | None" = None,
    generator: torch.Generator | None = None,
    seeds: "Sequence[int] | None" = None,
    progress: bool = False,
    record: bool = False,
    **cond: Any,
) -> Solution:
    """Solve from states ``x_t`` (B, ...) at the time ``t`` in [0, 1) to data. Arguments are those of `pl.solve`; the steps share [t, 1]."""
    check_state(x_t, "x_t")
    if not 0.0 <= t < 1.0:
        raise ValueError(f"t must lie in [0, 1), got {t}")
    solver = as_solver(solver)
    if solver.own_grid(field.path) is not None and t > 0.0:
        raise ValueError(
            "this solver brings its own grid from noise to data, and cannot start on the way: take another one"
        )
    field = guide(field, guidance)
    field.check_conditions(cond)
    noise = Noise(generator, None if seeds is None else list(seeds))
    with evaluating(field), torch.inference_mode():
        moments = choose_grid(field, solver, steps, evaluations, grid)
        moments = t + (1.0 - t) * moments
        bound = Bound(field, as_cond(cond, len(x_t), x_t.device))
        solution = finish(
            bound, solver, run(bound, x_t, solver, moments, noise=noise, record=record, progress=progress)
        )
    keep = None if solution.trajectory is None else solution.trajectory.clone()
    return replace(solution, x=solution.x.clone(), trajectory=keep)


def edit(
    field: BaseField,
    x_1: Tensor,
    strength: float,
    *,
    generator: torch.Generator | None = None,
    seeds: "Sequence[int] | None" = None,
    **options: Any,
) -> Tensor:
    """SDEdit (Meng et al. 2022, arXiv 2108.01073): ``x_1`` (B, ...) is noised to t = 1 - ``strength`` and sampled from there.

    ``strength`` in (0, 1]: little keeps the state, 1 forgets it. Strokes become pictures, pictures become others of their kind or of the
    condition given. ``options`` are those of `resume`, conditions included; ``seeds``, one per sample, draw the noise of each.
    """
    check_state(x_1, "x_1")
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"strength must lie in (0, 1] (1 forgets the state), got {strength}")
    if seeds is not None and len(seeds) != len(x_1):
        raise ValueError(f"seeds must have one entry per sample, {len(x_1)}, got {len(seeds)}")
    t = torch.tensor(1.0 - strength, dtype=torch.float64)
    x_0 = Noise(generator, None if seeds is None else list(seeds)).normal(x_1, t, t)
    solver = as_solver(options.get("solver", "heun"))
    # noise of the way is drawn from streams of its own, lest a sample meets its first noise again
    ways = {"seeds": [int(s) ^ 0x5DEECE66 for s in seeds]} if seeds is not None and solver.stochastic else {}
    if seeds is None and solver.stochastic:
        ways = {"generator": generator}
    return resume(field, field.path.sample(x_0, x_1, t), 1.0 - strength, **ways, **options).x


def translate(
    field: BaseField,
    x_1: Tensor,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    *,
    strength: float = 1.0,
    solver: "Solver | str" = "dopri5",
    steps: int | None = None,
    guidance: "Guidance | Scalar | None" = None,
) -> Tensor:
    """Inversion and edit: ``x_1`` (B, ...) is carried back to t = 1 - ``strength`` under the conditions ``source``, and forward under ``target``.

    The flow there and back is the identity where the conditions agree (T1), so what the condition does not change stays. ``solver`` is
    deterministic, with ``steps`` each way; ``guidance`` acts on the way forward only, as inverting a guided flow amplifies errors.
    (Su et al. 2023, arXiv 2203.08382: two conditions of one model; inversion of DDIM in Song et al. 2021.)
    """
    check_state(x_1, "x_1")
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"strength must lie in (0, 1], got {strength}")
    t = 1.0 - strength
    solver = as_solver(solver)
    if t == 0.0:
        x_0 = encode(field, x_1, solver=solver, steps=steps, **source)
    else:
        last = 1.0 - 1e-3 if field.singular(torch.ones((), dtype=torch.float64)) else 1.0
        times = torch.linspace(t, last, (solver.default_steps if steps is None else steps) + 1, dtype=torch.float64)
        x_0 = encode(field, x_1, solver=solver, grid=times, **source)
    return resume(field, field.path.start(x_0), t, solver=solver, steps=steps, guidance=guidance, **target).x


def slerp(a: Tensor, b: Tensor, share: "Tensor | float") -> Tensor:
    """The points ``share`` of the way from ``a`` to ``b``, (B, ...), along the great circle: sin((1-s) w) a/sin w + sin(s w) b/sin w.

    w is the angle between the samples, each as one vector; (nearly) parallel ones are joined by a line. Of two Gaussian noises it
    has the length of one, where the straight line falls to 1/sqrt(2) of it. ``share`` is a number or (B,).
    """
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    check_state(a, "a")
    share = torch.as_tensor(share, dtype=a.dtype, device=a.device)
    share = share.reshape(-1, *(1,) * (a.ndim - 1)) if share.ndim else share
    dims = tuple(range(1, a.ndim)) or (0,)
    unit_a, unit_b = (v / torch.linalg.vector_norm(v, dim=dims, keepdim=True).clamp(min=1e-12) for v in (a, b))
    cosine = (unit_a * unit_b).sum(dims, keepdim=True).clamp(-1.0, 1.0)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    flat = sine < 1e-4
    safe = torch.where(flat, 1.0, sine)
    left = torch.where(flat, 1.0 - share, torch.sin((1.0 - share) * angle) / safe)
    right = torch.where(flat, share, torch.sin(share * angle) / safe)
    return left * a + right * b


def interpolate(
    field: BaseField,
    x_a: Tensor,
    x_b: Tensor,
    n: int = 9,
    *,
    solver: "Solver | str" = "dopri5",
    steps: int | None = None,
    **cond: Any,
) -> Tensor:
    """(n, B, ...): samples between ``x_a`` and ``x_b`` (B, ...), both encoded, joined by `slerp` in noise, and decoded; the ends included."""
    if n < 2:
        raise ValueError(f"n must be at least 2, the two ends, got {n}")
    noise_a, noise_b = (encode(field, x, solver=solver, steps=steps, **cond) for x in (x_a, x_b))
    rows = torch.cat([slerp(noise_a, noise_b, float(s)) for s in torch.linspace(0.0, 1.0, n)])
    many: dict[str, Any] = {k: torch.cat([v] * n) if isinstance(v, Tensor) and v.ndim else v for k, v in cond.items()}
    x = resume(field, field.path.start(rows), 0.0, solver=solver, steps=steps, **many).x
    return x.reshape(n, *x_a.shape)
