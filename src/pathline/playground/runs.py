"""Runs mode: open a run, draw from it in pieces, and look at single samples. No Gradio here."""

import json
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pathline.metrics.base import squared_distances
from pathline.playground.guard import METRICS_FILE, Refused, data_within, run_folder
from pathline.solvers import SOLVERS, Solution
from pathline.train import Run

MOST_SAMPLES, MOST_PARTICLES, MOST_EVALUATIONS = 256, 4_000, 512
PIECE = 32
"""Images at a time: between two pieces progress is told, and a stop is heard."""
OWN = "as trained"
KEPT = 4

_opened: "OrderedDict[tuple[str, int], Run]" = OrderedDict()
_lock = threading.Lock()


def open_run(root: Path, name: str) -> Run:
    """The run ``name`` below ``root``, with its newest whole checkpoint; the last few stay in memory.

    Raises:
        Refused, CheckpointError: see `guard.run_folder` and `pathline.train.Run.open`.
    """
    folder = run_folder(root, name)
    stamp = max((path.stat().st_mtime_ns for path in (folder / "checkpoints").iterdir()), default=0)
    key = str(folder.resolve()), stamp
    with _lock:
        if key not in _opened:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # of a newer checkpoint that is damaged; the step says which one is shown
                _opened[key] = Run.open(folder)
            while len(_opened) > KEPT:
                _opened.popitem(last=False)
        _opened.move_to_end(key)
        return _opened[key]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How to draw from a run. What is None is what the run itself says."""

    count: int = 64
    seed: int = 0
    label: int | None = None
    """Each class in turn if None."""
    solver: str | None = None
    evaluations: int | None = None
    guidance: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST_PARTICLES:
            raise ValueError(f"samples must lie between 1 and {MOST_PARTICLES:,}, got {self.count}")
        if not 0 <= self.seed < 2**32 - MOST_PARTICLES:
            raise ValueError(f"the seed must lie in [0, {2**32 - MOST_PARTICLES}), got {self.seed}")
        if self.evaluations is not None and not 1 <= self.evaluations <= MOST_EVALUATIONS:
            raise ValueError(f"evaluations must lie between 1 and {MOST_EVALUATIONS}, got {self.evaluations}")
        if self.guidance is not None and not -5.0 <= self.guidance <= 20.0:
            raise ValueError(f"the guidance scale w must lie in [-5, 20], got {self.guidance:g}")

    def options(self, run: Run) -> dict[str, Any]:
        """Arguments of `Run.sample` and `Run.trajectory`."""
        chosen = SOLVERS.get(self.solver or "")
        budget = None if chosen is not None and chosen.adaptive else self.evaluations
        guidance = self.guidance
        if guidance is not None and not run.class_names:
            if guidance != 1.0:
                raise ValueError(
                    f"{run.path.name} was trained without labels: guidance has nothing to strengthen, set w to 1"
                )
            guidance = None
        return {"solver": self.solver, "evaluations": budget, "guidance": guidance}


def planar(run: Run) -> bool:
    """Whether samples are points in the plane, which the canvas shows."""
    return run.shape == (2,)


def trajectories(run: Run, drawing: Drawing) -> Solution:
    """All samples with their ways, in the units of the data."""
    solution = run.trajectory(drawing.count, y=drawing.label, seed=drawing.seed, **drawing.options(run))
    return run.in_your_units(solution)


def sample_pieces(run: Run, drawing: Drawing) -> "Iterator[Tensor]":
    """The samples in pieces of `PIECE`, in the units of the data; sample i is of seed + i whatever the pieces."""
    labels = run.labels(drawing.count, drawing.label)
    for start in range(0, drawing.count, PIECE):
        stop = min(start + PIECE, drawing.count)
        y = None if labels is None else labels[start:stop]
        yield run.sample(stop - start, y=y, seed=drawing.seed + start, **drawing.options(run))


@dataclass(frozen=True, kw_only=True, eq=False)
class Closer:
    """One sample, looked at."""

    index: int
    """Its place among those that were drawn."""
    solution: Solution
    """Its way, (steps + 1, 1, ...), in the units of the network."""
    sample: Tensor
    """(1, ...), in those of the data."""
    label: int | None
    neighbours: "Tensor | None"
    """The nearest training points (K, ...); None where the data are not at hand."""
    distances: "Tensor | None"
    reason: str = ""
    """Why there are no neighbours."""


def closer(root: Path, run: Run, drawing: Drawing, index: int, neighbours: int = 7) -> Closer:
    """Sample ``index`` of a drawing: drawn again from its seed, with what the training data have nearest to it."""
    if not 0 <= index < drawing.count:
        raise ValueError(f"sample {index} is not among the {drawing.count} that were drawn")
    labels = run.labels(drawing.count, drawing.label)
    y = None if labels is None else labels[index : index + 1]
    solution = run.trajectory(1, y=y, seed=drawing.seed + index, **drawing.options(run))
    sample = run.decode(solution.x)
    found = distances = None
    reason = ""
    try:
        train = training_data(root, run)
        squared = squared_distances(sample.flatten(1), train.flatten(1).to(sample))[0]
        distances, places = squared.clamp(min=0.0).sqrt().topk(min(neighbours, len(train)), largest=False)
        found = train[places]
    except (ValueError, OSError, TypeError) as error:
        reason = str(error)
    return Closer(
        index=index, solution=solution, sample=sample, label=None if y is None else int(y[0]), neighbours=found, distances=distances,
        reason=reason,
    )  # fmt: skip


def training_data(root: Path, run: Run) -> Tensor:
    """What the run was trained on, in its own units, if that is a named set or a file below ``root``."""
    if not data_within(root, run.config.data):
        raise Refused(
            f"the training data {run.config.data!r} are not a named set: the playground reads no file outside of its folder"
        )
    return run.data.train.x


def about(run: Run) -> str:
    """Markdown: what was trained, and how good it was when it was measured."""
    parameters = sum(p.numel() for p in run.net.parameters())
    told = run.objective
    rows = [
        ("data", f"{run.about['name']}, {run.about['size']:,} samples of shape {run.shape}"),
        ("classes", ", ".join(run.class_names[:12]) or "none"),
        ("training", f"{run.step:,} steps, {parameters:,} weights"),
    ]
    if told is not None:
        rows.append(("objective", f"{told.path.schedule!r}, predicts {told.prediction}"))
    rows += _metrics(run.path / METRICS_FILE)
    return f"| run | {harmless(run.path.name)} |\n|---|---|\n" + "\n".join(
        f"| {harmless(key)} | {harmless(value)} |" for key, value in rows
    )


def _metrics(path: Path) -> list[tuple[str, str]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"][:8]
        return [(str(row["name"]), f"{float(row['value']):.3g} (real data {float(row['floor']):.3g})") for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def harmless(value: object) -> str:
    """Text of a run for a table of Markdown: nothing in it is markup, whatever the run is called."""
    words = "".join(" " if character in "\r\n|" else character for character in str(value)[:300])
    return "".join("\\" + c if c in "\\`*_{}[]()#+!~$" else c for c in words).replace("<", "&lt;").replace(">", "&gt;")
