"""Exact fields to compare with, and the laws that every part obeys: `oracles` and `laws`."""

from pathline.testing import laws, oracles
from pathline.testing.laws import (
    LawBroken,
    check_bridge,
    check_conditional_coupling,
    check_coupling,
    check_device,
    check_field,
    check_guidance,
    check_net,
    check_objective,
    check_operator,
    check_path,
    check_posterior,
    check_posterior_step,
    check_prediction,
    check_schedule,
    check_solver,
    check_times,
)

__all__ = [
    "LawBroken", "check_conditional_coupling", "check_bridge", "check_coupling", "check_device", "check_field", "check_guidance", "check_net",
    "check_objective", "check_operator", "check_path",
    "check_posterior", "check_posterior_step", "check_prediction", "check_schedule", "check_solver", "check_times", "laws", "oracles",
]  # fmt: skip
