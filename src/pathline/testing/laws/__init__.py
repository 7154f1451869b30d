"""Laws: what every part of a kind must do. They run over the registries in the tests, and over yours.

Each ``check_*`` returns nothing if the part obeys, and raises `LawBroken` with the law, what was seen, and a hint.
"""

from pathline.testing.laws.base import LawBroken
from pathline.testing.laws.bridge import check_bridge
from pathline.testing.laws.control import check_operator, check_posterior, check_posterior_step
from pathline.testing.laws.device import check_device
from pathline.testing.laws.kernel import (
    check_field,
    check_net,
    check_path,
    check_prediction,
    check_schedule,
    check_times,
    exact_net,
)
from pathline.testing.laws.learning import (
    check_conditional_coupling,
    check_coupling,
    check_guidance,
    check_objective,
    gradient_z_score,
)
from pathline.testing.laws.solver import check_order, check_solver, measured_order
from pathline.testing.laws.whole_set import check_dataset_coupling

__all__ = [
    "LawBroken", "check_bridge", "check_conditional_coupling", "check_coupling", "check_dataset_coupling", "check_device", "check_field",
    "check_guidance", "check_net", "check_objective", "check_operator", "check_order", "check_path", "check_posterior",
    "check_posterior_step", "check_prediction", "check_schedule", "check_solver", "check_times", "exact_net", "gradient_z_score", "measured_order",
]  # fmt: skip
