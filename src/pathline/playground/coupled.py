"""Sources and couplings of exact mode: which noise goes with which data point, as a finite set of pairs (T27, T28, T30, T32)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pathline import couplings
from pathline._errors import lookup
from pathline.data.toys import TOYS, toy
from pathline.paths import AffinePath
from pathline.solvers import sample
from pathline.testing.oracles import Oracle, PairedPoints, empirical, pairs

if TYPE_CHECKING:
    from pathline.playground.settings import Points

NOISE, INDEPENDENT, REFLOWED = "noise", "independent", "reflow"
SHRINK, NOISE_WIDTH = 0.954, 0.3
"""Points of noise have this standard deviation and width, 0.954² + 0.3² = 1."""
MOST_PAIRED, PAIRS = 512, 2_048
"""Points that a coupling pairs, and about how many pairs stand for those of a coupling that is no map."""
REFLOW_PAIRS, REFLOW_STEPS, REFLOW_WIDTHS = 1_024, 16, (0.1, 0.05)
SEED = 1
"""Of the source points and of everything that a coupling draws."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A coupling: the Python that makes it, what it is, and whether it draws, so that many draws stand for it."""

    code: str
    make: "Callable[[], couplings.Coupling] | None"
    told: str
    drawn: bool = False


COUPLINGS: dict[str, Kind] = {
    INDEPENDENT: Kind(
        code="torch.randperm", make=None, drawn=True,
        told="every source point may go with every data point: $x_0$ and $x_1$ are independent (T27)",
    ),
    "exact OT": Kind(
        code="pl.couplings.exact_ot()", make=couplings.exact_ot,
        told="the pairs that minimise $\\sum_i |x_1^i - x_0^{\\pi(i)}|^2$, a permutation (T28)",
    ),
    "OT within class": Kind(
        code="pl.couplings.class_exact_ot()", make=couplings.class_exact_ot,
        told="optimal pairs within each class, so that $p(x_0 \\mid y)$ stays near $p(x_0)$ (T30)",
    ),
    "entropic OT": Kind(
        code="pl.couplings.sinkhorn(reg=0.5)", make=lambda: couplings.sinkhorn(reg=0.5), drawn=True,
        told="pairs drawn from the plan that minimises the cost plus $0.5 \\sum P \\log P$ (T29)",
    ),
    REFLOWED: Kind(
        code="", make=None,
        told="the ends of the paths of the flow with independent pairs: $(x_0, \\psi_1(x_0))$ (T32)",
    ),
}  # fmt: skip
"""Couplings by the name that the page shows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cloud:
    """Where particles start: points (N, 2), each smoothed to a Gaussian of standard deviation ``std``."""

    name: str
    x: Tensor
    std: float

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws (n, 2)."""
        chosen = torch.randint(len(self.x), (n,), generator=generator)
        return self.x[chosen] + self.std * torch.randn(n, 2, generator=generator)

    def code(self) -> str:
        """The Python that makes ``source``, the points."""
        if self.name == NOISE:
            return f"source = {SHRINK} * torch.randn({len(self.x)}, 2, generator=torch.Generator().manual_seed({SEED}))"
        return f'source = pl.data.toy("{self.name}", n={len(self.x)}, seed={SEED}).x'


def make_cloud(name: str, n: int) -> Cloud:
    """``n`` points of noise, or of a toy."""
    if name == NOISE:
        x = SHRINK * torch.randn(n, 2, generator=torch.Generator().manual_seed(SEED))
        return Cloud(name=name, x=x, std=NOISE_WIDTH)
    lookup("source", name, {NOISE: None, **TOYS})
    return Cloud(name=name, x=toy(name, n=n, seed=SEED).x, std=0.1)


def needs_points(coupling: str) -> bool:
    """Whether a coupling pairs points of the source, so that noise must be given as points."""
    return coupling not in (INDEPENDENT, REFLOWED)


def rounds(coupling: str, n: int) -> int:
    """How many times each point is paired."""
    return max(4, PAIRS // n) if COUPLINGS[coupling].drawn else 1


def components(points: "Points", coupling: str) -> int:
    """Gaussians in the exact field: what an evaluation costs a particle."""
    if coupling == REFLOWED:
        return REFLOW_PAIRS
    return len(points.x) * (1 if points.source is None else rounds(coupling, len(points.x)))


def paired_field(points: "Points", coupling: str, path: AffinePath) -> Oracle:
    """The exact field of the data and their source under ``coupling``.

    Raises:
        ValueError: more points than are paired, classes where there are none, or a path without a start.
    """
    if coupling == REFLOWED:
        return _reflowed(paired_field(points, INDEPENDENT, path), points, path)
    if points.source is None:
        return empirical(points.x, path, points.y, std=points.std)
    check_paired(points, path)
    times = rounds(coupling, len(points.x))
    rows = _rows(points, coupling, times)
    labels = None if points.y is None else points.y.repeat(times)
    return pairs(
        points.source.x[rows], points.x.repeat(times, 1), path, labels, std_0=points.source.std, std_1=points.std
    )


def _rows(points: "Points", coupling: str, times: int) -> Tensor:
    """The source point of each data point, ``times`` times over."""
    source, kind = points.source, COUPLINGS[coupling]
    assert source is not None
    draw = torch.Generator().manual_seed(SEED)
    if kind.make is None:
        return torch.cat([torch.randperm(len(points.x), generator=draw) for _ in range(times)])
    if coupling == "OT within class" and points.y is None:
        raise ValueError("these data have no classes to pair within: choose exact OT, or other data")
    made = kind.make()
    return torch.cat([made(source.x, points.x, points.y, draw) for _ in range(times)])


def _reflowed(first: Oracle, points: "Points", path: AffinePath) -> PairedPoints:
    if path.stops_short():
        raise ValueError("reflow needs a path from its source to the data: choose a schedule other than VE and EDM")
    draw = torch.Generator().manual_seed(SEED)
    if points.source is None:
        begin = torch.randn(REFLOW_PAIRS, 2, generator=draw)
    else:
        begin = points.source.draw(REFLOW_PAIRS, draw)
    ends = sample(first, begin, solver="rk4", steps=REFLOW_STEPS)
    return pairs(begin, ends, path, std_0=REFLOW_WIDTHS[0], std_1=REFLOW_WIDTHS[1])


def check_paired(points: "Points", path: AffinePath) -> None:
    """Refuses what a set of pairs cannot be shown with."""
    if path.stops_short():
        raise ValueError(
            "this path adds noise to the data and has no source of its own: for a source or a coupling choose a schedule "
            "other than VE and EDM"
        )
    if len(points.x) > MOST_PAIRED:
        raise ValueError(
            f"at most {MOST_PAIRED} data points are paired with a source, got {len(points.x):,}: lower them"
        )
    if points.source is not None and len(points.source.x) != len(points.x):
        raise ValueError(f"a source must have one point per data point, {len(points.x)}, got {len(points.source.x)}")


def code(points: "Points", coupling: str, data: str, labels: str) -> list[str]:
    """The lines of Python that make ``field`` from ``path``, the points ``data``, and ``labels`` (empty if none)."""
    if points.source is None:
        first = f"pl.testing.oracles.empirical({data}, path{labels and ', ' + labels}, std={points.std:g})"
        lines = []
    else:
        lines, first = _pairs_code(points, INDEPENDENT if coupling == REFLOWED else coupling, data, labels)
    if coupling != REFLOWED:
        return [*lines, f"field = {first}"]
    cloud = points.source
    draw = f"draw = torch.Generator().manual_seed({SEED})"
    if cloud is None:
        begin = [f"begin = torch.randn({REFLOW_PAIRS}, 2, generator=draw)"]
    else:
        begin = [f"begin = {draw_code(cloud, REFLOW_PAIRS)}"]
    return [
        *lines, f"first = {first}", draw, *begin, f'ends = pl.sample(first, begin, solver="rk4", steps={REFLOW_STEPS})',
        f"field = pl.testing.oracles.pairs(begin, ends, path, std_0={REFLOW_WIDTHS[0]:g}, std_1={REFLOW_WIDTHS[1]:g})",
    ]  # fmt: skip


def draw_code(cloud: Cloud, n: int) -> str:
    """Python for ``n`` draws of the source by the generator ``draw``."""
    return (
        f"source[torch.randint({len(cloud.x)}, ({n},), generator=draw)] + "
        f"{cloud.std:g} * torch.randn({n}, 2, generator=draw)"
    )


def _pairs_code(points: "Points", coupling: str, data: str, labels: str) -> tuple[list[str], str]:
    assert points.source is not None
    n, times, kind = len(points.x), rounds(coupling, len(points.x)), COUPLINGS[coupling]
    if kind.make is None:
        one = f"torch.randperm({n}, generator=draw)"
    else:
        one = f"{kind.code}(source, {data}, {labels or None}, draw)"
    rows = f"torch.cat([{one} for _ in range({times})])" if times > 1 else one
    lines = [points.source.code(), f"draw = torch.Generator().manual_seed({SEED})", f"rows = {rows}"]
    x_1, y = (data, labels) if times == 1 else (f"{data}.repeat({times}, 1)", labels and f"{labels}.repeat({times})")
    told = f"pl.testing.oracles.pairs(source[rows], {x_1}, path{y and ', ' + y}"
    return lines, f"{told}, std_0={points.source.std:g}, std_1={points.std:g})"
