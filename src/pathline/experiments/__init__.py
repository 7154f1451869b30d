"""Ablations that run: a question, a table, a picture and the numbers, over several seeds.

>>> from pathline.experiments import EXPERIMENTS
>>> EXPERIMENTS["jit-toy"].values[0]
'sliced W2'
"""

from pathline.experiments import guiding, jit_toy, laws, nine, solving
from pathline.experiments.base import Experiment, Options, Record, Result

_ALL = (jit_toy.EXPERIMENT, nine.EXPERIMENT, *laws.EXPERIMENTS, *solving.EXPERIMENTS, guiding.EXPERIMENT)
EXPERIMENTS: dict[str, Experiment] = {found.name: found for found in _ALL}
"""Experiments by the name that `pathline experiment` takes."""

__all__ = ["EXPERIMENTS", "Experiment", "Options", "Record", "Result"]
