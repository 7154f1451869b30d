"""Guidance: functions from a field to a field."""

from collections.abc import Callable

from pathline.guidance import scales
from pathline.guidance.apg import APG
from pathline.guidance.autoguidance import Autoguidance
from pathline.guidance.base import Guidance, Guided, Weight, drop, extrapolate, null_like
from pathline.guidance.branches import Branches
from pathline.guidance.cfg import CFG, guide
from pathline.guidance.cfg_pp import CFGPlusPlus
from pathline.guidance.cfg_zero import CFGZero
from pathline.guidance.classifier import ClassifierGuidance, class_log_prob, fit_classifier
from pathline.guidance.composed import Composed
from pathline.guidance.interval import Interval
from pathline.guidance.rescale import Rescale
from pathline.guidance.scales import SCALES

GUIDANCE: dict[str, Callable[..., Guidance]] = {
    "cfg": CFG,
    "interval": Interval,
    "rescale": Rescale,
    "cfg_zero": CFGZero,
    "cfg_pp": CFGPlusPlus,
    "apg": APG,
    "autoguidance": Autoguidance,
    "classifier": ClassifierGuidance,
    "composed": Composed,
}
"""Guidance methods by name. Those that need more than numbers (a weak field, a classifier, several scales) are built in Python."""

__all__ = [
    "APG", "Autoguidance", "Branches", "CFG", "CFGPlusPlus", "CFGZero", "ClassifierGuidance", "Composed", "GUIDANCE",
    "Guidance", "Guided", "Interval", "Rescale", "SCALES", "Weight", "class_log_prob", "drop", "extrapolate",
    "fit_classifier", "guide", "null_like", "scales",
]  # fmt: skip
