"""Pictures of data, samples, flows and trainings, drawn with matplotlib in one style, and the report of a run.

Every function draws on the axes given as ``ax``, or on a new figure, and returns the axes; ``ax.figure`` is the picture
(end a notebook cell with it), `save` writes it. No function touches pyplot or the settings of matplotlib. Pictures of
several panels stand within one axes; the panels are its ``child_axes``.

>>> import torch, pathline as pl
>>> field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
>>> solution = pl.solve(field, (100, 2), steps=16, generator=torch.Generator().manual_seed(0))
>>> ax = pl.viz.trajectories(solution)
>>> ax.get_aspect()
1.0
"""

from pathline.viz.animation import animate
from pathline.viz.arrays import mosaic
from pathline.viz.curves import error_curve, loss, running_mean
from pathline.viz.flow import density, field, phase_portrait, snapshots, trajectories
from pathline.viz.images import film, image_grid, pairs
from pathline.viz.plane import Limits, frame
from pathline.viz.points import histogram, samples, scatter
from pathline.viz.report import KeyFigure, Picture, Section, write_report
from pathline.viz.saving import png, save
from pathline.viz.sources import Density
from pathline.viz.style import PALETTE, style
from pathline.viz.timewise import loss_by_time, over_time

__all__ = [
    # samples
    "samples", "image_grid", "scatter", "histogram", "pairs", "film",
    # flows
    "trajectories", "field", "density", "snapshots", "phase_portrait", "Density",
    # curves
    "loss", "loss_by_time", "error_curve", "over_time", "running_mean",
    # files
    "animate", "save", "png", "write_report", "KeyFigure", "Picture", "Section",
    # parts
    "style", "PALETTE", "Limits", "frame", "mosaic",
]  # fmt: skip
