"""Exact mode: particles of an exact field, what stands behind them, and how well a solver does. No Gradio here."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pathline import times as time_laws
from pathline.field import BaseField
from pathline.guidance import guide
from pathline.metrics import sliced_wasserstein2
from pathline.metrics.copying import nearest_neighbours
from pathline.playground.payload import Kind, Packed, pack
from pathline.playground.settings import PREDICTIONS, Points, Setting, exact_field, predicting
from pathline.predictions import DATA, DISPLACEMENT, VELOCITY
from pathline.solvers import Solution, solve
from pathline.solvers.integrate import as_cond
from pathline.testing.oracles import Oracle
from pathline.viz.plane import raster
from pathline.viz.style import PALETTE

FRAMES, ARROWS, CELLS = 21, 17, 64
"""Times, arrows a side and cells a side of what is drawn behind the particles."""
MOST_CLASSES = len(PALETTE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Play:
    """Particles that moved, and the fields that moved them."""

    points: Points
    setting: Setting
    exact: Oracle
    field: BaseField
    """What the solver was given, before guidance."""
    solution: Solution
    seconds: float

    @property
    def states(self) -> Tensor:
        """(frames, particles, 2)."""
        return torch.as_tensor(self.solution.trajectory)

    @property
    def times(self) -> Tensor:
        return self.solution.times

    def condition(self, count: int) -> dict[str, Any]:
        """The class as `Field.__call__` takes it, for ``count`` states."""
        cond: dict[str, Any] = {} if self.setting.label is None else {"y": self.setting.label}
        return as_cond(cond, count, torch.device("cpu"))

    def units(self, times: Tensor) -> Tensor:
        """What states at ``times`` are divided by to be seen: alpha + sigma where a path starts wide (VE, EDM), else 1."""
        if not self.exact.path.stops_short():
            return torch.ones_like(times)
        coefs = self.exact.path.schedule(times)
        return torch.as_tensor(coefs.alpha + coefs.sigma, dtype=times.dtype).expand_as(times)


def play(points: Points, setting: Setting) -> Play:
    """Move particles from noise to data; the noise depends on the seed and the number of particles alone."""
    exact = exact_field(points, setting)
    field = predicting(exact, setting)
    begin = time.perf_counter()
    draw = torch.Generator().manual_seed(setting.seed)
    if points.source is None:
        solution = solve(field, (setting.particles, 2), generator=draw, **setting.options())
    else:
        solution = solve(field, points.source.draw(setting.particles, draw), **setting.options())
    return Play(
        points=points, setting=setting, exact=exact, field=field, solution=solution, seconds=time.perf_counter() - begin
    )


def square(points: Points) -> tuple[float, float, float, float]:
    """The box that shows the data, and standard normal noise or the source: (left, right, bottom, top)."""
    ends = points.x if points.source is None else torch.cat([points.x, points.source.x])
    half = max(3.2, 1.12 * float(ends.abs().max()))
    return -half, half, -half, half


def view(shown: Play, title: str = "", kind: Kind = "f4") -> dict[str, Any]:
    """What the canvas needs to move the particles; ``kind`` u2 takes half of the room."""
    states = shown.states / shown.units(shown.times)[:, None, None].to(shown.states)
    classes = _classes(shown)
    return {
        "title": title,
        "times": pack(shown.times),
        "states": pack(states, kind),
        "classes": None if classes is None else pack(classes, "u1", (0, 255)),
        "data": pack(shown.points.x, kind),
    }


def flow(shown: "list[tuple[str, Play]]", tag: str) -> dict[str, Any]:
    """The message that starts the canvas, one view for each play."""
    return {"kind": "flow", "id": tag, "box": square(shown[0][1].points), "views": [view(p, name) for name, p in shown]}


def backdrop(shown: Play, *, frames: int = FRAMES, cells: int = CELLS) -> dict[str, Packed]:
    """Arrows of what the network predicts and the density p_t, at ``frames`` times.

    Arrows (T, ARROWS², 2) and densities (T, cells, cells) as sqrt(p/max p), both over the box of `square`, row by row from
    below. Nine arrows in ten are at most 1 long, at each time. A data prediction is drawn as the way there, D - x. Where
    states are shown divided by alpha + sigma, so is this, and the velocity of what is shown has the direction of the
    displacement (T36).
    """
    box = square(shown.points)
    moments = time_laws.cosine().grid(frames - 1)
    inside = torch.cat([moments[:-1], torch.tensor([0.999])])
    field, prediction = guide(shown.field, _weight(shown)), PREDICTIONS[shown.setting.prediction][1]
    scaled = shown.exact.path.stops_short()
    read = DISPLACEMENT if scaled and prediction is VELOCITY else prediction
    spots, places = (torch.from_numpy(raster(box, side)[0]).float() for side in (ARROWS, cells))
    arrows, densities = [], []
    with torch.inference_mode():
        for t, unit in zip(inside, shown.units(inside).tolist(), strict=True):
            value = field(unit * spots, t, **shown.condition(len(spots))).read(read)
            value = value - unit * spots if read is DATA else value
            longest = torch.linalg.vector_norm(value, dim=1).quantile(0.9).clamp(min=1e-9)
            arrows.append((value / longest).clamp(-4.0, 4.0))
            log = shown.exact.log_prob(unit * places, t, **shown.condition(len(places)))
            densities.append((0.5 * (log - log.max())).exp().reshape(cells, cells))
    return {
        "times": pack(moments),
        "arrows": pack(torch.stack(arrows), "u2", (-4.0, 4.0)),
        "density": pack(torch.stack(densities), "u1", (0.0, 1.0)),
    }


def backdrops(shown: "list[tuple[str, Play]]", tag: str) -> dict[str, Any]:
    """The message that adds what stands behind to the canvas that shows ``tag``."""
    return {"kind": "backdrop", "id": tag, "views": [backdrop(p) for _, p in shown]}


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a play cost and how it ended."""

    evaluations: int
    steps: int
    seconds: float
    stretch: float
    """Median over particles of the length of the way over the distance of its ends; 1 for straight lines."""
    bend: float
    """E|dx/dt - (x_1 - x_0)|²/E|x_1 - x_0|²: 0 where particles run straight at constant speed."""
    distance: "float | None"
    """Sliced W2 to exact draws; None under guidance, which aims at another distribution."""
    floor: "float | None"
    """The same distance between exact draws, the mean of a few pairs."""


def summarise(shown: Play, draws: int = 2_000) -> Summary:
    """How straight the particles went, and how near to the data they came."""
    from pathline.verify.trajectories import Paths, bend

    states, times = shown.states, shown.times
    ways = torch.linalg.vector_norm(states.diff(dim=0), dim=2).sum(0)
    apart = torch.linalg.vector_norm(states[-1] - states[0], dim=1)
    paths = Paths(times=times, states=states, evaluations=shown.solution.evaluations)
    distance = floor = None
    if shown.setting.guidance == 1.0:
        draw = torch.Generator().manual_seed(shown.setting.seed + 1)
        real = [shown.exact.sample(draws, 1.0, draw, **_given(shown)) for _ in range(3)]
        distance = sum(_apart(shown.solution.x, x) for x in real) / 3
        floor = (_apart(real[0], real[1]) + _apart(real[1], real[2]) + _apart(real[2], real[0])) / 3
    return Summary(
        evaluations=shown.solution.evaluations,
        steps=shown.solution.steps,
        seconds=shown.seconds,
        stretch=float((ways / apart.clamp(min=1e-9)).median()),
        bend=bend(paths, 0.0, 1.0),
        distance=distance,
        floor=floor,
    )


def _apart(a: Tensor, b: Tensor) -> float:
    return sliced_wasserstein2(a, b, projections=64, generator=torch.Generator().manual_seed(0))


def _classes(shown: Play) -> "Tensor | None":
    """The class of the data point next to where each particle ended; None where there are none."""
    if shown.points.y is None or int(shown.points.y.max()) >= MOST_CLASSES:
        return None
    ends = shown.solution.x.nan_to_num(nan=0.0, posinf=1e6, neginf=-1e6)
    return shown.points.y[nearest_neighbours(ends, shown.points.x)[1]]


def _weight(shown: Play) -> "float | None":
    return None if shown.setting.guidance == 1.0 else shown.setting.guidance


def _given(shown: Play) -> dict[str, Any]:
    return {} if shown.setting.label is None else {"y": shown.setting.label}
