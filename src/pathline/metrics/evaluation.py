"""`evaluate`: every metric beside its real-vs-real floor, both at the same n."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pathline._draws import home, permutation
from pathline._errors import lookup
from pathline.metrics.agreement import ClassAgreement, class_agreement
from pathline.metrics.base import FeatureExtractor, Metric, check_samples
from pathline.metrics.classifier import Classifier
from pathline.metrics.copying import PASSING_RATIO, Memorization, memorization
from pathline.metrics.report import Report, Row

# What is measured when nothing is named: transport and kernels on points, features where there are any.
ON_POINTS = ("w2", "sliced_w2", "energy", "mmd", "density_coverage", "c2st")
ON_FEATURES = ("fd", "kid", "precision_recall", "density_coverage", "c2st", "sliced_w2", "energy")


def evaluate(
    samples: Tensor,
    real: Tensor,
    *,
    reference: Tensor | None = None,
    train: Tensor | None = None,
    labels: Tensor | None = None,
    real_labels: Tensor | None = None,
    classifier: Classifier | None = None,
    features: FeatureExtractor | None = None,
    metrics: Sequence[str] | None = None,
    splits: int = 5,
    max_points: int | None = None,
    generator: torch.Generator | None = None,
) -> Report:
    """Measure ``samples`` against ``real``, each metric with the value that fresh real points would get.

    The floor. Most metrics are biased at finite n or fluctuate, so a value means something only beside the
    value of real points at the same n:

    - with ``reference`` (real points disjoint from ``real``), n = min of the three sizes; each draw takes n points
      of each set at random, value = metric(samples, real), floor = metric(reference, real);
    - without it, each draw cuts ``real`` into two random halves A and B and n = min(len(samples), len(real) // 2);
      value = metric(samples, A) and floor = metric(B, A), so both see the same A and no point is on both sides.

    Both are averaged over ``splits`` draws and shown with their standard deviation over the draws. Value and floor
    of one draw use the same random directions, subsets and initial weights. When all sizes equal n there is
    only one draw.

    A classifier reads the points that it was trained on a little more surely than new ones. Where that matters,
    give as ``real`` and ``reference`` points that it has not seen; in the halves of one set both sides are alike.

    Args:
        samples: (N, *shape), generated. real: (M, *shape), what they should look like.
        reference: (R, *shape), more real points, none of them in ``real``.
        train: (T, *shape), what the model was trained on: adds the memorisation check, in which ``reference``
            (or else ``real``) must not have been trained on.
        labels: (N,) classes asked for: adds class agreement; needs ``classifier``.
        real_labels: (M,) true classes of ``real``, to print the classifier's accuracy on ``real`` beside the
            agreement; the classifier must not have been trained on ``real``. Otherwise its own held-out
            accuracy is printed.
        classifier: judge of ``labels``, and the feature extractor unless ``features`` is given.
        features: another extractor. Without any, feature metrics run on the flattened points as "(raw)".
        metrics: names in `METRICS`; by default a choice for points or for features.
        splits: random draws. max_points: replaces each metric's own limit on n.

    Raises:
        ValueError: bad points, an unknown metric, labels without a classifier, or too few points.

    Examples:
        >>> import torch
        >>> g = torch.Generator().manual_seed(0)
        >>> real, samples = torch.randn(400, 2, generator=g), torch.randn(200, 2, generator=g) + 1.0
        >>> row = evaluate(samples, real, metrics=["w2"], generator=g)["W2"]
        >>> row.n, row.floor < row.value
        (200, True)
    """
    chosen = choose_metrics(metrics, with_features=classifier is not None or features is not None)
    sets = {"samples": samples, "real": real}
    if reference is not None:
        sets["reference"] = reference
    for name, points in sets.items():
        check_samples(points, name, minimum=2)
        if points.shape[1:] != real.shape[1:]:
            raise ValueError(
                f"{name} must hold points like real, of shape {tuple(real.shape[1:])}, got {tuple(points.shape[1:])}"
            )
    if splits < 1:
        raise ValueError(f"splits must be at least 1, got {splits}")
    if labels is not None and classifier is None:
        raise ValueError("labels need a classifier that reads them: pass classifier=train_classifier(x, y, …)")

    copies = None if train is None else memorization(samples, train, real if reference is None else reference)
    agreement = None
    if labels is not None and classifier is not None:
        held_out = None if real_labels is None else (real, real_labels)
        agreement = class_agreement(samples, labels, classifier, held_out=held_out)

    extractor = features if features is not None else classifier
    rows: list[Row] = []
    tables = {"samples": sets, "features": sets}
    if extractor is not None and any(metric.space == "features" for metric in chosen.values()):
        tables["features"] = {name: extractor.features(points) for name, points in sets.items()}
    for metric in chosen.values():
        suffix = "" if metric.space == "samples" else f" ({extractor.name if extractor else 'raw'})"
        rows += _measure(metric, tables[metric.space], suffix, splits, max_points, generator)
    if agreement is not None and classifier is not None:
        rows.append(_agreement_row(agreement, classifier.name))
    if copies is not None:
        rows += _memorization_rows(copies)
    return Report(
        rows=tuple(rows),
        protocol=_protocol(len(samples), len(real), None if reference is None else len(reference), splits),
        features=f"{extractor.name}, version {extractor.version}" if extractor else None,
        memorization=copies,
        agreement=agreement,
    )


def choose_metrics(metrics: Sequence[str] | None, *, with_features: bool) -> dict[str, Metric]:
    """The metrics of these names; if None, a choice for features or for points.

    Raises:
        ValueError: an unknown name. TypeError: a string in place of names.
    """
    from pathline.metrics import METRICS  # the package's own dict; at the top of the file this would be a cycle

    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a list of names, got the string {metrics!r}: write [{metrics!r}]")
    names = (ON_FEATURES if with_features else ON_POINTS) if metrics is None else metrics
    return {name: lookup("metric", name, METRICS) for name in names}


def _measure(
    metric: Metric,
    sets: dict[str, Tensor],
    suffix: str,
    splits: int,
    max_points: int | None,
    generator: torch.Generator | None,
) -> list[Row]:
    """One row per part of ``metric``: mean and spread over the draws of value and floor."""
    limit = metric.max_points if max_points is None else max_points
    sizes = _sizes(sets)
    n = min(sizes if limit is None else [*sizes, limit])
    values, floors = [], []
    for samples, fresh, real in _draws(sets, n, splits, generator):
        seed = int(torch.randint(2**31, (), generator=generator, device=home(generator)))
        values.append(metric(samples, real, _seeded(seed)))
        floors.append(metric(fresh, real, _seeded(seed)))
    rows = []
    for part, value, floor in zip(metric.parts, zip(*values), zip(*floors)):
        rows.append(
            Row(
                name=part.label + suffix,
                value=_mean(value),
                value_spread=_spread(value),
                floor=_mean(floor),
                floor_spread=_spread(floor),
                better=part.better,
                n=n,
                note=f"limited to {limit} points" if n < min(sizes) else "",
            )
        )
    return rows


def _sizes(sets: dict[str, Tensor]) -> list[int]:
    """The number of points that each side of a comparison can have; without a reference, real serves twice."""
    if "reference" in sets:
        return [len(points) for points in sets.values()]
    return [len(sets["samples"]), len(sets["real"]) // 2]


def _draws(
    sets: dict[str, Tensor], n: int, splits: int, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Triples (samples, fresh real points, real points) of n points each, the last two disjoint."""
    samples, real, reference = sets["samples"], sets["real"], sets.get("reference")
    if reference is not None and max(_sizes(sets)) == n:
        yield samples, reference, real
        return
    for _ in range(splits):
        drawn = samples[permutation(len(samples), generator, samples.device)[:n]]
        order = permutation(len(real), generator, real.device)
        if reference is None:
            yield drawn, real[order[n : 2 * n]], real[order[:n]]
        else:
            fresh = reference[permutation(len(reference), generator, reference.device)[:n]]
            yield drawn, fresh, real[order[:n]]


def _agreement_row(found: ClassAgreement, name: str) -> Row:
    known = found.real_accuracy is not None
    return Row(
        name=f"class agreement ({name})",
        value=found.agreement,
        floor=found.real_accuracy,
        better="higher",
        n=found.n,
        note="beside: accuracy on held-out real" if known else "no held-out real points: pass real_labels",
    )


def _memorization_rows(found: Memorization) -> list[Row]:
    n, held_out = len(found.distances), len(found.held_out_distances)
    verdict = "passes" if found.ratio >= PASSING_RATIO else "fails"
    return [
        Row(
            name="nearest-neighbour ratio",
            value=found.ratio,
            floor=1.0,
            better="higher",
            n=n,
            note=f"{verdict} at {PASSING_RATIO:g}; medians, over {held_out} held-out points",
        ),
        Row(
            name="closer than 99% of held-out",
            value=found.close_share,
            floor=0.01,
            better="lower",
            n=n,
            note="share of samples",
        ),
        Row(
            name="exact copies",
            value=found.duplicates / n,
            floor=found.held_out_duplicates / held_out,
            better="lower",
            n=n,
            note=f"{found.duplicates} samples equal a training point",
        ),
    ]


def _protocol(samples: int, real: int, reference: int | None, splits: int) -> str:
    times = f"mean ± standard deviation over {splits} random draws"
    if reference is not None:
        if samples == real == reference:
            times += " (one draw where n is the size of all sets)"
        return (
            f"{samples} samples, {real} real points; the floor takes n of {reference} other real points in their "
            f"place; {times}."
        )
    return (
        f"{samples} samples, {real} real points cut into random halves A and B: samples against A, floor B "
        f"against A; {times}."
    )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _spread(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = _mean(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
