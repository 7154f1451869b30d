"""`simulate`: any process of the theory through the one loop (theory T3, T5)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pathline._errors import lookup
from pathline._shapes import check_state
from pathline.solvers.base import Bound, Noise, Solver
from pathline.solvers.integrate import Solution, run
from pathline.solvers.processes import Process
from pathline.solvers.sde import EulerMaruyama, ProcessField, StochasticHeun

METHODS: dict[str, Solver] = {"euler_maruyama": EulerMaruyama(), "heun": StochasticHeun()}
"""What `simulate` knows by name."""


def simulate(
    process: Process,
    x: Tensor,
    times: "Tensor | Sequence[float]",
    *,
    method: "Solver | str" = "euler_maruyama",
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
    seeds: "Sequence[int] | None" = None,
    record: bool = True,
    progress: bool = False,
) -> Solution:
    """Run ``process`` from the states ``x`` (B, ...) at times[0] through the rising ``times``, in the process's own clock.

    ``noise`` is where increments come from, such as a `BrownianTree`; else ``seeds``, one per sample, or ``generator``.
    The `Solution` holds the states at all times unless ``record`` is False. Raises ValueError for times that do not rise.
    """
    check_state(x)
    if not isinstance(process, Process):
        raise TypeError(f"process must be a Process such as OrnsteinUhlenbeck(), got {type(process).__name__}")
    solver = lookup("method", method, METHODS) if isinstance(method, str) else method
    if not solver.stochastic:
        raise ValueError(f"method must be a stochastic solver, got {method!r}: known names: {', '.join(METHODS)}")
    if (noise is not None) + (generator is not None) + (seeds is not None) > 1:
        raise ValueError("give one of noise, generator and seeds: each says where the increments come from")
    grid = torch.as_tensor(times, dtype=torch.float64).cpu()
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() > 0.0).all() and torch.isfinite(grid).all()):
        raise ValueError(f"times must be at least two finite times that rise, got {grid.tolist()}")
    if noise is None:
        noise = Noise(generator, None if seeds is None else list(seeds))
    with torch.no_grad():
        return run(Bound(ProcessField(process)), x, solver, grid, noise=noise, record=record, progress=progress)
