"""Probability paths: how a source point becomes a data point."""

from pathline.paths.affine import AffineEstimate, AffinePath
from pathline.paths.base import Estimate, Path
from pathline.paths.bridge import (
    DRIFT,
    LATENT,
    BridgeEstimate,
    BridgePath,
    icfm,
    schrodinger_bridge,
    two_heads,
    variance_preserving,
)
from pathline.paths.gammas import GAMMAS, Brownian, Constant, Gamma, Sine

__all__ = [
    "DRIFT",
    "GAMMAS",
    "LATENT",
    "AffineEstimate",
    "AffinePath",
    "BridgeEstimate",
    "BridgePath",
    "Brownian",
    "Constant",
    "Estimate",
    "Gamma",
    "Path",
    "Sine",
    "icfm",
    "schrodinger_bridge",
    "two_heads",
    "variance_preserving",
]
