"""What the tab of runs shows: flows in the plane, images as they come, and one sample looked at closely."""

import itertools
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline import viz
from pathline.playground.parts import pick_list, picture
from pathline.playground.payload import Packed, pack
from pathline.playground.runs import MOST_SAMPLES, Closer, Drawing, sample_pieces, training_data, trajectories
from pathline.train import Run
from pathline.train.pictures import samples as picture_of_samples
from pathline.viz.arrays import Range, pixel_range, to_bytes
from pathline.viz.plane import frame

SHOWN = 500
"""Training points behind the particles of a run."""
_ids = itertools.count(1)


def flow_of(root: Path, chosen: "list[Run]", how: Drawing) -> dict[str, Any]:
    """Runs in the plane as views of one canvas, with some of their training data where these are at hand."""
    solutions = [trajectories(run, how) for run in chosen]
    box = frame(torch.cat([solution.x for solution in solutions] + [solutions[0].trajectory[0]]))  # pyright: ignore[reportOptionalSubscript]
    middle, half = ((box[0] + box[1]) / 2, (box[2] + box[3]) / 2), max(box[1] - box[0], box[3] - box[2]) / 2
    views = []
    for run, solution in zip(chosen, solutions, strict=True):
        labels = run.labels(how.count, how.label)
        few = labels is not None and len(run.class_names) <= 10
        views.append(
            {
                "title": run.path.name if len(chosen) > 1 else "",
                "times": pack(solution.times),
                "states": pack(torch.as_tensor(solution.trajectory)),
                "classes": pack(labels.clamp(min=0), "u1", (0, 255)) if few and labels is not None else None,
                "data": _some_data(root, run),
            }
        )
    square = [middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half]
    return {"kind": "flow", "id": f"run-{next(_ids)}", "box": square, "views": views}


def _some_data(root: Path, run: Run) -> "Packed | None":
    try:
        return pack(training_data(root, run)[:SHOWN])
    except (ValueError, OSError, TypeError):
        return None


def pieces(run: Run, how: Drawing) -> "Iterator[tuple[str, list[Any]]]":
    """(progress, [what `picks` shows, HTML]) as the samples come."""
    if len(run.shape) == 3 and run.shape[0] in (1, 3):
        if how.count > MOST_SAMPLES:
            raise ValueError(f"at most {MOST_SAMPLES} images are shown, got {how.count}: lower the number of samples")
        done: list[Tensor] = []
        labels = run.labels(how.count, how.label)
        for piece in sample_pieces(run, how):
            done.append(piece)
            x = torch.cat(done)
            pixels = to_bytes(x.numpy(), _grey(run, x))
            texts = [f"sample {i}" + _named(run, labels, i) for i in range(len(x))]
            columns = min(10, max(4, round(how.count**0.5)))
            yield (
                f"{len(x)} of {how.count}",
                [pick_list(pixels, texts, columns), ""],
            )
        return
    x = torch.cat(list(sample_pieces(run, how)))
    told = f"{how.count} samples of {run.path.name}, shape {run.shape}"
    yield f"{len(x)} of {how.count}", [{}, picture(picture_of_samples(run, x, run.labels(how.count, how.label)), told)]


def _grey(run: Run, x: Tensor) -> Range:
    """(black, white)."""
    levels = run.about["levels"]
    return pixel_range(x.numpy(), None) if levels is None else (0.0, float(levels - 1))


def _named(run: Run, labels: "Tensor | None", index: int) -> str:
    return "" if labels is None or int(labels[index]) < 0 else f", class {run.class_names[int(labels[index])]}"


def closer_look(run: Run, found: Closer) -> str:
    """The film of a sample and its nearest training data, as HTML."""
    parts = []
    nearest = "" if found.distances is None else ", ".join(f"{d:.3g}" for d in found.distances.tolist())
    if len(run.shape) == 3 and run.shape[0] in (1, 3):
        cond: dict[str, Any] = {} if found.label is None else {"y": found.label}
        film = viz.film(
            found.solution,
            field=run.field,
            samples=1,
            transform=run.decode,
            title="x_t above, E[x_1 | x_t] below",
            **cond,
        )
        parts.append(
            picture(film, "The sample at nine times from noise to data, and what the network takes it for", pixels=True)
        )
        if found.neighbours is not None:
            row = torch.cat([found.sample.to(found.neighbours), found.neighbours])
            ax = viz.image_grid(row, columns=len(row), rows=1, title="the sample, then the nearest training images")
            parts.append(
                picture(ax, f"The sample and its nearest training images, at distances {nearest}", pixels=True)
            )
    else:
        values = ", ".join(f"{v:.3g}" for v in found.sample.flatten()[:8].tolist())
        parts.append(f"<p>sample {found.index} of {escape(run.path.name)} ends at ({values})</p>")
    if nearest:
        parts.append(f"<p>distances to the nearest training points: {nearest}</p>")
    if found.reason:
        parts.append(f"<p>No training data beside it: {escape(found.reason)}</p>")
    return "".join(parts)


def loss_of(run: Run) -> str:
    """The loss over the steps, or why there is none."""
    return (
        picture(viz.loss(run.log), f"Loss of {run.path.name} over its steps") if run.log else "<p>no losses on file</p>"
    )


def nothing(root: Path) -> str:
    return f"There is no run below `{root}`. Train one, `pathline train moons`, and look for runs again."
