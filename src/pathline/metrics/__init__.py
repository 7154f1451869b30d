"""How good are samples? Distances between point sets, between features, and checks of conditional models.

`evaluate` prints any of them beside its real-vs-real floor at the same n.
"""

from pathline.metrics.agreement import ClassAgreement, class_agreement
from pathline.metrics.base import FeatureExtractor, Metric, Part
from pathline.metrics.classifier import Classifier, ClassifierInfo, load_classifier
from pathline.metrics.copula import GaussianCopula
from pathline.metrics.copying import Memorization, memorization, nearest_neighbours
from pathline.metrics.cubic_mmd import Kid, kid, polynomial_mmd
from pathline.metrics.energy import energy_distance
from pathline.metrics.evaluation import evaluate
from pathline.metrics.frechet import frechet_distance, frechet_from_moments, moments
from pathline.metrics.inception import Inception
from pathline.metrics.manifold import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
from pathline.metrics.rbf_mmd import median_bandwidth, mmd
from pathline.metrics.report import Report, Row
from pathline.metrics.sliced import sliced_wasserstein2
from pathline.metrics.tables import ColumnDistance, TableComparison, compare_tables
from pathline.metrics.training import train_classifier
from pathline.metrics.transport import (
    Transport,
    crossing,
    measure_transport,
    path_energy,
    trajectory_energy,
    velocity_variance,
)
from pathline.metrics.two_sample import c2st
from pathline.metrics.wasserstein import wasserstein1, wasserstein2

METRICS: dict[str, Metric] = {
    "w2": Metric(
        parts=(Part(label="W2", better="lower"),),
        space="samples",
        function=lambda samples, real, generator: (wasserstein2(samples, real),),
        max_points=1000,
    ),
    "w1": Metric(
        parts=(Part(label="W1", better="lower"),),
        space="samples",
        function=lambda samples, real, generator: (wasserstein1(samples, real),),
        max_points=1000,
    ),
    "sliced_w2": Metric(
        parts=(Part(label="sliced W2", better="lower"),),
        space="samples",
        function=lambda samples, real, generator: (sliced_wasserstein2(samples, real, generator=generator),),
    ),
    "mmd": Metric(
        parts=(Part(label="MMD²", better="lower"),),
        space="samples",
        function=lambda samples, real, generator: (mmd(samples, real),),
        max_points=5000,
    ),
    "energy": Metric(
        parts=(Part(label="energy distance", better="lower"),),
        space="samples",
        function=lambda samples, real, generator: (energy_distance(samples, real),),
        max_points=10_000,
    ),
    "fd": Metric(
        parts=(Part(label="FD", better="lower"),),
        space="features",
        function=lambda samples, real, generator: (frechet_distance(samples, real),),
    ),
    "kid": Metric(
        parts=(Part(label="KID", better="lower"),),
        space="features",
        function=lambda samples, real, generator: (kid(samples, real, generator=generator).value,),
    ),
    "precision_recall": Metric(
        parts=(Part(label="precision", better="higher"), Part(label="recall", better="higher")),
        space="features",
        function=lambda samples, real, generator: precision_recall(samples, real),
        max_points=5000,
    ),
    "density_coverage": Metric(
        parts=(Part(label="density", better="higher"), Part(label="coverage", better="higher")),
        space="features",
        function=lambda samples, real, generator: density_coverage(samples, real),
        max_points=5000,
    ),
    "c2st": Metric(
        parts=(Part(label="C2ST accuracy", better="lower"),),
        space="features",
        function=lambda samples, real, generator: (c2st(samples, real, generator=generator),),
        max_points=2000,
    ),
}
"""Metrics by name: what `evaluate` and ``--metrics`` take."""

__all__ = [
    "METRICS",
    "Metric",
    "Part",
    "evaluate",
    "Report",
    "Row",
    "wasserstein1",
    "wasserstein2",
    "sliced_wasserstein2",
    "mmd",
    "median_bandwidth",
    "energy_distance",
    "frechet_distance",
    "frechet_from_moments",
    "moments",
    "kid",
    "Kid",
    "polynomial_mmd",
    "precision_recall",
    "PrecisionRecall",
    "density_coverage",
    "DensityCoverage",
    "c2st",
    "Classifier",
    "Inception",
    "ClassifierInfo",
    "FeatureExtractor",
    "train_classifier",
    "load_classifier",
    "class_agreement",
    "ClassAgreement",
    "compare_tables",
    "TableComparison",
    "ColumnDistance",
    "GaussianCopula",
    "memorization",
    "Memorization",
    "nearest_neighbours",
    "Transport",
    "measure_transport",
    "path_energy",
    "trajectory_energy",
    "crossing",
    "velocity_variance",
]
