"""Flow matching and diffusion models in PyTorch, from exact theory to few-step sampling.

>>> import torch, pathline as pl
>>> path = pl.AffinePath(pl.Linear())
>>> field = pl.testing.oracles.gaussian(torch.tensor([2.0, -1.0]), 0.25 * torch.eye(2), path)
>>> x_1 = pl.sample(field, (1000, 2), solver="heun", steps=32, generator=torch.Generator().manual_seed(0))
>>> (x_1.mean(0) - torch.tensor([2.0, -1.0])).abs().max().item() < 0.06
True
"""

import importlib
from typing import TYPE_CHECKING, Any

from pathline import couplings, guidance, likelihood, objectives, predictions, schedules, solvers, times
from pathline._version import __version__
from pathline.couplings import COUPLINGS
from pathline.field import BaseField, Field
from pathline.guidance import CFG, GUIDANCE
from pathline.likelihood import bits_per_dim, encode, log_prob
from pathline.objectives import WEIGHTS, BridgeMatching, Matching, weights
from pathline.paths import AffinePath, BridgePath, Estimate, Path
from pathline.predictions import DATA, DISPLACEMENT, NOISE, PREDICTIONS, SCORE, VELOCITY, Prediction, V, edm_f
from pathline.schedules import (
    DDPM,
    EDM,
    SCHEDULES,
    VE,
    VP,
    Coefs,
    Cosine,
    CustomSchedule,
    Linear,
    Lipman,
    Polynomial,
    Schedule,
    Trig,
)
from pathline.solvers import SOLVERS, Solution, Solver, integrate, load_solver, processes, sample, simulate, solve, tune
from pathline.times import TIMES, TimeLaw

if TYPE_CHECKING:
    from pathline import control, data, metrics, nets, testing, train, verify, viz
    from pathline.train import Run, Trainer, fit


_LAZY_MODULES = ("control", "data", "metrics", "nets", "testing", "train", "verify", "viz")
_LAZY_NAMES = {"Run": "pathline.train", "Trainer": "pathline.train", "fit": "pathline.train"}

__all__ = [
    "__version__",
    # schedules
    "Schedule", "Coefs", "Linear", "Lipman", "VP", "Cosine", "Trig", "Polynomial", "VE", "EDM", "DDPM", "CustomSchedule",
    # predictions
    "Prediction", "DATA", "NOISE", "VELOCITY", "SCORE", "V", "DISPLACEMENT", "edm_f",
    # paths and fields
    "Path", "AffinePath", "BridgePath", "Estimate", "BaseField", "Field", "CFG",
    # training
    "Matching", "BridgeMatching", "TimeLaw", "weights", "fit", "Trainer", "Run",
    # simulation
    "Solver", "Solution", "sample", "solve", "integrate", "simulate", "tune", "load_solver",
    # likelihood
    "log_prob", "encode", "bits_per_dim",
    # registries
    "SCHEDULES", "PREDICTIONS", "TIMES", "COUPLINGS", "GUIDANCE", "WEIGHTS", "SOLVERS",
    # modules
    "schedules", "predictions", "times", "couplings", "guidance", "objectives", "solvers", "processes", "likelihood",
    "control", "data", "metrics", "nets", "testing", "train", "verify", "viz",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # what needs more than torch is imported when it is first used
    if name in _LAZY_MODULES:
        return importlib.import_module(f"pathline.{name}")
    if name in _LAZY_NAMES:
        return getattr(importlib.import_module(_LAZY_NAMES[name]), name)
    raise AttributeError(f"module 'pathline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
