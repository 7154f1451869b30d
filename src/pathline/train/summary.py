"""report.html of a run."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pathline.train import pictures
from pathline.train.assess import Assessment
from pathline.train.config import plain
from pathline.train.names import REPORT
from pathline.train.run import Run

if TYPE_CHECKING:
    from pathline.viz.report import KeyFigure, Picture, Section


def write_summary(run: Run, found: "Assessment | None", x: Tensor, y: "Tensor | None", *, command: str = "") -> Path:
    """Write ``report.html`` into the run folder: samples, curves, metrics if there are any, cost, config."""
    from pathline.viz.report import write_report

    name = run.about["name"]
    measured = "" if found is None else f", {len(found.samples)} samples measured"
    return write_report(
        run.path / REPORT,
        title=f"{name}: what the model draws",
        headline=f"{_told(run)}; {run.step} training steps{measured}.",
        config=plain(run.settings),
        key_figures=[] if found is None else _key_figures(found),
        sections=_sections(run, x, y),
        metrics=[] if found is None else found.report.rows,
        protocol="" if found is None else found.report.protocol,
        cost=_cost(run, found),
        neighbours=_neighbours(run, found),
        command=command,
        notes=_notes(run),
    )


def _told(run: Run) -> str:
    settings: Any = run.settings
    weights = sum(p.numel() for p in run.net.parameters())
    if run.objective is None:
        return f"{weights:,} weights"
    kind = f"{run.objective.prediction} prediction on the path {run.objective.path.schedule!r}"
    return f"{getattr(settings, 'net', type(run.net).__name__)}, {weights:,} weights, {kind}"


def _key_figures(found: Assessment) -> "list[KeyFigure]":
    from pathline.viz.report import KeyFigure

    figures = []
    report = found.report
    if report.agreement is not None:
        real = report.agreement.real_accuracy
        hint = "" if real is None else f"real held-out data: {real:.1%}"
        figures.append(KeyFigure(label="drawn as asked", value=f"{report.agreement.agreement:.1%}", hint=hint))
    for row in report.rows:
        if row.name.startswith(("W2", "FD")) and row.floor:
            hint = f"{row.value / row.floor:.2f} × the {row.floor:.4g} of real data"
            figures.append(KeyFigure(label=row.name, value=f"{row.value:.4g}", hint=hint))
    if report.memorization is not None:
        hint = "distance to training data over that of held-out data; passes from 0.8"
        figures.append(KeyFigure(label="novelty", value=f"{report.memorization.ratio:.2f}", hint=hint))
    return figures


def _sections(run: Run, x: Tensor, y: "Tensor | None") -> "list[Section]":
    from pathline.viz.report import Picture, Section

    what = "one row a class" if run.class_names and run.about["image"] else "beside held-out data"
    sections = [
        Section(
            title="Samples",
            pictures=[Picture(shown=pictures.samples(run, x, y), alt=f"Samples of the model, {what}.")],
        )
    ]
    if pictures.misfit("source", run) is None:
        name = run.about["source"]["name"]
        shown = [Picture(shown=pictures.source(run), alt=f"Points of {name}, where the flow starts.")]
        sections.append(Section(title="Source", text=f"The flow starts at {name} instead of noise.", pictures=shown))
    moving = []
    if run.shape == (2,):
        moving = [
            Picture(shown=pictures.snapshots(run), alt="The cloud of samples at five times from noise to data."),
            Picture(shown=pictures.trajectories(run), alt="Lines from noise to samples."),
        ]
    elif run.about["image"]:
        caption = "Above: the state x_t. Below: what the network takes it for."
        moving = [Picture(shown=pictures.film(run), alt="Images emerging from noise over time.", caption=caption)]
    if moving:
        sections.append(
            Section(title="From noise to data" if run.origin is None else "From source to data", pictures=moving)
        )
    if pictures.misfit("loss", run) is None:
        last = run.log[-1]
        text = f"Loss {last['loss']:.4g} at step {last['step']}."
        shown = [Picture(shown=pictures.loss(run), alt="The training loss over the steps.")]
        sections.append(Section(title="Training", text=text, pictures=shown))
    return sections


def _cost(run: Run, found: "Assessment | None") -> dict[str, object]:
    solution = run.trajectory(2)
    cost: dict[str, object] = {
        "steps of the solver": solution.steps,
        "field evaluations per sample": solution.evaluations,
        "network evaluations per sample": solution.network_evaluations,
    }
    if found is not None:
        count = len(found.samples)
        cost["samples per second"] = f"{count / found.sampling_seconds:.1f} ({count} in {found.sampling_seconds:.1f} s)"
    return cost


def _neighbours(run: Run, found: "Assessment | None") -> "Picture | None":
    from pathline import viz
    from pathline.viz.report import Picture

    if found is None or found.report.memorization is None or not run.about["image"]:
        return None
    near = found.report.memorization
    shown = viz.pairs(found.samples, run.data.train.x[near.indices], distances=near.distances)
    return Picture(
        shown=shown,
        alt="The samples closest to training images, each above the training image nearest to it.",
        caption="The closest pairs of all samples: a copy would show here.",
    )


def _notes(run: Run) -> list[str]:
    from pathline._version import __version__

    return [
        f"Seed {run.settings.seed}; sample i is drawn from the seed of the first sample plus i.",
        f"pathline {__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads on {platform.machine()}.",
    ]
