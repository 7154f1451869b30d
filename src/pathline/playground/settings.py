"""What can be chosen in the playground, its limits, and the objects that a choice stands for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pathline import times as time_laws
from pathline._errors import lookup
from pathline.data.toys import TOYS, toy
from pathline.field import BaseField, Field
from pathline.paths import AffinePath
from pathline.playground.coupled import (
    COUPLINGS,
    INDEPENDENT,
    REFLOWED,
    Cloud,
    components,
    make_cloud,
    needs_points,
    paired_field,
)
from pathline.playground.coupled import NOISE as NOISE_SOURCE
from pathline.predictions import DATA, DISPLACEMENT, NOISE, SCORE, VELOCITY, Prediction, V
from pathline.schedules import DDPM, EDM, VE, VP, Cosine, Linear, Polynomial, Schedule, Trig
from pathline.solvers import SOLVERS, EulerMaruyama, Solver, StochasticHeun
from pathline.solvers.sde import ETAS
from pathline.testing.oracles import Oracle
from pathline.times import TimeLaw

MOST_PARTICLES, MOST_POINTS, MOST_EVALUATIONS, MOST_WORK = 5_000, 2_000, 512, 400_000_000
"""Limits of one play; the last is of particles x points x evaluations, a few seconds of one core."""
DRAWN = "drawn"
EXTENT = 4.0
"""Half the side of the square that points are drawn in."""

SCHEDULES: dict[str, tuple[str, Callable[[], Schedule]]] = {
    "linear": ("pl.Linear()", Linear),
    "trigonometric": ("pl.Trig()", Trig),
    "cosine": ("pl.Cosine()", Cosine),
    "VP": ("pl.VP()", VP),
    "polynomial, n = 2": ("pl.Polynomial(2.0)", lambda: Polynomial(2.0)),
    "DDPM table": ("pl.DDPM.linear()", DDPM.linear),
    "VE, 0.02 to 20": ("pl.VE(0.02, 20.0)", lambda: VE(0.02, 20.0)),
    "EDM": ("pl.EDM()", EDM),
}
"""Schedule -> (the Python that makes it, what makes it)."""

GRIDS: dict[str, tuple[str, Callable[[Schedule], TimeLaw]]] = {
    "uniform": ("pl.times.uniform()", lambda s: time_laws.uniform()),
    "cosine": ("pl.times.cosine()", lambda s: time_laws.cosine()),
    "dense at the data": ("pl.times.power(2.0)", lambda s: time_laws.power(2.0)),
    "dense at the noise": ("pl.times.shifted(3.0)", lambda s: time_laws.shifted(3.0)),
    "even in log-SNR": ("pl.times.log_snr_uniform({path}.schedule, -5.0, 5.0)", lambda s: time_laws.log_snr_uniform(s, -5.0, 5.0)),
    "Karras": ("pl.times.karras({path}.schedule)", time_laws.karras),
}  # fmt: skip
"""Grid -> (the Python that makes it, from the schedule what makes it)."""

PREDICTIONS: dict[str, tuple[str, Prediction]] = {
    "velocity": ("pl.VELOCITY", VELOCITY),
    "data": ("pl.DATA", DATA),
    "noise": ("pl.NOISE", NOISE),
    "score": ("pl.SCORE", SCORE),
    "v": ("pl.V", V),
    "displacement": ("pl.DISPLACEMENT", DISPLACEMENT),
}
"""Prediction -> (its name in Python, itself)."""

WITH_ETA: dict[str, tuple[str, Callable[..., Solver]]] = {
    "euler_maruyama": ("pl.solvers.EulerMaruyama", EulerMaruyama),
    "stochastic_heun": ("pl.solvers.StochasticHeun", StochasticHeun),
}
"""Solvers of dx = (u + eta s) dt + sqrt(2 eta) dW with any eta."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """The data: ``x`` (N, 2), each smoothed to a Gaussian of standard deviation ``std``, and their classes.

    Particles start as Gaussian noise, or from the ``source``.
    """

    name: str
    x: Tensor
    y: Tensor | None = None
    std: float = 0.1
    seed: int = 0
    source: Cloud | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.shape[1] != 2 or not 2 <= len(self.x) <= MOST_POINTS:
            raise ValueError(f"data must be 2 to {MOST_POINTS} points in the plane, got shape {tuple(self.x.shape)}")
        if not bool(torch.isfinite(self.x).all()) or float(self.x.abs().max()) > 1e3:
            raise ValueError("data must be finite numbers within ±1000: rescale them")
        if not 0.02 <= self.std <= 2.0:
            raise ValueError(f"the width of a data point must lie in [0.02, 2], got {self.std:g}")

    @property
    def classes(self) -> list[int]:
        """The labels that occur."""
        return [] if self.y is None else sorted(set(self.y.tolist()))


def toy_points(name: str, n: int = 512, *, std: float = 0.1, seed: int = 0) -> Points:
    """``n`` points of a toy of `pathline.data`."""
    lookup("data set", name, TOYS)
    if not 2 <= n <= MOST_POINTS:
        raise ValueError(f"data points must be 2 to {MOST_POINTS}, got {n}")
    drawn = toy(name, n=n, seed=seed)
    return Points(name=name, x=drawn.x, y=drawn.y, std=std, seed=seed)


def with_source(points: Points, name: str, settings: "Sequence[Setting]") -> Points:
    """``points`` with the source ``name``; noise stays Gaussian unless one of ``settings`` pairs its points."""
    if name == NOISE_SOURCE and not any(needs_points(s.coupling) for s in settings):
        return points
    return replace(points, source=make_cloud(name, len(points.x)))


def drawn_points(x: Any, y: Any = None, *, std: float = 0.1) -> Points:
    """Points that somebody drew or uploaded, to two decimals, so that printed code repeats them exactly."""
    points = torch.as_tensor(x, dtype=torch.float32).reshape(-1, 2)
    labels = None if y is None else torch.as_tensor(y, dtype=torch.int64)
    if labels is not None and len(labels.unique()) < 2:
        labels = None
    return Points(name=DRAWN, x=(points.double() * 100.0).round().div(100.0).float(), y=labels, std=std)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How particles are moved, by the names of this module."""

    schedule: str = "linear"
    prediction: str = "velocity"
    solver: str = "heun"
    evaluations: int = 64
    grid: str = "uniform"
    eta: str = "sigma"
    coupling: str = INDEPENDENT
    guidance: float = 1.0
    label: int | None = None
    particles: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("schedule", self.schedule, SCHEDULES), ("prediction", self.prediction, PREDICTIONS),
            ("solver", self.solver, SOLVERS), ("grid", self.grid, GRIDS), ("coupling", self.coupling, COUPLINGS),
        ):  # fmt: skip
            lookup(kind, name, known)
        for kind, value, most in (
            ("particles", self.particles, MOST_PARTICLES), ("evaluations", self.evaluations, MOST_EVALUATIONS),
        ):  # fmt: skip
            if not 1 <= value <= most:
                raise ValueError(f"{kind} must lie between 1 and {most:,}, got {value:,}")
        if not -5.0 <= self.guidance <= 20.0:
            raise ValueError(f"the guidance scale w must lie in [-5, 20], got {self.guidance:g}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"the seed must lie in [0, 2**32), got {self.seed}")
        if self.guidance != 1.0 and self.label is None:
            raise ValueError("guidance strengthens a class: choose one, or set w to 1")
        self.noise_rate()

    @property
    def adaptive(self) -> bool:
        """Whether the solver chooses its own steps, and a budget says nothing to it."""
        return SOLVERS[self.solver].adaptive

    @property
    def path(self) -> AffinePath:
        return AffinePath(SCHEDULES[self.schedule][1]())

    def noise_rate(self) -> "float | str":
        """eta as `pathline.solvers` takes it: a name, or a number."""
        if self.eta in ETAS:
            return self.eta
        try:
            value = float(self.eta)
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= 10.0:
            raise ValueError(f"eta must be one of {', '.join(ETAS)} or a number from 0 to 10, got {self.eta!r}")
        return value

    def make_solver(self) -> Solver:
        """The solver, with its eta where it takes one."""
        if self.solver in WITH_ETA:
            return WITH_ETA[self.solver][1](eta=self.noise_rate())
        return SOLVERS[self.solver]

    def options(self) -> dict[str, Any]:
        """Arguments of `pathline.solve` besides the field, the shape, and the generator."""
        budget = {"steps": 32} if self.adaptive else {"evaluations": self.evaluations}
        condition: dict[str, Any] = {} if self.label is None else {"y": self.label}
        guidance = {} if self.guidance == 1.0 else {"guidance": self.guidance}
        grid = GRIDS[self.grid][1](self.path.schedule)
        return {"solver": self.make_solver(), **budget, "grid": grid, **guidance, **condition}


PAIRS_SHOWN: dict[str, tuple[Setting, Setting]] = {
    "Euler beside RK4": (Setting(solver="euler", evaluations=16), Setting(solver="rk4", evaluations=16)),
    "w = 1 beside 4": (Setting(label=0), Setting(label=0, guidance=4.0)),
    "independent beside OT": (Setting(), Setting(coupling="exact OT")),
    "before beside after reflow": (
        Setting(solver="euler", evaluations=4),
        Setting(solver="euler", evaluations=4, coupling=REFLOWED),
    ),
}
"""Two settings to see side by side, by what the page calls them; data, source, particles and seed stay as they are."""


def exact_field(points: Points, setting: Setting) -> Oracle:
    """The exact field of the data, their source and the coupling under the setting's schedule."""
    if setting.label is not None and setting.label not in points.classes:
        known = ", ".join(map(str, points.classes)) or "none: these data have no classes"
        raise ValueError(f"the data have no class {setting.label}; known: {known}")
    check_coupling(points, setting)
    count = components(points, setting.coupling)
    work = setting.particles * count * setting.evaluations * (1 if setting.guidance == 1.0 else 2)
    if work > MOST_WORK:
        raise ValueError(
            f"{setting.particles:,} particles x {count:,} Gaussians x {setting.evaluations} evaluations are more work "
            f"than one play may take ({MOST_WORK:,}): lower one of them, or the data points"
        )
    return paired_field(points, setting.coupling, setting.path)


def check_coupling(points: Points, setting: Setting) -> None:
    """Refuses what has no meaning with pairs: what reads a Gaussian source, and classes of a reflow."""
    if points.source is None and needs_points(setting.coupling):
        raise ValueError(
            f"the coupling {setting.coupling!r} pairs points of the source: give the points one, with_source"
        )
    if points.source is None and setting.coupling == INDEPENDENT:
        return
    if setting.coupling == REFLOWED and setting.label is not None:
        raise ValueError("reflow is shown for the data as a whole: choose all classes")
    if SOLVERS[setting.solver].stochastic:
        raise ValueError(
            f"{setting.solver} draws noise in step with that of a Gaussian source, which pairs do not have: choose a solver "
            "of the ODE"
        )
    if PREDICTIONS[setting.prediction][1] is SCORE:
        raise ValueError(
            "from the score nothing else can be read where the source is not Gaussian: choose another prediction"
        )


def predicting(exact: Oracle, setting: Setting) -> BaseField:
    """A perfect network that predicts what the setting says, so that solvers read everything else from that."""
    prediction = PREDICTIONS[setting.prediction][1]
    if prediction is VELOCITY:
        return exact
    if exact.labels is None:
        return Field(lambda x, t: exact(x, t).read(prediction), exact.path, prediction)
    return Field(lambda x, t, y=None: exact(x, t, y=y).read(prediction), exact.path, prediction)
