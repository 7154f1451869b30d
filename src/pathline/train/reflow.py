"""Reflow: train on the pairs that a flow makes, so that its paths become straight (theory T32; Liu et al. 2022)."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pathline.metrics import measure_transport
from pathline.objectives import Matching
from pathline.schedules import Linear
from pathline.solvers import sample
from pathline.train.assess import assess
from pathline.train.checks import check_folder
from pathline.train.config import TrainConfig
from pathline.train.generated import generate_pairs
from pathline.train.loop import trainer_of
from pathline.train.names import PAIRS
from pathline.train.run import Run

REPORT = "reflow.json"
"""What `reflow` measured before and after, in the folder of the new run."""
FINE = 64
METRICS = ("W2", "FD", "sliced W2", "energy")


@dataclass(frozen=True, kw_only=True)
class Reflowed:
    """The straightened run, and both flows measured in the same way."""

    run: Run
    before: dict[str, float]
    after: dict[str, float]

    def __str__(self) -> str:
        lines = [f"{'':<26}{'before':>12}{'after':>12}"]
        shared = [key for key in self.before if key in self.after]
        lines += [f"{key:<26}{self.before[key]:>12.4g}{self.after[key]:>12.4g}" for key in shared]
        return "\n".join(lines)


def straightness(run: Run, n: int = 1000, *, seed: int = 0) -> dict[str, float]:
    """How straight ``n`` paths of ``run`` are (64 Heun steps), in the units of the network, without guidance.

    Path energy, curvature, length ratio and crossing are those of `pathline.metrics.measure_transport`; "one-step miss" is
    |x_0 + u(x_0, 0) - x_1| over |x_1 - x_0|, root mean squares: how far one Euler step ends from the end of the path.
    """
    x_0 = run.trajectory(n, seed=seed, solver="euler", steps=1).trajectory
    assert x_0 is not None
    labels = run.labels(n)
    cond: dict[str, Any] = {} if labels is None else {"y": labels}
    found = measure_transport(run.field, x_0[0].clone(), solver="heun", steps=FINE, **cond)
    fine, one = (
        sample(run.field, x_0[0].clone(), solver="heun" if k > 1 else "euler", steps=k, **cond) for k in (FINE, 1)
    )
    miss = (one - fine).square().mean() / (fine - x_0[0]).square().mean()
    return {
        "path energy": found.path_energy,
        "curvature": found.curvature,
        "length ratio": found.length_ratio,
        "crossing": found.crossing,
        "one-step miss": float(miss.sqrt()),
    }


def reflow(
    run: "Run | str | Path",
    *,
    out: "str | Path | None" = None,
    pairs: int = 50_000,
    seed: int = 0,
    distill: bool = False,
    solver: str = "heun",
    steps: "int | None" = None,
    evaluations: "int | None" = None,
    guidance: "float | None" = None,
    training: "dict[str, Any] | None" = None,
    measure: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Reflowed:
    """Train the flow whose pairs are the ends (x_0, psi_1(x_0)) of the paths of ``run``, from the weights of ``run``.

    Its paths are straighter and cross less, so that few steps suffice; the ends have the distribution that ``run`` draws.
    A reflowed run may be reflowed again. ``distill`` trains the one step from t = 0 alone, x_1 = x_0 + u(x_0, 0): best as the
    last round, and then nothing but one Euler step has a meaning.

    Args:
        run: a run made from a config, or its folder.
        out: folder of the new run; that of ``run`` with "-reflow" or "-distilled" behind it.
        pairs: how many; kept in ``out/pairs``, and made again only where they are missing.
        solver: how the pairs are made; 32 steps of Heun unless told otherwise.
        steps: of that solver.
        evaluations: of the network, instead of ``steps``.
        guidance: its scale while the pairs are made.
        training: settings to change, as in ``{"steps": 5000, "lr": 1e-3}``; the rest is that of ``run``.
        measure: measure both flows (`straightness`, and one Euler step against held-out data).
        resume: as in `fit`; pairs that are whole are kept.
        overwrite: as in `fit`.

    Raises:
        ValueError: a run without config, on a bridge, or on a path that does not start at its source.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    config = _child(run, out, distill, training or {})
    folder = Path(config.out)
    check_folder(folder, resume=resume, overwrite=overwrite)
    if overwrite:
        shutil.rmtree(folder / PAIRS, ignore_errors=True)
    generate_pairs(
        run, folder / PAIRS, pairs, seed=seed, progress=progress,
        solver=solver, steps=steps, evaluations=evaluations, guidance=1.0 if guidance is None else guidance,
    )  # fmt: skip
    straight = trainer_of(config, resume=resume, overwrite=overwrite, progress=progress).fit()
    if not measure:
        return Reflowed(run=straight, before={}, after={})
    before, after = measured(run), measured(straight, distilled=distill)
    _keep(folder / REPORT, {"of": str(run.path), "pairs": pairs, "before": before, "after": after})
    return Reflowed(run=straight, before=before, after=after)


def measured(run: Run, *, distilled: bool = False) -> dict[str, float]:
    """Straightness, and what one Euler step draws against held-out data; a distilled run has no path to measure."""
    found = {} if distilled else straightness(run)
    if run.data.held_out is not None:
        metrics = ("w2",) if not run.about["image"] else ("fd",) if run.class_names else ("sliced_w2", "energy")
        rows = assess(run, metrics=metrics, solver="euler", steps=1, guidance=1.0, grid="uniform").report.rows
        found |= {f"{row.name}, one step": row.value for row in rows if row.name.startswith(METRICS)}
    return found


def _child(run: Run, out: "str | Path | None", distill: bool, training: dict[str, Any]) -> TrainConfig:
    """The config of the new run: that of the old one on its pairs, along straight lines."""
    if not isinstance(run.objective, Matching) or not isinstance(run.settings, TrainConfig):
        raise ValueError(
            f"{run.path} cannot be reflowed: it needs a run that a config names, on a path without noise of its own"
        )
    start = run.objective.path.schedule(torch.zeros((), dtype=torch.float64))
    if abs(float(start.alpha)) > 1e-2 or abs(float(start.sigma) - 1.0) > 1e-2:
        raise ValueError(
            f"reflow needs a path that starts at its source, but {run.objective.path.schedule!r} starts at "
            f"{float(start.alpha):.2g} x_1 + {float(start.sigma):.2g} x_0: train with --schedule linear"
        )
    if distill and run.field.singular(torch.zeros((), dtype=torch.float64)):
        raise ValueError(f"{run.objective.prediction} prediction says nothing at t = 0, where a one-step map is read")
    folder = (
        Path(out) if out is not None else run.path.with_name(run.path.name + ("-distilled" if distill else "-reflow"))
    )
    if folder.resolve() == run.path.resolve():
        raise ValueError(f"out must be another folder than that of the run, {run.path}")
    changes: dict[str, Any] = {
        "out": str(folder), "pairs": str(folder / PAIRS), "start": str(run.path), "coupling": "independent",
        "schedule": "linear", "weight": None,
    }  # fmt: skip
    if isinstance(run.objective.path.schedule, Linear):
        changes["weight"] = run.config.weight
    if distill:
        changes |= {"times": "at(0.0)", "weight": None, "sampling": {"solver": "euler", "steps": 1}}
    elif run.config.times.startswith("at("):
        raise ValueError(f"{run.path} is distilled: it has one step and no path to straighten")
    return run.config.replace(**{**changes, **training})


def _keep(path: Path, values: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, path)
