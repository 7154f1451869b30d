"""Class agreement: does a conditional model draw what it was asked for?"""

from dataclasses import dataclass

from torch import Tensor

from pathline.metrics.base import check_samples
from pathline.metrics.classifier import Classifier, check_labels


@dataclass(frozen=True, kw_only=True)
class ClassAgreement:
    """Share of samples read as the class asked for.

    ``real_accuracy`` is the same share for held-out real points with their true labels, the value that a perfect
    model reaches; a model above it draws more typical classes than the data does. None where no held-out
    points are known. ``per_class`` holds one share per class, NaN for a class that was not asked for;
    ``predicted`` is what the classifier read, (N,).
    """

    agreement: float
    real_accuracy: float | None
    per_class: tuple[float, ...]
    predicted: Tensor
    n: int


def class_agreement(
    samples: Tensor,
    labels: Tensor,
    classifier: Classifier,
    *,
    held_out: tuple[Tensor, Tensor] | None = None,
) -> ClassAgreement:
    """Compare ``labels`` (N,), the classes asked for, with what ``classifier`` reads in ``samples`` (N, *shape).

    Args:
        held_out: real (x, y) that the classifier was not trained on. Without it the accuracy that
            `train_classifier` measured on its own held-out points stands beside the agreement.

    Raises:
        ValueError, TypeError: bad samples, labels out of range, or a shape that the classifier does not read.
    """
    samples = check_samples(samples, "samples")
    classes = classifier.info.num_classes
    labels = check_labels(labels, len(samples), classes, "labels").to(samples.device)
    predicted = classifier.predict(samples)
    right = (predicted == labels).double()
    accuracy = classifier.info.held_out_accuracy if held_out is None else classifier.accuracy(*held_out)
    return ClassAgreement(
        agreement=right.mean().item(),
        real_accuracy=accuracy,
        per_class=tuple(right[labels == k].mean().item() for k in range(classes)),
        predicted=predicted,
        n=len(samples),
    )
