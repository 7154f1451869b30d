"""Guidance: functions from a field to a field."""

from collections.abc import Callable

from pathline.guidance.base import Guidance, extrapolate, null_like
from pathline.guidance.cfg import CFG, guide

GUIDANCE: dict[str, Callable[..., Guidance]] = {"cfg": CFG}
"""Guidance methods by the name that configurations use."""

__all__ = ["CFG", "GUIDANCE", "Guidance", "extrapolate", "guide", "null_like"]
