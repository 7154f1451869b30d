"""Does the model copy? Nearest training points of samples, measured against those of held-out points."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pathline.metrics.base import as_pair, row_blocks, squared_distances

# A model that draws new points stands as far from the training set as held-out points do: ratio 1.
PASSING_RATIO = 0.8


@dataclass(frozen=True, kw_only=True)
class Memorization:
    """What `memorization` found. Distances are Euclidean over the flattened point.

    Attributes:
        distances: (N,) of each sample to its nearest training point, ``indices``: (N,) which one.
        held_out_distances, held_out_indices: (M,) the same for the held-out points.
        ratio: median(distances) / median(held_out_distances).
        close_share: share of samples nearer to the training set than the nearest 1 % of held-out points;
            0.01 is expected. The median cannot see a model that copies one time in five, this can.
        duplicates: samples equal to a training point in every coordinate; ``held_out_duplicates`` likewise.
    """

    distances: Tensor
    indices: Tensor
    held_out_distances: Tensor
    held_out_indices: Tensor
    ratio: float
    close_share: float
    duplicates: int
    held_out_duplicates: int

    @property
    def passes(self) -> bool:
        """Ratio at least 0.8 and no more exact copies, as a share, than held-out points have."""
        copied = self.duplicates / len(self.distances)
        natural = self.held_out_duplicates / len(self.held_out_distances)
        return self.ratio >= PASSING_RATIO and copied <= natural


def nearest_neighbours(points: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest training point and its index, (N,) and (N,), block by block.

    The neighbour is found through a matrix product; its distance is then taken from the difference itself, so
    that a copy has distance exactly 0.

    Raises:
        ValueError: different point shapes, or NaN.
    """
    x, y = as_pair(points, train, names=("points", "train"))
    centre = y.mean(0)
    found = [squared_distances(x[rows] - centre, y - centre).argmin(1) for rows in row_blocks(len(x), len(y))]
    indices = torch.cat(found)
    distances = torch.linalg.vector_norm(x - y[indices], dim=1)
    return distances.to(points.dtype), indices


def memorization(samples: Tensor, train: Tensor, held_out: Tensor) -> Memorization:
    """Nearest-neighbour distances of ``samples`` and of ``held_out`` points to the training set.

    Args:
        samples: (N, *shape). train: (T, *shape), what the model was trained on.
        held_out: (M, *shape), real points of the same distribution that are not in ``train``.

    Raises:
        ValueError: different shapes, NaN, or held-out points that mostly are training points.
    """
    held_out_distances, held_out_indices = nearest_neighbours(held_out, train)
    middle = held_out_distances.double().median().item()
    if middle == 0.0:
        raise ValueError(
            "more than half of held_out are copies of training points, so there is nothing to compare with: "
            "pass real points that were not trained on"
        )
    distances, indices = nearest_neighbours(samples, train)
    closest = held_out_distances.double().quantile(0.01)
    return Memorization(
        distances=distances,
        indices=indices,
        held_out_distances=held_out_distances,
        held_out_indices=held_out_indices,
        ratio=distances.double().median().item() / middle,
        close_share=(distances.double() < closest).double().mean().item(),
        duplicates=int((distances == 0).sum()),
        held_out_duplicates=int((held_out_distances == 0).sum()),
    )
