"""What sampled paths of a model show: the marginals on the way, and how straight the way is (theory T8, T12)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline._shapes import expand_time
from pathline.field import BaseField
from pathline.paths import AffinePath
from pathline.solvers import Solver, solve
from pathline.verify.bayes import noised

Distance: TypeAlias = Callable[[Tensor, Tensor], float]
"""A distance between two sets of states (n, ...)."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Sampled paths of the model at all times of the solver."""

    times: Tensor
    states: Tensor
    """(T, n, ...)."""
    evaluations: int

    def at(self, t: float) -> Tensor:
        """The states at ``t``, linear between the solver's times."""
        right = int(torch.searchsorted(self.times.contiguous(), t).clamp(1, len(self.times) - 1))
        low, high = float(self.times[right - 1]), float(self.times[right])
        place = min(max((t - low) / (high - low), 0.0), 1.0)
        return torch.lerp(self.states[right - 1], self.states[right], place)


def sampled_paths(
    field: BaseField, data: Tensor, y: Tensor | None, n: int, solver: "Solver | str", steps: int, draws: torch.Generator
) -> Paths:
    """Paths of the model from noise, with labels as in the data."""
    chosen = torch.randperm(len(data), generator=draws)[:n]
    x_0 = torch.randn(len(chosen), *data.shape[1:], generator=draws, dtype=data.dtype).to(data.device)
    cond: dict[str, Any] = {} if y is None else {"y": y[chosen]}
    solution = solve(field, x_0, solver=solver, steps=steps, record=True, **cond)
    states = torch.as_tensor(solution.trajectory)
    return Paths(times=solution.times, states=states, evaluations=solution.evaluations)


def along_paths(
    paths: Paths, data: tuple[Tensor, Tensor], t: float, path: AffinePath, distance: Distance, draws: torch.Generator
) -> dict[str, float]:
    """Distance of the model's states at ``t`` to the path of fresh data, and that of training data: (train, fresh)."""
    states = paths.at(t)
    sets = []
    for points in data:
        x_1 = points[torch.randperm(len(points), generator=draws)[: len(states)]]
        sets.append(noised(path, x_1, torch.tensor(t, dtype=torch.float64), draws)[1])
    return {"distance": distance(states, sets[1]), "floor": distance(sets[0], sets[1])}


def bend(paths: Paths, low: float, high: float) -> float:
    """E|dx/dt - (x_1 - x_0)|²/E|x_1 - x_0|² over the part of the paths within [low, high]."""
    middle = 0.5 * (paths.times[1:] + paths.times[:-1])
    inside = (middle >= low) & (middle <= high)
    if not bool(inside.any()):
        return float("nan")
    gaps = paths.times.diff()[inside].to(paths.states)
    speed = paths.states.diff(dim=0)[inside.to(paths.states.device)] / expand_time(gaps, paths.states)
    whole = paths.states[-1] - paths.states[0]
    off = (speed - whole).square().flatten(1).mean(1)
    return float((off * gaps).sum() / gaps.sum() / whole.square().mean())


def projected_distance(seed: int, lines: int = 256) -> Distance:
    """The root mean square of W2 between projections to random lines; of equal sets of states."""

    def distance(a: Tensor, b: Tensor) -> float:
        a, b = a.flatten(1), b.flatten(1)
        n = min(len(a), len(b))
        z = torch.randn(a.shape[1], lines, generator=torch.Generator().manual_seed(seed), dtype=a.dtype).to(a.device)
        z = z / z.norm(dim=0)
        return float(((a[:n] @ z).sort(0).values - (b[:n] @ z).sort(0).values).square().mean().sqrt())

    return distance
