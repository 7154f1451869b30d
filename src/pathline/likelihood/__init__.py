"""Likelihood and encoding by the instantaneous change of variables (theory T7)."""

from pathline.likelihood.bits import BitsPerDim, bits_per_dim
from pathline.likelihood.density import encode, log_prob
from pathline.likelihood.traces import DIVERGENCES, divergence

__all__ = ["DIVERGENCES", "BitsPerDim", "bits_per_dim", "divergence", "encode", "log_prob"]
