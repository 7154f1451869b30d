"""The check of a trained model as text, as a picture, and as a page."""

import html
import math
from collections.abc import Sequence
from typing import Any

from pathline.verify import style
from pathline.verify.model import ModelReport, TimeBin
from pathline.verify.report import blank_figure, image, page

COLUMNS: tuple[tuple[str, str], ...] = (
    ("t", "middle of the bin"),
    ("train", "loss on training data, in the space of the network's prediction"),
    ("held out", "loss on data that were held out"),
    ("Bayes", "what no network can beat on the training data"),
    ("excess", "loss above Bayes on training data, without the noise of both"),
    ("velocity", "|u - u*|/|u*| against the exact velocity of the training data"),
    ("calibration", "slope of x_1 against the data prediction on held-out data: 1 is right, below 1 too bold"),
    ("continuity", "weak residual of dp/dt = -div(pu), as a share of the flux: 0 if u moves the marginals rightly"),
    ("Stein", "E[div u + u.s]/E|u.s|: 0 if the score is that of its states"),
    ("asymmetry", "of the Jacobian of the data prediction: 0 for a gradient field, as every exact one is"),
    ("div u", "mean divergence per dimension"),
    ("exact", "the same of the exact velocity of the training data"),
    ("bend", "E|u - (x_1 - x_0)|²/E|x_1 - x_0|² along sampled paths: 0 if straight"),
    ("distance", "of sampled states to the path of fresh data, at the end of the bin"),
    ("floor", "the same distance between training and fresh data"),
)
"""Head of each column, and what it means."""

NOTE = (
    "The exact field of the training data ends in the training points themselves: near t = 1 a network that "
    "generalises departs from it, and its loss on training data stays above Bayes. What counts there is the loss on "
    "held-out data, and the distance beside its floor."
)


def cells(row: TimeBin) -> list[str]:
    """The numbers of a bin in the order of `COLUMNS`."""
    numbers = (
        row.train, row.held_out, row.bayes, row.excess, row.velocity, None, row.continuity, row.stein, row.asymmetry,
        row.divergence, row.exact_divergence, row.bend, row.distance, row.floor,
    )  # fmt: skip
    slope = f"{row.calibration:.2f}±{row.calibration_error:.2f}"
    return [f"{0.5 * (row.low + row.high):.2f}", *(slope if n is None else _number(n) for n in numbers)]


def _number(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.3g}"


def text_table(report: ModelReport) -> str:
    """A row per bin, and where the velocity is furthest off."""
    rows = [[name for name, _ in COLUMNS], *(cells(row) for row in report.bins)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    legend = [f"  {name:<12}{meaning}" for name, meaning in COLUMNS[1:]]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:], "", *legend, "", verdict(report)])


def verdict(report: ModelReport) -> str:
    """Where the velocity is furthest from the exact one, and how far the loss is from what can be reached, and where."""
    worst, most = report.worst, max(report.bins, key=lambda row: row.excess)
    least, excess = (sum(getattr(row, name) for row in report.bins) / len(report.bins) for name in ("bayes", "excess"))
    share = most.excess / len(report.bins) / excess if excess > 0.0 else 0.0
    return (
        f"The velocity is furthest from the exact one at t = {worst.low:.2f} to {worst.high:.2f}: {worst.velocity:.0%} off. "
        f"Averaged over the bins the loss on training data is {excess:.2g} above the Bayes-optimal {least:.4g}; "
        f"{share:.0%} of that lies at t = {most.low:.2f} to {most.high:.2f}."
    )


def figure(report: ModelReport) -> Any:
    """Six panels over t: losses, velocity, calibration, identities, divergence, marginals."""
    middle = [0.5 * (row.low + row.high) for row in report.bins]
    shown = blank_figure(13.0, 6.6)
    panels = shown.subplots(2, 3).flatten()

    def lines(axes: Any, title: str, *names: tuple[str, str]) -> None:
        for (name, label), colour in zip(names, style.CYCLE, strict=False):
            axes.plot(
                middle, [getattr(row, name) for row in report.bins], "o-", ms=3.5, lw=1.2, color=colour, label=label
            )
        style.label(axes, "t", "", title)
        axes.legend(fontsize=7, frameon=False)

    lines(
        panels[0],
        f"loss ({report.prediction})",
        ("train", "training data"),
        ("held_out", "held out"),
        ("bayes", "Bayes"),
    )
    panels[0].set_yscale("log")
    lines(panels[1], "|u - u*|/|u*|", ("velocity", "against the exact field of the training data"))
    panels[1].set_yscale("log")
    lines(panels[2], "calibration of the data prediction", ("calibration", "slope of x_1 against D, held out"))
    errors = [2.0 * row.calibration_error for row in report.bins]
    panels[2].errorbar(middle, [row.calibration for row in report.bins], errors, fmt="none", color=style.RIGHT, lw=0.8)
    panels[2].axhline(1.0, color=style.INK, lw=0.8, ls=":")
    names = (("continuity", "continuity"), ("stein", "Stein"), ("asymmetry", "asymmetry"))
    lines(panels[3], "identities: 0 for a true field", *names)
    panels[3].axhline(0.0, color=style.INK, lw=0.8, ls=":")
    lines(panels[4], "divergence per dimension", ("divergence", "model"), ("exact_divergence", "exact, training data"))
    panels[4].set_yscale("symlog", linthresh=1.0)
    ends = [row.high for row in report.bins]
    for (name, label), colour in zip((("distance", "model"), ("floor", "floor")), style.CYCLE, strict=False):
        panels[5].plot(
            ends, [getattr(row, name) for row in report.bins], "o-", ms=3.5, lw=1.2, color=colour, label=label
        )
    style.label(panels[5], "t", "", "distance of marginals to fresh data")
    panels[5].set_ylim(bottom=0.0)
    panels[5].legend(fontsize=7, frameon=False)
    return shown


def training_curve(losses: Sequence[tuple[float, float]], least: tuple[float, float]) -> Any:
    """Losses (step, value) over the Bayes-optimal value of the objective, ``least`` = (value, standard error)."""
    shown = blank_figure(6.4, 3.2)
    axes = shown.subplots()
    axes.plot(*zip(*losses, strict=True), color=style.RIGHT, lw=0.8, label="training loss")
    axes.axhline(least[0], color=style.WRONG, lw=1.0, label=f"Bayes-optimal {least[0]:.4g}")
    axes.axhspan(least[0] - 2.0 * least[1], least[0] + 2.0 * least[1], color=style.WRONG, alpha=0.15, lw=0.0)
    axes.set_yscale("log")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "step", "loss", "what no network can beat")
    return shown


def to_html(report: ModelReport, name: str, *, curve: "Any | None" = None) -> str:
    """A self-contained page: the verdict, the picture, the table and what its columns mean."""
    head = "".join(
        f'<th title="{html.escape(told, quote=True)}">{html.escape(column)}</th>' for column, told in COLUMNS
    )
    rows = "".join(
        "<tr>" + "".join(f'<td class="number">{c}</td>' for c in cells(row)) + "</tr>" for row in report.bins
    )
    legend = "".join(f"<li><b>{html.escape(column)}</b>: {html.escape(told)}</li>" for column, told in COLUMNS[1:])
    trained = "" if curve is None else f"<section>{image(curve, 'training loss over the Bayes-optimal loss')}</section>"
    body = (
        f"<h1>Where is {html.escape(name)} wrong?</h1><p>{html.escape(verdict(report))}</p>"
        f"<section>{image(figure(report), 'readings over time')}</section><table><tr>{head}</tr>{rows}</table>"
        f'{trained}<ul class="how">{legend}</ul><p class="how">{html.escape(NOTE)}</p>'
    )
    return page(f"pathline verify {name}", body)
