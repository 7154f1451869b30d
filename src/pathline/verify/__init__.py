"""Numerical checks of the theory, each against an independent oracle, and of trained models.

>>> from pathline import verify
>>> [result.passed for result in verify.run(["T12", "T17"], controls=True)]
[True, True]
"""

from collections.abc import Callable, Sequence

from pathline._errors import lookup
from pathline.verify.algebra import T17, T18, T20
from pathline.verify.base import Check, Mistake, Outcome, Reading, Result, run_check
from pathline.verify.bayes import BayesLoss, bayes_loss, bayes_objective
from pathline.verify.conditional import T11, T12
from pathline.verify.density import T7
from pathline.verify.family import T14, T15
from pathline.verify.flows import T1, T2, T4
from pathline.verify.grids import T26, T39
from pathline.verify.guidance import T33, T35
from pathline.verify.lowrank import T19
from pathline.verify.matching import T13
from pathline.verify.methods import T34
from pathline.verify.model import ModelReport, TimeBin, verify_model
from pathline.verify.pairing import T28, T29, T30
from pathline.verify.paths import T8, T9, T10
from pathline.verify.posterior import T16
from pathline.verify.reflowing import T31, T32
from pathline.verify.schedules import T21, T22, T23, T24, T25
from pathline.verify.sdes import T3, T5, T6
from pathline.verify.steps import T36, T37

CHECKS: dict[str, Check] = {
    "T1": T1, "T2": T2, "T3": T3, "T4": T4, "T5": T5, "T6": T6, "T7": T7, "T8": T8, "T9": T9, "T10": T10,
    "T11": T11, "T12": T12, "T13": T13, "T14": T14, "T15": T15, "T16": T16, "T17": T17, "T18": T18, "T19": T19, "T20": T20,
    "T21": T21, "T22": T22, "T23": T23, "T24": T24, "T25": T25, "T26": T26, "T28": T28, "T29": T29, "T30": T30,
    "T31": T31, "T32": T32, "T33": T33, "T34": T34, "T35": T35,
    "T36": T36, "T37": T37, "T39": T39,
}  # fmt: skip
"""Every check by the id of its statement."""


def run(
    ids: Sequence[str] | None = None,
    *,
    controls: bool = False,
    progress: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Run the checks ``ids`` (all if None) in their order; ``controls`` runs their negative controls as well.

    ``progress`` is called with each result as it comes. Raises ValueError for an unknown id, before anything runs.
    """
    chosen = [lookup("check", name, CHECKS) for name in (CHECKS if ids is None else ids)]
    results = []
    for check in chosen:
        results.append(run_check(check, controls=controls))
        if progress is not None:
            progress(results[-1])
    return results


__all__ = [
    "BayesLoss", "CHECKS", "Check", "Mistake", "ModelReport", "Outcome", "Reading", "Result", "TimeBin",
    "bayes_loss", "bayes_objective", "run", "run_check", "verify_model",
]  # fmt: skip
