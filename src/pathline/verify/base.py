"""What a check is: a statement, the formula under test, an independent oracle, and mistakes that it must catch."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One number of a check: how far it is off, and how far it may be."""

    name: str
    error: float
    tolerance: float
    measured: str
    expected: str

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return self.error <= self.tolerance

    @property
    def strain(self) -> float:
        """error/tolerance; infinite where the error is no number."""
        strain = self.error / self.tolerance if self.tolerance else (math.inf if self.error else 0.0)
        return math.inf if math.isnan(strain) else strain


def bound(name: str, error: float, tolerance: float) -> Reading:
    """An error that must not exceed ``tolerance``."""
    return Reading(name=name, error=error, tolerance=tolerance, measured=f"{error:.2g}", expected=f"≤ {tolerance:.2g}")


def value(name: str, measured: float, truth: float, tolerance: float) -> Reading:
    """A number that must be ``truth`` within ``tolerance``."""
    error = abs(measured - truth)
    return Reading(
        name=name,
        error=error,
        tolerance=tolerance,
        measured=f"{measured:.3g}",
        expected=f"{truth:.3g} ± {tolerance:.2g}",
    )


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The least-squares slope of log y against log x: the measured order."""
    u, v = torch.tensor(x).double().log(), torch.tensor(y).double().log()
    u = u - u.mean()
    return float((u * v).sum() / (u * u).sum())


def order(name: str, steps: Sequence[float], errors: Sequence[float], truth: float, tolerance: float = 0.2) -> Reading:
    """The order at which ``errors`` fall with the step sizes ``steps``."""
    return value(f"order of {name}", slope(steps, errors), truth, tolerance)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a check found, and the arrays that its figure draws."""

    readings: tuple[Reading, ...]
    arrays: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every reading is within its tolerance."""
        return all(reading.passed for reading in self.readings)

    @property
    def worst(self) -> Reading:
        """The reading that comes closest to, or goes furthest beyond, what it may be."""
        return max(self.readings, key=lambda reading: reading.strain)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A deliberately wrong formula that the check must catch."""

    name: str
    formula: Any


@dataclass(frozen=True, kw_only=True)
class Check:
    """A numerical check of one statement of the theory.

    ``measure(formula)`` runs the whole comparison with a formula under test: ``right`` is what the package does (or what
    the statement says, where the package has no home for it), each of ``wrong`` is a mistake that the same code
    must catch. ``draw(axes, outcome)`` fills one matplotlib axes; `formulas` are lines of mathtext.
    """

    id: str
    statement: str
    how: str
    formulas: tuple[str, ...]
    measure: Callable[[Any], Outcome]
    right: Any
    wrong: tuple[Mistake, ...]
    draw: Callable[[Any, Outcome], None]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A check that was run, with its negative controls where those were asked for."""

    check: Check
    outcome: Outcome
    seconds: float
    controls: tuple[tuple[Mistake, Outcome], ...] = ()

    @property
    def caught(self) -> bool:
        """Whether every negative control that was run failed, as it must."""
        return not any(outcome.passed for _, outcome in self.controls)

    @property
    def passed(self) -> bool:
        """Whether the statement holds and no mistake slipped through."""
        return self.outcome.passed and self.caught


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads and lose much on a busy machine; sums come out the same everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run_check(check: Check, *, controls: bool = False) -> Result:
    """Run one check, and its negative controls if asked for. Deterministic: every draw is seeded inside the check."""
    started = time.perf_counter()
    with one_thread(), torch.no_grad():
        outcome = check.measure(check.right)
        caught = tuple((mistake, check.measure(mistake.formula)) for mistake in check.wrong) if controls else ()
    return Result(check=check, outcome=outcome, seconds=time.perf_counter() - started, controls=caught)
