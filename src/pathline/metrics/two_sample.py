"""Classifier two-sample test: how well can a small network tell samples from real points?"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, silu

from pathline._draws import normal, permutation
from pathline.metrics.base import as_pair


def c2st(
    samples: Tensor,
    real: Tensor,
    *,
    folds: int = 5,
    hidden: int = 32,
    steps: int = 100,
    generator: torch.Generator | None = None,
) -> float:
    """Cross-validated accuracy of a one-layer MLP that separates the sets (Lopez-Paz and Oquab 2017).

    0.5 means that this network, at this n, cannot tell them apart; 1 means that it always can. Every point is
    judged once, by the network of the fold that did not see it, so 0.5 is the exact expectation for equal
    distributions. Exact copies inside one set leak between folds and push the value up. The larger set is
    subsampled to the size of the smaller.

    Args:
        samples: (N, F) features or (N, *shape) points. real: (M, …).
        folds: 2 ≤ folds ≤ min(N, M). hidden: units. steps: full-batch steps of AdamW.
        generator: for the folds and the initial weights.

    Raises:
        ValueError: different shapes, NaN, or settings out of range.
    """
    x, y = as_pair(samples, real, minimum=2)
    n = min(len(x), len(y))
    if not 2 <= folds <= n:
        raise ValueError(f"folds must lie in [2, {n}], the size of the smaller set, got {folds}")
    if hidden < 1 or steps < 1:
        raise ValueError(f"hidden and steps must be at least 1, got {hidden} and {steps}")
    # Both sets are shuffled, so every folds-th row of each is a random fold with as many samples as real points.
    x = x[permutation(len(x), generator, x.device)[:n]]
    y = y[permutation(len(y), generator, y.device)[:n]]
    points = torch.cat([x, y])
    # Mean and std of all points see no labels, so they favour neither side.
    std = points.std(0)
    points = ((points - points.mean(0)) / torch.where(std > 0, std, torch.ones_like(std))).float()
    targets = torch.cat([points.new_ones(n), points.new_zeros(n)])
    fold = torch.arange(n, device=points.device).remainder(folds).repeat(2)
    outside = fold == torch.arange(folds, device=points.device)[:, None]  # (folds, 2n): judged, not trained on

    weights = _initial(points, folds, hidden, generator)
    _fit(weights, points, targets, (~outside).float(), steps)
    right = (_logits(weights, points) > 0) == (targets > 0.5)
    return (right & outside).sum().item() / (2 * n)


def _initial(points: Tensor, folds: int, hidden: int, generator: torch.Generator | None) -> list[Tensor]:
    """The weights of all folds at once: (folds, D, H), (folds, 1, H), (folds, H, 1), (folds, 1, 1).

    The first layer starts wide, so that a hundred steps are enough to bend around a ring in the plane.
    """
    dim = points.shape[1]
    return [
        2.0 * normal((folds, dim, hidden), generator, points) / dim**0.5,
        2.0 * normal((folds, 1, hidden), generator, points),
        normal((folds, hidden, 1), generator, points) / hidden**0.5,
        points.new_zeros(folds, 1, 1),
    ]


def _logits(weights: list[Tensor], points: Tensor) -> Tensor:
    first, bias, second, offset = weights
    return (silu(points @ first + bias) @ second + offset)[..., 0]  # (folds, 2n)


def _fit(weights: list[Tensor], points: Tensor, targets: Tensor, inside: Tensor, steps: int) -> None:
    """Full-batch AdamW. The folds share an optimiser but not one weight, so they train independently."""
    parameters = [weight.requires_grad_() for weight in weights]
    optimiser = torch.optim.AdamW(parameters, lr=3e-2, weight_decay=1e-2)
    aims = targets.expand(len(inside), -1)
    with torch.enable_grad():
        for _ in range(steps):
            losses = binary_cross_entropy_with_logits(_logits(weights, points), aims, reduction="none")
            loss = ((losses * inside).sum(1) / inside.sum(1)).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
