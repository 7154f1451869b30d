"""Zero mean and unit variance for training, and back to the units of the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from pathline.data.base import Dataset

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
    def fit(cls, data: Dataset | Tensor, *, per: Per | None = None) -> "Standardizer":
        """The standardiser of the samples ``(N, *shape)``; fit it on the training part alone.

        Args:
            data: a data set, or its samples.
            per: one mean and std per "feature" (entry of a sample), per "channel" (axis 1), or for "all" numbers
                together. By default "all" for images, so that neither contrast nor edges are changed, else
                "feature".

        Raises:
            ValueError: fewer than two samples, numbers that are not finite, or an unknown ``per``.
        """
        if per is None:
            per = "all" if isinstance(data, Dataset) and data.image else "feature"
        x = (data.x if isinstance(data, Dataset) else data).detach().double()
        if x.ndim < 2 or len(x) < 2:
            raise ValueError(f"data must have shape (N, ...) with at least 2 samples, got {tuple(x.shape)}")
        if not x.isfinite().all():
            raise ValueError("data must be finite, got NaN or infinite numbers: remove or fill those samples")
        if per not in ("feature", "channel", "all"):
            raise ValueError(f'per must be "feature", "channel" or "all", got {per!r}')
        axes = {"feature": [0], "channel": [0, *range(2, x.ndim)], "all": list(range(x.ndim))}[per]
        low, high = x.amin(axes, keepdim=True)[0], x.amax(axes, keepdim=True)[0]
        std, mean = torch.std_mean(x, axes, correction=0, keepdim=True)
        constant = low == high
        return cls(
            mean=torch.where(constant, low, mean[0]),
            std=torch.where(constant, torch.ones_like(low), std[0]),
            low=low,
            high=high,
        )

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
