"""Zero mean and unit variance for training, and back to the units of the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from pathline.data.base import Dataset
from pathline.data.lazy import LazyDataset

FIT_LIMIT = 20_000
"""Samples of a lazily read set that statistics come from."""

Per = Literal["feature", "channel", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Standardizer:
    """``z = (x − mean) / std``, and ``x = mean + std · z`` on the way out.

    Attributes:
        mean, std: float64, of a shape that broadcasts over one sample; ``std`` is 1 where the data are constant.
        low, high: the smallest and largest value seen, of the same shape; `inverse` can clip to them.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def fit(cls, data: "Dataset | LazyDataset | Tensor", *, per: Per | None = None) -> "Standardizer":
        """The standardiser of the samples ``(N, *shape)``; fit it on the training part alone.

        Args:
            data: a data set, or its samples. Of a `LazyDataset` at most 20,000 samples are read, evenly spaced, a few
                at a time.
            per: one mean and std per "feature" (entry of a sample), per "channel" (axis 1), or for "all" numbers
                together. By default "all" for images, so that neither contrast nor edges are changed, else
                "feature".

        Raises:
            ValueError: fewer than two samples, numbers that are not finite, or an unknown ``per``.
        """
        if per is None:
            per = "all" if not isinstance(data, Tensor) and data.image else "feature"
        if isinstance(data, LazyDataset):
            return cls._fit_parts(data, per)
        x = (data.x if isinstance(data, Dataset) else data).detach().double()
        if x.ndim < 2 or len(x) < 2:
            raise ValueError(f"data must have shape (N, ...) with at least 2 samples, got {tuple(x.shape)}")
        if not x.isfinite().all():
            raise ValueError("data must be finite, got NaN or infinite numbers: remove or fill those samples")
        axes = _axes(per, x.ndim)
        low, high = x.amin(axes, keepdim=True)[0], x.amax(axes, keepdim=True)[0]
        std, mean = torch.std_mean(x, axes, correction=0, keepdim=True)
        constant = low == high
        return cls(
            mean=torch.where(constant, low, mean[0]),
            std=torch.where(constant, torch.ones_like(low), std[0]),
            low=low,
            high=high,
        )

    @classmethod
    def _fit_parts(cls, data: LazyDataset, per: Per) -> "Standardizer":
        """The same, a few samples at a time: sums of squares about a mean are merged as in Chan et al. (1983)."""
        if len(data) < 2:
            raise ValueError(f"data must have at least 2 samples, got {len(data)}")
        axes, merged = _axes(per, 1 + len(data.shape)), None
        for chunk in data.chunks(FIT_LIMIT):
            x = chunk.double()
            n = x.numel() / x.mean(axes).numel()
            mean = x.mean(axes, keepdim=True)[0]
            rest = (x - mean).square().sum(axes, keepdim=True)[0]
            low, high = x.amin(axes, keepdim=True)[0], x.amax(axes, keepdim=True)[0]
            if merged is not None:
                n_a, mean_a, rest_a, low_a, high_a = merged
                gap, total = mean - mean_a, n_a + n
                rest = rest_a + rest + gap.square() * (n_a * n / total)
                mean, n = mean_a + gap * (n / total), total
                low, high = torch.minimum(low, low_a), torch.maximum(high, high_a)
            merged = n, mean, rest, low, high
        assert merged is not None  # there are samples
        n, mean, rest, low, high = merged
        if data.levels is not None:  # not all samples were seen, but their range is known
            low, high = torch.zeros_like(low), torch.full_like(high, data.levels - 1.0)
        constant = rest == 0
        return cls(mean=mean, std=torch.where(constant, torch.ones_like(rest), (rest / n).sqrt()), low=low, high=high)

    def transform(self, x: Tensor) -> Tensor:
        """``(x − mean) / std`` for samples ``(B, *shape)``, in the dtype and on the device of ``x``."""
        mean, std = self.mean.to(x), self.std.to(x)
        return (x - mean) / std

    def inverse(self, z: Tensor, *, clip: bool = False) -> Tensor:
        """``mean + std · z``; with ``clip`` limited to the range seen in training, as pixels should be."""
        x = self.mean.to(z) + self.std.to(z) * z
        return x.clamp(self.low.to(z), self.high.to(z)) if clip else x

    def log_det(self, shape: Sequence[int]) -> float:
        """``log |dx/dz|`` = Σ log std for samples of ``shape``: log p(x) = log p(z) − log_det, in nats."""
        return float(self.std.log().expand(*shape).sum())

    def state(self) -> dict[str, Tensor]:
        """Tensors by name, ready for a safetensors file; `from_state` is the inverse."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "Standardizer":
        """The standardiser whose `state` this is."""
        return cls(**{f.name: state[f.name] for f in fields(cls)})


def _axes(per: str, rank: int) -> list[int]:
    """The axes of ``(N, *shape)`` that are averaged over."""
    if per not in ("feature", "channel", "all"):
        raise ValueError(f'per must be "feature", "channel" or "all", got {per!r}')
    return {"feature": [0], "channel": [0, *range(2, rank)], "all": list(range(rank))}[per]
