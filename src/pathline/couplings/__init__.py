"""Couplings of source and data: of a batch, as indices into the source, and of a whole data set, as pairs to draw."""

from collections.abc import Callable

from pathline.couplings.base import Coupling, DatasetCoupling, Pairs, PairSource
from pathline.couplings.class_exact_ot import ClassExactOT, class_exact_ot
from pathline.couplings.conditional_ot import ConditionalOT, conditional_ot
from pathline.couplings.exact_ot import ExactOT, exact_ot
from pathline.couplings.independent import Independent, independent
from pathline.couplings.loading import load_pairs
from pathline.couplings.prepared import Prepared, PreparedPairs, prepared
from pathline.couplings.semidiscrete import SemiDiscretePairs, Violation
from pathline.couplings.semidiscrete_fit import SemiDiscrete, semidiscrete
from pathline.couplings.sinkhorn import EntropicPlan, Sinkhorn, sinkhorn

COUPLINGS: dict[str, Callable[..., Coupling]] = {
    "independent": independent,
    "exact_ot": exact_ot,
    "class_exact_ot": class_exact_ot,
    "conditional_ot": conditional_ot,
    "sinkhorn": sinkhorn,
}
"""Couplings of a batch by the name that configurations use."""

DATASET_COUPLINGS: dict[str, Callable[..., DatasetCoupling]] = {
    "semidiscrete": semidiscrete,
    "prepared": prepared,
}
"""Couplings of a whole data set, fitted once before training, by name."""

__all__ = [
    "COUPLINGS", "DATASET_COUPLINGS", "Coupling", "DatasetCoupling", "PairSource", "Pairs", "load_pairs",
    "Independent", "independent", "ExactOT", "exact_ot", "ClassExactOT", "class_exact_ot",
    "ConditionalOT", "conditional_ot", "Sinkhorn", "EntropicPlan", "sinkhorn",
    "SemiDiscrete", "SemiDiscretePairs", "Violation", "semidiscrete", "Prepared", "PreparedPairs", "prepared",
]  # fmt: skip
