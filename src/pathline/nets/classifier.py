"""A classifier of noisy states: the net of classifier guidance (theory T35)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from pathline._shapes import check_state
from pathline.nets.base import check_features, check_time_shape, positive, time_features


class TimeClassifier(nn.Module):
    """Logits ``(B, num_classes)`` of the class of the data behind ``x_t``: a perceptron, behind convolutions for images.

    Args:
        shape: shape of a sample, ``(C, H, W)`` for images, or the number of entries of a vector.
        num_classes: number of classes.
        width: units of a hidden layer; an image keeps ``width // 2`` channels on the way.
        depth: residual layers of the perceptron, each modulated by the time.
        time_features: number of sines and cosines of t (see `time_features`).

    An image passes two convolutions of stride 2 (those that its sides allow) before it is flattened. Raises ValueError for arguments
    that cannot be and states of another shape.
    """

    name: ClassVar[str] = "time_classifier"

    def __init__(
        self, shape: int | Sequence[int], num_classes: int, width: int = 128, depth: int = 3, *, time_features: int = 32
    ) -> None:
        super().__init__()
        sizes = [shape] if isinstance(shape, int) else list(shape)
        self.config: dict[str, Any] = {
            "shape": [positive("shape", n) for n in sizes],
            "num_classes": positive("num_classes", num_classes),
            "width": positive("width", width),
            "depth": positive("depth", depth),
            "time_features": check_features(time_features),
        }
        self.shape, self.features = tuple(sizes), time_features
        layers, last = [], list(sizes)
        if len(sizes) == 3:
            channels = max(4, width // 2)
            for _ in range(2):
                stride = 2 if min(last[1:]) >= 4 else 1
                layers += [nn.Conv2d(last[0], channels, 3, stride=stride, padding=1), nn.SiLU()]
                last = [channels, *(-(-n // stride) for n in last[1:])]
        self.start = nn.Sequential(*layers, nn.Flatten(), nn.Linear(math.prod(last), width))
        self.time = nn.Sequential(
            nn.Linear(max(time_features, 1), width), nn.SiLU(), nn.Linear(width, 2 * depth * width)
        )
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` at ``x_t`` ``(B, *shape)``, ``t`` ``()`` or ``(B,)``."""
        check_state(x_t, "x_t")
        check_time_shape(t, x_t)
        if x_t.shape[1:] != self.shape:
            raise ValueError(f"x_t must have shape (B, {', '.join(map(str, self.shape))}), got {tuple(x_t.shape)}")
        weight = self.head.weight
        hidden = self.start(x_t.to(weight.dtype))
        modulation = self.time(time_features(t, self.features, weight)).chunk(2 * len(self.layers), dim=-1)
        for layer, shift, scale in zip(self.layers, modulation[::2], modulation[1::2], strict=True):
            hidden = hidden + layer((1.0 + scale) * F.layer_norm(hidden, hidden.shape[-1:]) + shift)
        return self.head(F.silu(hidden))
