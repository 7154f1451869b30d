"""The negative log-likelihood of held-out data under a run (theory T7), beside that of the data it was trained on."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pathline.data import Dataset
from pathline.likelihood import bits_per_dim, log_prob
from pathline.metrics import Row
from pathline.solvers import dopri5
from pathline.train.run import Run

NAME = "nll"
EXACT_UP_TO = 16
"""Dimensions up to which the exact divergence is cheap; above, one random direction per sample keeps the mean unbiased."""
POINTS, IMAGES, BATCH, TRIAL = 512, 128, 128, 16
DEQUANTISE = ("path", "uniform")


def nll(run: Run, *, n: "int | None" = None, seed: int = 0, tolerance: float = 1e-4) -> Row:
    """Mean of -log p over ``n`` held-out samples of ``run``, conditional on their labels where it has some.

    Bits per dimension for data on whole levels, by that way of `bits_per_dim` to make them continuous whose bound is lower on a few
    training samples; otherwise nats per sample in your units, the density of standardised values carried over by their
    scale. Beside it stands the same for samples of the training part: a gap between both is over-fitting.

    Raises:
        ValueError: nothing was held out, or the run does not start from Gaussian noise.
    """
    data = run.data
    if data.held_out is None:
        raise ValueError(f"{run.path} held out no data: train with held_out > 0")
    n = (IMAGES if run.about["image"] else POINTS) if n is None else n
    n = min(n, len(data.held_out), len(data.train))
    levels = run.about["levels"] is not None

    def measured(part: Dataset, count: int, way: "str | None") -> Tensor:
        rows = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:count]
        return _values(run, part.x[rows], None if part.y is None else part.y[rows], way, seed, tolerance)

    way = min(DEQUANTISE, key=lambda each: float(measured(data.train, TRIAL, each).mean())) if levels else None
    ours, beside = (measured(part, n, way) for part in (data.held_out, data.train))
    exact = math.prod(run.shape) <= EXACT_UP_TO
    return Row(
        name="bits/dim, held-out" if levels else "NLL, held-out (nats)",
        value=float(ours.mean()),
        value_spread=float(ours.std()) / len(ours) ** 0.5,
        floor=float(beside.mean()),
        floor_spread=float(beside.std()) / len(beside) ** 0.5,
        better="lower",
        n=n,
        note=f"beside: training data; ± standard error; {'exact' if exact else 'estimated'} divergence"
        + (f"; {way} noise" if levels else ""),
    )


def _values(run: Run, x: Tensor, y: "Tensor | None", way: "str | None", seed: int, tolerance: float) -> Tensor:
    """-log p of each row of ``x``, (n,): bits per dimension of levels, else nats."""
    done: list[Tensor] = []
    standardizer, levels = run.standardizer, run.about["levels"]
    device = run.device
    for rows in torch.arange(len(x)).split(BATCH):
        options: dict[str, Any] = {"solver": dopri5(rtol=tolerance, atol=tolerance)}
        if run.class_names and y is not None:
            options["y"] = y[rows].to(device)
        if math.prod(run.shape) > EXACT_UP_TO:
            options |= {"divergence": "hutchinson", "seeds": _seeds(seed, rows)}
        z = standardizer.transform(x[rows]).float().to(device)
        if levels is None or way is None:
            scale = standardizer.std.log().expand(1, *run.shape).sum()
            done.append(scale - log_prob(run.field, z, **options).double().cpu())
        else:
            low, high = (standardizer.transform(torch.full((1, *run.shape), float(v))) for v in (0, levels - 1))
            generator = torch.Generator(device).manual_seed(seed + int(rows[0]))
            ends = {"low": low[0].to(z), "high": high[0].to(z)}
            found = bits_per_dim(run.field, z, levels=levels, dequantise=way, generator=generator, **ends, **options)
            done.append(found.per_sample.double().cpu())
    return torch.cat(done)


def _seeds(seed: int, rows: Tensor) -> Sequence[int]:
    return [seed + int(row) for row in rows]
