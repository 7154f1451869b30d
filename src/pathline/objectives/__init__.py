"""Objectives: what training minimises."""

from pathline.objectives import weights
from pathline.objectives.bridge import BridgeMatching
from pathline.objectives.matching import Matching
from pathline.objectives.weights import WEIGHTS, Weight

__all__ = ["WEIGHTS", "BridgeMatching", "Matching", "Weight", "weights"]
