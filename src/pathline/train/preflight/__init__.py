"""What is looked at before training, and what the data suggest."""

from pathline.train.preflight.checkup import checkup
from pathline.train.preflight.explained import Explained, explained_variance
from pathline.train.preflight.finding import Checkup, Finding, PreflightError
from pathline.train.preflight.rates import highest_rate, noise_scale
from pathline.train.preflight.regress import Regressed, regressed
from pathline.train.preflight.suggest import Suggestion, Suggestions, suggest, suggestions_for

__all__ = [
    "Checkup",
    "Explained",
    "Finding",
    "PreflightError",
    "Regressed",
    "Suggestion",
    "Suggestions",
    "checkup",
    "explained_variance",
    "highest_rate",
    "noise_scale",
    "regressed",
    "suggest",
    "suggestions_for",
]
