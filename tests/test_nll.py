"""Likelihood of held-out data in the report of a run, against closed forms."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pathline as pl
from pathline.data import Dataset, Standardizer
from pathline.train import Run
from pathline.train.config import Settings
from pathline.train.nll import nll
from pathline.train.told import describe_data

LINEAR = pl.AffinePath(pl.Linear())


class Exact(nn.Module):
    """The velocity of N(0, variance) as a network."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(variance))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        t = t.reshape(-1, *(1,) * (x_t.ndim - 1)) if t.ndim else t
        variance = t**2 * self.scale + (1.0 - t) ** 2
        return (t * self.scale - (1.0 - t)) / variance * x_t


def run_of(x: Tensor, tmp_path: Path, standardizer: Standardizer, *, levels: int | None = None, variance: float) -> Run:
    data = Dataset(x=x, levels=levels)
    return Run(
        path=tmp_path,
        step=1,
        settings=Settings(held_out=0.5, dequantize=levels is not None),
        net=Exact(variance),
        objective=pl.Matching(LINEAR, pl.VELOCITY),
        standardizer=standardizer,
        about=describe_data(data),
        source=data,
    )


def test_nll_is_in_the_units_of_the_data(tmp_path: Path) -> None:
    """Data N(5, 9): the model is exact, so the NLL is -log N(x; 5, 9) of the held-out points."""
    x = 5.0 + 3.0 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    one = torch.ones(1, 2, dtype=torch.float64)
    run = run_of(x, tmp_path, Standardizer(mean=5 * one, std=2 * one, low=0 * one, high=10 * one), variance=2.25)
    row = nll(run)
    held_out = run.data.held_out
    assert held_out is not None
    assert row.floor is not None
    for part, found in ((held_out.x, row.value), (run.data.train.x, row.floor)):
        truth = (0.5 * ((part.double() - 5.0) / 3.0) ** 2 + math.log(3.0) + 0.5 * math.log(2 * math.pi)).sum(1).mean()
        assert found == pytest.approx(float(truth), abs=1e-3)


def test_bits_per_dim_of_levels(tmp_path: Path) -> None:
    """Levels of a rounded wide Gaussian: its entropy per dimension in bits, log2 sqrt(2 pi e 16²) up to sampling."""
    x = (64.0 + 16.0 * torch.randn(600, 2, generator=torch.Generator().manual_seed(0))).round().clamp(0.0, 127.0)
    one = torch.ones(1, 1, dtype=torch.float64)
    run = run_of(
        x, tmp_path, Standardizer(mean=64 * one, std=16 * one, low=0 * one, high=127 * one), levels=128, variance=1.0
    )
    row = nll(run)
    assert "bits/dim" in row.name
    assert row.value == pytest.approx(0.5 * math.log2(2 * math.pi * math.e * 16**2), abs=0.1)
