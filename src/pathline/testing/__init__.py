"""Exact fields to compare with, and the laws that every part obeys: `oracles` and `laws`."""

from pathline.testing import oracles

__all__ = ["oracles"]
