"""Couplings of source and data, as indices into the source."""

from collections.abc import Callable

from pathline.couplings.base import Coupling
from pathline.couplings.independent import Independent, independent

COUPLINGS: dict[str, Callable[..., Coupling]] = {"independent": independent}
"""Couplings by the name that configurations use."""

__all__ = ["COUPLINGS", "Coupling", "Independent", "independent"]
