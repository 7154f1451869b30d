"""The two small networks of the feature classifier. They serve measurement only and know no time."""

import math

import torch
from torch import Tensor, nn


class FeatureNet(nn.Module):
    """body: (B, *shape) -> features (B, F); head: features -> logits (B, classes).

    The input is standardised by the training set's mean and standard deviation, kept as buffers, so that data
    in [0, 1] and in [−1, 1] train alike.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, feature_dim: int, num_classes: int, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.body = body
        self.head = nn.Linear(feature_dim, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) / self.std)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def build(
    shape: tuple[int, ...], num_classes: int, *, width: int, feature_dim: int, mean: Tensor, std: Tensor
) -> FeatureNet:
    """A CNN for (C, H, W) and an MLP for (D,).

    Raises:
        ValueError: any other rank.
    """
    if len(shape) == 3:
        body = _cnn(shape, width, feature_dim)
    elif len(shape) == 1:
        body = _mlp(shape[0], 4 * width, feature_dim)
    else:
        raise ValueError(
            f"the classifier reads images (N, C, H, W) or vectors (N, D), got points of shape {shape}: reshape x first"
        )
    return FeatureNet(body, feature_dim, num_classes, mean, std)


def _cnn(shape: tuple[int, ...], width: int, feature_dim: int) -> nn.Sequential:
    """Convolution, batch norm, SiLU; halve until the longer side is at most 4; then one linear layer.

    The last map is flattened rather than averaged: where a stroke lies says which digit it is.
    """
    channels, height, w = shape
    halvings = max(0, math.ceil(math.log2(max(height, w) / 4)))
    layers: list[nn.Module] = [*_convolution(channels, width)]
    for _ in range(halvings):
        layers += [nn.MaxPool2d(2, ceil_mode=True), *_convolution(width, 2 * width)]
        width, height, w = 2 * width, -(-height // 2), -(-w // 2)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(width * height * w, feature_dim),
        nn.BatchNorm1d(feature_dim),
        nn.SiLU(),
    )


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()]


def _mlp(inputs: int, width: int, feature_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, feature_dim),
        nn.SiLU(),
    )


def shifted(x: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Each image of (B, C, H, W) moved by its own integer shift in [−reach, reach]², borders repeated."""
    batch, _, height, width = x.shape
    offsets = torch.randint(0, 2 * reach + 1, (2, batch), generator=generator).to(x.device)
    padded = nn.functional.pad(x, (reach,) * 4, mode="replicate")
    rows = offsets[0][:, None] + torch.arange(height, device=x.device)
    columns = offsets[1][:, None] + torch.arange(width, device=x.device)
    images = torch.arange(batch, device=x.device)
    # Indices around the channel slice put it last: (B, H, W, C).
    return padded[images[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
