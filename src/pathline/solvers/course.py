"""Where the particles of a fit should be on their way: what an error does at last depends on where it was made.

Near a boundary between two modes a small error in the middle of the path becomes the whole distance between the modes
at its end, where neither its size nor its slope tells how to mend it. The distance to the true course on the way does.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pathline._typing import Cond
from pathline.field import BaseField
from pathline.solvers.base import Bound
from pathline.solvers.nonstationary import clock_of, displacement
from pathline.solvers.robust import squared
from pathline.solvers.sampling import start_where_defined

NODES = 49
"""Clocks at which a course is kept."""
LAST = 0.998
"""The last of them at most: at r = 1 a network that predicts data has no displacement."""
ASTRAY = 0.1
"""A course that ends further from the target than this share of its RMS is another particle's."""
ENTRIES = 2**26
"""Most numbers that are kept of all courses."""


@dataclass(frozen=True)
class Course:
    """True states y and displacements dy/dr (K, B, ...) at the clocks r (K,), see `nonstationary`.

    ``trusted`` (B,) is 1 for the particles whose course ends at their target, 0 for the others.
    """

    clock: Tensor
    states: Tensor
    slopes: Tensor
    trusted: Tensor

    def at(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """(y, dy/dr) at the clock r, a number: Hermite's cubic between the nodes, straight on beyond them."""
        k = int(torch.searchsorted(self.clock, r).clamp(1, len(self.clock) - 1)) - 1
        h = float(self.clock[k + 1] - self.clock[k])
        z = min(max(float(r - self.clock[k]) / h, 0.0), 1.0)
        (a, b), (da, db) = self.states[k : k + 2], h * self.slopes[k : k + 2]
        y = (1 + 2 * z) * (1 - z) ** 2 * a + z * (1 - z) ** 2 * da + z * z * (3 - 2 * z) * b - z * z * (1 - z) * db
        slope = 6 * z * (1 - z) * (b - a) + (1 - z) * (1 - 3 * z) * da + z * (3 * z - 2) * db
        return y + (float(r - self.clock[k]) / h - z) * slope, slope / h

    def take(self, rows: slice) -> "Course":
        """The courses of some particles."""
        return replace(self, states=self.states[:, rows], slopes=self.slopes[:, rows], trusted=self.trusted[rows])


def follow(field: BaseField, x_0: Tensor, target: Tensor, cond: Cond, chunk: int) -> Course | None:
    """The courses of the first particles, as many as `ENTRIES` has room for, by RK4 in the clock; None if that is
    not one, or most of them end elsewhere than at their targets."""
    count = min(len(x_0), ENTRIES // (2 * NODES * x_0[0].numel()))
    if count < 1:
        return None
    schedule = field.path.schedule
    ends = start_where_defined(field, torch.tensor([0.0, 1.0], dtype=torch.float64))
    (first, last), (scale, _) = (v.tolist() for v in clock_of(schedule, ends))
    u = torch.linspace(0.0, 1.0, NODES, dtype=torch.float64)
    share = 0.5 * (u + torch.sin(0.5 * math.pi * u) ** 2)
    clock = first + (min(last, LAST) - first) * share
    parts = []
    for rows in torch.arange(count).split(chunk):
        bound = Bound(field, cond).take(rows)
        y = field.path.start(x_0[rows]) / scale
        states, slopes = [], []
        for r, h in zip(clock, [*clock.diff(), None]):
            k_1 = displacement(bound, y, r)
            states.append(y)
            slopes.append(k_1)
            if h is not None:
                k_2 = displacement(bound, y + 0.5 * h * k_1, r + 0.5 * h)
                k_3 = displacement(bound, y + 0.5 * h * k_2, r + 0.5 * h)
                k_4 = displacement(bound, y + h * k_3, r + h)
                y = y + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
        off = squared(states[-1] + (1.0 - clock[-1]) * slopes[-1] - target[rows])
        near = off < ASTRAY**2 * squared(target).mean()
        parts.append(Course(clock, torch.stack(states), torch.stack(slopes), near.to(y)))
    whole = Course(
        clock,
        torch.cat([part.states for part in parts], 1),
        torch.cat([part.slopes for part in parts], 1),
        torch.cat([part.trusted for part in parts]),
    )
    return whole if bool(whole.trusted.mean() > 0.5) else None
