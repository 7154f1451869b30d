"""A convolutional U-Net: the net of small images, and of computers without an accelerator."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pathline._errors import lookup
from pathline.nets.attention import Attention
from pathline.nets.base import check_features, check_images, condition, positive, time_features
from pathline.nets.conditions import add_vector, seen_beside, vector_condition

GROUP = 8
"""Channels that are normalised together."""


class PixelNorm(nn.LayerNorm):
    """Zero mean and unit variance over the channels of each pixel; no copies where pixels lie together (channels_last)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, elementwise_affine=False)

    def forward(self, input: Tensor) -> Tensor:
        """``input`` (B, width, h, w) to the same shape."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def group_norm(width: int) -> nn.GroupNorm:
    """Zero mean and unit variance over the pixels and groups of about `GROUP` channels."""
    return nn.GroupNorm(math.gcd(width, max(1, width // GROUP)), width, affine=False)


Norm: TypeAlias = Callable[[int], nn.Module]
NORMS: dict[str, Norm] = {"group": group_norm, "pixel": PixelNorm}
"""What a block normalises its input by, without weights: the modulation has them."""


def silence(layer: nn.Module) -> None:
    """All weights of ``layer`` to 0."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)


class ResidualBlock(nn.Module):
    """``x + conv(silu(modulate(norm(conv(silu(norm(x)))))))``; the last convolution starts at 0."""

    def __init__(self, seen: int, width: int, embedded: int, normalised: Norm) -> None:
        super().__init__()
        self.before, self.after = normalised(seen), normalised(width)
        self.first = nn.Conv2d(seen, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(embedded, 2 * width)
        self.skip = nn.Identity() if seen == width else nn.Conv2d(seen, width, 1)
        silence(self.second)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """``x`` (B, seen, h, w) and ``c`` (B | 1, embedded) to (B, width, h, w)."""
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, dim=1)
        hidden = self.first(F.silu(self.before(x)))
        return self.skip(x) + self.second(F.silu(self.after(hidden) * (1 + scale) + shift))


class Mixing(nn.Module):
    """Self-attention over the pixels (B, width, h, w), added to them; its last product starts at 0."""

    def __init__(self, width: int, heads: int, normalised: Norm) -> None:
        super().__init__()
        self.norm, self.attention = normalised(width), Attention(width, heads)
        silence(self.attention.out)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, h w, width)
        return x + self.attention(tokens).transpose(1, 2).reshape(x.shape)


class UNet(nn.Module):
    """Residual convolutions down to a coarse grid and up again, with skips; the output is exactly 0 before training.

    Args:
        image_size: side of a square image, or (height, width), multiples of ``patch`` · 2^(levels − 1).
        channels: channels of the image; states are ``(B, channels, height, width)``.
        patch: the finest level has one pixel for each patch of so many by so many, which become its channels.
        widths: channels of each level, the finest first; each level halves the sides.
        blocks: residual blocks of a level, on the way down and again on the way up; the coarsest has them once.
        bottom: residual blocks of the coarsest level.
        heads: heads of the attention behind each block of the coarsest level; 0 for none.
        norm: what blocks normalise by: "group", the pixels and groups of channels of an image; "pixel", the channels of each
            pixel alone, which with ``channels_last`` is the faster.
        num_classes: number of class labels; ``y`` is then ``(B,)`` of integers, -1 or None for no label.
        condition_dim: length of a condition vector; ``y`` is then ``(B, condition_dim)``, a row of NaN or None for no condition.
        vector_dim: length of a further condition, ``vector`` ``(B, vector_dim)``, beside ``y``.
        image_channels: channels of an ``image`` to see beside the state (`conditions.seen_beside`).
        embedded: length of the vector of time and condition.
        time_features: number of sines and cosines of t (see `time_features`).

    Raises:
        ValueError, TypeError: an argument that cannot be, or a state, time or condition of another shape.

    Source: Ho et al. (arXiv 2006.11239), appendix B; scale and shift, Dhariwal & Nichol (arXiv 2105.05233), section 3;
    depth at the coarsest level, Hoogeboom et al. (arXiv 2301.11093), section 2.3.
    """

    name: ClassVar[str] = "unet"

    def __init__(
        self,
        image_size: int | Sequence[int],
        channels: int,
        patch: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        bottom: int = 2,
        heads: int = 4,
        norm: str = "group",
        *,
        num_classes: int | None = None,
        condition_dim: int | None = None,
        vector_dim: int | None = None,
        image_channels: int | None = None,
        embedded: int = 128,
        time_features: int = 64,
    ) -> None:
        super().__init__()
        size = [image_size, image_size] if isinstance(image_size, int) else list(image_size)
        self.config: dict[str, Any] = {
            "image_size": size,
            "channels": positive("channels", channels),
            "patch": positive("patch", patch),
            "widths": [positive("widths", width) for width in widths],
            "blocks": positive("blocks", blocks),
            "bottom": positive("bottom", bottom),
            "heads": heads,
            "norm": norm,
            "num_classes": num_classes,
            "condition_dim": condition_dim,
            "vector_dim": vector_dim,
            "image_channels": None if image_channels is None else positive("image_channels", image_channels),
            "embedded": positive("embedded", embedded),
            "time_features": check_features(time_features),
        }
        _check_geometry(size, patch, widths, heads)
        normalised = lookup("norm", norm, NORMS)
        self.shape, self.patch = (channels, *size), patch
        self.features, self.image_channels = time_features, image_channels
        seen = channels if image_channels is None else channels + image_channels + 1
        *upper, last = widths
        self.stem = nn.Conv2d(seen * patch * patch, widths[0], 3, padding=1)
        self.time = nn.Sequential(nn.Linear(max(time_features, 1), embedded), nn.SiLU(), nn.Linear(embedded, embedded))
        self.condition = condition(num_classes, condition_dim, embedded)
        self.vector = vector_condition(vector_dim, embedded)
        self.down, self.up, self.coarser, self.finer = (nn.ModuleList() for _ in range(4))
        for width, below in zip(upper, widths[1:], strict=True):
            self.down.append(nn.ModuleList(ResidualBlock(width, width, embedded, normalised) for _ in range(blocks)))
            self.up.append(nn.ModuleList(ResidualBlock(2 * width, width, embedded, normalised) for _ in range(blocks)))
            self.coarser.append(nn.Conv2d(width, below, 3, stride=2, padding=1))
            self.finer.append(nn.Conv2d(below, width, 1))
        self.bottom = nn.ModuleList(ResidualBlock(last, last, embedded, normalised) for _ in range(bottom))
        self.mixing = nn.ModuleList(Mixing(last, heads, normalised) if heads else nn.Identity() for _ in range(bottom))
        self.norm = normalised(widths[0])
        self.head = nn.Conv2d(widths[0], channels * patch * patch, 3, padding=1)
        silence(self.head)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        y: Tensor | None = None,
        vector: Tensor | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        """The prediction at ``x_t`` ``(B, C, H, W)``, ``t`` ``()`` or ``(B,)``: like ``x_t`` in shape, dtype."""
        check_images(x_t, t, self.shape)
        weight = self.head.weight
        c = self.time(time_features(t, self.features, weight))
        given = self.condition(y, x_t.shape[0])
        c = F.silu(add_vector(c if given is None else c + given, self.vector, vector, x_t.shape[0]))

        seen = seen_beside(x_t.to(weight.dtype), image, self.image_channels)
        hidden = self.stem(F.pixel_unshuffle(seen, self.patch))
        kept: list[Tensor] = []
        for level, coarser in zip(self.down, self.coarser, strict=True):
            for block in cast(nn.ModuleList, level):
                hidden = block(hidden, c)
                kept.append(hidden)
            hidden = coarser(hidden)
        for block, mixing in zip(self.bottom, self.mixing, strict=True):
            hidden = mixing(block(hidden, c))
        for level, finer in zip(reversed(self.up), reversed(self.finer), strict=True):
            hidden = F.interpolate(finer(hidden), scale_factor=2)
            for block in cast(nn.ModuleList, level):
                hidden = block(torch.cat([hidden, kept.pop()], dim=1), c)
        out = self.head(F.silu(self.norm(hidden)))
        return F.pixel_shuffle(out, self.patch).to(x_t.dtype)


def _check_geometry(size: list[int], patch: int, widths: Sequence[int], heads: int) -> None:
    if len(size) != 2 or not widths:
        raise ValueError(
            f"image_size must be one number or (height, width) and widths have a level, got {size}, {widths}"
        )
    whole = patch * 2 ** (len(widths) - 1)
    for side in size:
        if positive("image_size", side) % whole:
            raise ValueError(
                f"image_size {side} cannot be cut into patches of {patch} and halved {len(widths) - 1} times: "
                f"choose multiples of {whole}, or fewer widths"
            )
    if heads < 0 or (heads and widths[-1] % heads):
        raise ValueError(f"heads {heads} does not divide the last of widths {list(widths)}: 0 is no attention")
