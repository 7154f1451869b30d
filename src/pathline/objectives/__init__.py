"""Objectives: what training minimises."""

from pathline.objectives import weights
from pathline.objectives.matching import Matching
from pathline.objectives.weights import WEIGHTS, Weight

__all__ = ["Matching", "WEIGHTS", "Weight", "weights"]
