"""Control of any trained field without training: observations, posterior sampling, editing.

Posterior methods that are fields are used as ``guidance=``, those that are steps as ``solver=``; all know nothing but the field, which may be
conditional or guided itself.
"""

from collections.abc import Callable

from pathline.control.base import Observation, Posterior, observe
from pathline.control.d_flow import Optimised, d_flow
from pathline.control.dps import DPS
from pathline.control.editing import edit, interpolate, resume, slerp, translate
from pathline.control.flow_dps import FlowDPS
from pathline.control.flower import Flower
from pathline.control.moments import MomentMatching
from pathline.control.momentum import Momentum
from pathline.control.operators import OPERATORS, AveragePool, Blur, Gray, Mask, Matrix, Operator
from pathline.control.pigdm import PiGDM
from pathline.control.replacement import Replacement
from pathline.control.stepping import PosteriorStep

POSTERIORS: dict[str, Callable[..., Posterior]] = {"dps": DPS, "pigdm": PiGDM, "moments": MomentMatching}
"""Posterior methods that are guidance: Field -> Field, for any solver."""
STEPS: dict[str, Callable[..., "PosteriorStep | Replacement"]] = {
    "flow_dps": FlowDPS,
    "flower": Flower,
    "replacement": Replacement,
}
"""Posterior methods that are solvers."""

__all__ = [
    "AveragePool", "Blur", "DPS", "FlowDPS", "Flower", "Gray", "Mask", "Matrix", "MomentMatching", "Momentum", "OPERATORS",
    "Observation", "Operator", "Optimised", "POSTERIORS", "PiGDM", "Posterior", "PosteriorStep", "Replacement", "STEPS",
    "d_flow", "edit", "interpolate", "observe", "resume", "slerp", "translate",
]  # fmt: skip
