"""Ten distributions in the plane, each a function ``f(n, *, ..., generator=None) -> Points``.

Classes have equal counts (to within one) and stand in random order, so that any leading part of a sample is a
sample; within a class the points are independent. Scales are those of the literature where there is one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from pathline._errors import lookup
from pathline.data.base import Dataset


class Points(NamedTuple):
    """Points ``x`` ``(n, 2)`` float32, and their classes ``y`` ``(n,)`` int64, or None where there are none."""

    x: Tensor
    y: Tensor | None


def _uniform(n: int, generator: Generator | None) -> Tensor:
    return torch.rand(n, generator=generator)


def _noise(n: int, std: float, generator: Generator | None) -> Tensor:
    return std * torch.randn(n, 2, generator=generator)


def _classes(n: int, count: int, generator: Generator | None) -> Tensor:
    # The first shuffle decides which classes get one more, the second the order of the samples.
    rounds = torch.randperm(count, generator=generator)[torch.arange(n) % count]
    return rounds[torch.randperm(n, generator=generator)]


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)


def moons(n: int, *, noise: float = 0.05, generator: Generator | None = None) -> Points:
    """Two interleaved half circles: (cos a, sin a) and (1 − cos a, 1/2 − sin a), a ~ U(0, π), plus noise;
    then doubled and moved by −1 along the first axis, as in the 2-D benchmark of Tong et al. (2024)."""
    y = _classes(n, 2, generator)
    circle = _polar(torch.ones(n), math.pi * _uniform(n, generator))
    x = torch.where(y[:, None] == 0, circle, torch.tensor([1.0, 0.5]) - circle)
    return Points(2 * (x + _noise(n, noise, generator)) - torch.tensor([1.0, 0.0]), y)


def circles(n: int, *, noise: float = 0.05, generator: Generator | None = None) -> Points:
    """Two concentric circles of radius 3.5 (class 0) and 1.75 (class 1), noise std 3.5 · ``noise``."""
    y = _classes(n, 2, generator)
    x = _polar(1 - 0.5 * y, 2 * math.pi * _uniform(n, generator))
    return Points(3.5 * (x + _noise(n, noise, generator)), y)


def eight_gaussians(n: int, *, radius: float = 5.0, std: float = 1.0, generator: Generator | None = None) -> Points:
    """Gaussians N(radius (cos kπ/4, sin kπ/4), std² I), k = 0 … 7, equally likely.

    Radius 5 and std 1 are the "gaussians" of the 2-D benchmark of Tong et al. (2024); their moons → 8 gaussians
    has radius 12 and std 1.5, their notebooks radius 5 and std 0.562.
    """
    y = _classes(n, 8, generator)
    centre = _polar(torch.full((n,), radius), math.pi / 4 * y)
    return Points(centre + _noise(n, std, generator), y)


def twenty_five_gaussians(n: int, *, std: float = 0.1, generator: Generator | None = None) -> Points:
    """Gaussians N((2i, 2j), std² I) on the grid i, j = −2 … 2, equally likely; the class is 5 (i + 2) + j + 2."""
    y = _classes(n, 25, generator)
    centre = 2.0 * torch.stack([y // 5 - 2, y % 5 - 2], dim=-1)
    return Points(centre + _noise(n, std, generator), y)


def checkerboard(n: int, *, generator: Generator | None = None) -> Points:
    """Uniform on the 8 squares of side 2 with floor(x/2) + floor(y/2) even, inside [−4, 4]²."""
    square = _classes(n, 8, generator)
    column = square % 4
    row = 2 * (square // 4) + column % 2
    corner = 2.0 * torch.stack([column - 2, row - 2], dim=-1)
    return Points(corner + 2 * torch.rand(n, 2, generator=generator), None)


def spiral(n: int, *, noise: float = 0.05, generator: Generator | None = None) -> Points:
    """One arm r = a / π, a = 4π √u (two turns, radius 0 to 4): nearly even along the arm."""
    angle = 4 * math.pi * _uniform(n, generator).sqrt()
    return Points(_polar(angle / math.pi, angle) + _noise(n, noise, generator), None)


def two_spirals(n: int, *, noise: float = 0.05, generator: Generator | None = None) -> Points:
    """Two arms r = a / π, a = 3π √u (one and a half turns, radius 0 to 3), each the other turned by π."""
    y = _classes(n, 2, generator)
    angle = 3 * math.pi * _uniform(n, generator).sqrt()
    return Points(_polar(angle / math.pi, angle + math.pi * y) + _noise(n, noise, generator), y)


def s_curve(n: int, *, noise: float = 0.05, generator: Generator | None = None) -> Points:
    """(sin a, sign(a) (cos a − 1)), a ~ U(−3π/2, 3π/2), plus noise, times 1.5 (Tong et al. 2024)."""
    angle = 3 * math.pi * (_uniform(n, generator) - 0.5)
    x = torch.stack([angle.sin(), angle.sign() * (angle.cos() - 1)], dim=-1)
    return Points(1.5 * (x + _noise(n, noise, generator)), None)


def swiss_roll(n: int, *, noise: float = 0.05, generator: Generator | None = None) -> Points:
    """One arm r = a / π, a ~ U(3π/2, 9π/2) (radius 1.5 to 4.5, even in angle), plus noise."""
    angle = 1.5 * math.pi * (1 + 2 * _uniform(n, generator))
    return Points(_polar(angle / math.pi, angle) + _noise(n, noise, generator), None)


def pinwheel(n: int, *, generator: Generator | None = None) -> Points:
    """Five bent arms: (1 + 0.3 z_1, 0.1 z_2) turned by 2πk/5 + exp(1 + 0.3 z_1)/4, times 2 (Johnson et al. 2016)."""
    y = _classes(n, 5, generator)
    along, across = (torch.randn(n, 2, generator=generator) * torch.tensor([0.3, 0.1])).unbind(-1)
    along = 1 + along
    turn = 2 * math.pi / 5 * y + along.exp() / 4
    return Points(2 * (_polar(along, turn) + _polar(across, turn + math.pi / 2)), y)


TOYS: dict[str, Callable[..., Points]] = {
    "moons": moons,
    "circles": circles,
    "8gaussians": eight_gaussians,
    "checkerboard": checkerboard,
    "spiral": spiral,
    "s_curve": s_curve,
    "swiss_roll": swiss_roll,
    "25gaussians": twenty_five_gaussians,
    "pinwheel": pinwheel,
    "two_spirals": two_spirals,
}
"""Sets of points in the plane by name: what `toy` takes."""

CLASSES: dict[str, int] = {
    "moons": 2,
    "circles": 2,
    "8gaussians": 8,
    "25gaussians": 25,
    "pinwheel": 5,
    "two_spirals": 2,
}
"""How many classes a toy has; a small sample may miss some. The others have no labels."""


def toy(name: str, *, n: int = 10_000, seed: int = 0, **options: Any) -> Dataset:
    """A data set of ``n`` points of the toy called ``name``; the same ``seed`` gives the same points.

    ``options`` are those of the toy's function, for instance ``noise`` or ``radius``.
    """
    draw = lookup("toy", name, TOYS)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    x, y = draw(n, generator=torch.Generator().manual_seed(seed), **options)
    names = tuple(str(k) for k in range(CLASSES.get(name, 0)))
    return Dataset(x=x, y=y, name=name, class_names=names)
