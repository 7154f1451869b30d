"""Probability paths: how a source point becomes a data point."""

from pathline.paths.affine import AffineEstimate, AffinePath
from pathline.paths.base import Estimate, Path

__all__ = ["AffineEstimate", "AffinePath", "Estimate", "Path"]
