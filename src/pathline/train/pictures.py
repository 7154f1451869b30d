"""Pictures of a run, by the kind of its data."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pathline.objectives import BridgeMatching
from pathline.train import measured_pictures as measured
from pathline.train.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def samples(run: Run, x: "Tensor | None" = None, y: "Tensor | None" = None, *, n: "int | None" = None) -> "Axes":
    """Samples of ``run``: images in a grid, one row a class; points beside the held-out data."""
    from pathline import viz

    if x is None:
        n = (10 * (len(run.class_names) or 10) if run.about["image"] else 2000) if n is None else n
        x, y = run.sample(n), run.labels(n)
    if x.ndim == 4:
        known = y is not None and bool((y >= 0).all())
        return viz.samples(x, y=y if known else None, class_names=run.class_names if known else ())
    x, real = x.flatten(1), _real(run)
    if x.shape[1] == 1 or real is None:
        return viz.samples(x)
    return viz.samples(x, data=real[: len(x)])


def source(run: Run, n: "int | None" = None) -> "Axes":
    """Points that the flow starts from: images above what is drawn from them, or points in the plane."""
    from pathline import viz

    if run.origin is None:
        raise ValueError(f"{run.path} starts from Gaussian noise: there is no source to show")
    n = (20 if run.about["image"] else 2000) if n is None else n
    x_0 = run.origin.pick(0, n).x
    if run.about["image"]:
        return viz.pairs(x_0, run.sample(n), names=("source", "drawn"))
    return viz.samples(x_0.flatten(1), title=f"{run.path.name}: the source")


def _real(run: Run) -> "Tensor | None":
    """Held-out points to compare with, where there are some and the data can be had again."""
    try:
        return None if run.data.held_out is None else run.data.held_out.x.flatten(1)
    except (ValueError, OSError):
        return None


def trajectories(run: Run, n: "int | None" = None) -> "Axes":
    """The way of samples in the plane from noise to data."""
    from pathline import viz

    return viz.trajectories(run.in_your_units(run.trajectory(200 if n is None else n)))


def snapshots(run: Run, n: "int | None" = None) -> "Axes":
    """The cloud of samples in the plane at five times."""
    from pathline import viz

    return viz.snapshots(run.in_your_units(run.trajectory(2000 if n is None else n)))


def density(run: Run, n: "int | None" = None) -> "Axes":
    """The smoothed density of samples in the plane at five times."""
    from pathline import viz

    return viz.snapshots(run.in_your_units(run.trajectory(4000 if n is None else n)), smooth=True)


def phase(run: Run, n: "int | None" = None) -> "Axes":
    """Time × state of samples on the line: their density, and forty of their paths."""
    from pathline import viz

    solution = run.in_your_units(run.trajectory(4000 if n is None else n))
    return viz.phase_portrait(
        solution,
        background=solution,
        title=f"{run.path.name}: density of {len(solution.x):,} samples, some of their paths",
    )


def field(run: Run, n: "int | None" = None, t: float = 0.5) -> "Axes":
    """The velocity in the plane, in standardised units."""
    from pathline import viz

    y = run.labels(1)
    title = f"velocity at t = {t:g}, standardised" + ("" if y is None else f", class {run.class_names[0]}")
    cond: dict[str, Any] = {} if y is None else {"y": 0}
    return viz.field(run.field, t, limits=(-3.0, 3.0, -3.0, 3.0), title=title, **cond)


def film(run: Run, n: "int | None" = None) -> "Axes":
    """A few images on their way from noise, and what the network takes them for at each time."""
    from pathline import viz

    n = 3 if n is None else n
    y = run.labels(n)
    cond: dict[str, Any] = {} if y is None else {"y": y}
    if isinstance(run.objective, BridgeMatching) and not run.objective.prediction.heads:  # the velocity alone
        return viz.film(run.trajectory(n), samples=n, transform=run.decode)
    return viz.film(run.trajectory(n), field=run.field, samples=n, transform=run.decode, **cond)


def loss(run: Run, n: "int | None" = None) -> "Axes":
    """The loss over the steps."""
    from pathline import viz

    return viz.loss(run.log)


KINDS: dict[str, Callable[..., "Axes"]] = {
    "samples": samples,
    "source": source,
    "trajectories": trajectories,
    "snapshots": snapshots,
    "density": density,
    "phase": phase,
    "field": field,
    "film": film,
    "loss": loss,
    "bins": measured.bins,
    "straightness": measured.straightness,
    "nfe": measured.nfe,
    "verify": measured.verify,
}
"""Pictures by the name that `pathline plot` takes: functions of a run and a number of samples."""
SLOW = ("nfe", "verify")
"""Pictures that take minutes of measuring on a large network: drawn when they are asked for."""


def misfit(kind: str, run: Run) -> "str | None":
    """Why ``kind`` cannot be drawn of ``run``; None if it can."""
    if kind in ("trajectories", "snapshots", "density", "field") and run.shape != (2,):
        return f"{kind} shows points in the plane, but a sample of {run.path} has shape {run.shape}"
    if kind == "phase" and run.shape != (1,):
        return f"phase shows states on the line, but a sample of {run.path} has shape {run.shape}"
    if kind == "verify" and run.begin_standardizer is not None:
        return f"{run.path} starts from data: its field is compared with an exact one only where it starts from noise"
    if kind == "bins" and not any(record.get("loss_by_t") for record in run.log):
        return f"{run.path} has no losses by time in its log: train with time_bins above 0"
    if kind == "source" and run.begin_standardizer is None:
        return f"{run.path} starts from Gaussian noise: there is no source to show"
    if kind == "film" and not run.about["image"]:
        return f"film shows images, but a sample of {run.path} has shape {run.shape}"
    if kind == "loss" and not run.log:
        return f"{run.path} has no losses in its log yet"
    return None
