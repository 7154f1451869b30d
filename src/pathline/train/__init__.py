"""Training: configs, the loop, checkpoints, and runs ready to sample.

>>> import pathline as pl
>>> from pathline.train import RECIPES
>>> RECIPES["moons"](steps=2000).data
'moons(n=50000)'
"""

from pathline.train import pictures
from pathline.train.assess import Assessment, assess
from pathline.train.averages import reconstruct
from pathline.train.checkpoint import CheckpointError
from pathline.train.config import Sampling, Settings, TrainConfig
from pathline.train.ema import EMA
from pathline.train.lock import LockedError
from pathline.train.loop import Trainer, fit
from pathline.train.optimizers import OPTIMIZERS
from pathline.train.preflight import Checkup, PreflightError, Suggestions, checkup, suggest
from pathline.train.recipes import RECIPES
from pathline.train.reflow import Reflowed, reflow, straightness
from pathline.train.run import Run
from pathline.train.saving import DivergedError
from pathline.train.signals import Interrupted

__all__ = [
    "EMA",
    "OPTIMIZERS",
    "RECIPES",
    "CheckpointError",
    "Checkup",
    "DivergedError",
    "Assessment",
    "assess",
    "Interrupted",
    "LockedError",
    "PreflightError",
    "Reflowed",
    "Run",
    "Sampling",
    "Settings",
    "Suggestions",
    "TrainConfig",
    "Trainer",
    "checkup",
    "fit",
    "pictures",
    "reconstruct",
    "reflow",
    "straightness",
    "suggest",
]
