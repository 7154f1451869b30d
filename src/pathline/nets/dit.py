"""A transformer over image patches, modulated by time and condition."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pathline._shapes import check_state
from pathline.nets.base import check_features, check_time_shape, condition, positive, time_features
from pathline.nets.conditions import add_vector, seen_beside, vector_condition


def patchify(x: Tensor, patch: int) -> Tensor:
    """``(B, C, H, W)`` to tokens ``(B, N, C p p)`` with N = H W / p²; rows of patches first."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, (h // patch) * (w // patch), c * patch * patch)


def unpatchify(tokens: Tensor, shape: Sequence[int], patch: int) -> Tensor:
    """The inverse of `patchify`: ``(B, N, C p p)`` to ``shape`` = ``(B, C, H, W)``."""
    b, c, h, w = shape
    x = tokens.reshape(b, h // patch, w // patch, c, patch, patch)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


def positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed 2-D positions ``(rows · columns, width)``: sin and cos of row and of column, a quarter each,
    at frequencies 10000^(−k/(width/4))."""
    quarter = width // 4
    omega = torch.exp(-math.log(10000.0) * torch.arange(quarter) / quarter)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = torch.cat([row.reshape(-1, 1) * omega, column.reshape(-1, 1) * omega], dim=-1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def modulate(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``(1 + scale) · normalise(tokens) + shift``;

    tokens ``(B, N, width)``, shift and scale ``(B | 1, 1, width)``.
    """
    return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Attention(nn.Module):
    """Self-attention of ``heads`` heads over tokens ``(B, N, width)``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        b, n, width = tokens.shape
        qkv = self.qkv(tokens).reshape(b, n, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, width / heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(b, n, width))


class Block(nn.Module):
    """Attention, then a perceptron, each on modulated tokens and gated into the residual stream."""

    modulations: ClassVar[int] = 6

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor, modulation: Sequence[Tensor]) -> Tensor:
        """``modulation``: shift, scale, gate of attention and of perceptron, each ``(B | 1, 1, width)``."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation
        tokens = tokens + gate_a * self.attention(modulate(tokens, shift_a, scale_a))
        return tokens + gate_m * self.mlp(modulate(tokens, shift_m, scale_m))


class DiT(nn.Module):
    """Patches → ``depth`` blocks with adaLN-Zero → patches; the output is exactly 0 before training.

    One vector per sample, ``c = perceptron(features(t)) + embed(y)``, gives the shifts, scales and gates
    of all blocks in one product. It is computed once for the whole batch when ``t`` is ``()`` and ``y`` is None.

    Args:
        image_size: side of a square image, or (height, width); both must be multiples of ``patch``.
        channels: channels of the image; states are ``(B, channels, height, width)``.
        patch: side of a patch.
        width: length of a token; a multiple of ``heads`` and of 4.
        depth: number of blocks.
        heads: attention heads.
        num_classes: number of class labels; ``y`` is then ``(B,)`` of integers, -1 or None for no label.
        condition_dim: length of a condition vector; ``y`` is then ``(B, condition_dim)``, a row of NaN or
            None for no condition.
        vector_dim: length of a further condition, ``vector`` ``(B, vector_dim)``, beside ``y``.
        image_channels: channels of an ``image`` ``(B, image_channels, h, w)`` to see beside the state, NaN where it is not known
            (`conditions.seen_beside`): image to image, super-resolution, inpainting.
        bottleneck: rank of the patch embedding, two products through that many units; None for one product.
        mlp_ratio: units of a block's perceptron over ``width``.
        time_features: number of sines and cosines of t (see `time_features`).

    Raises:
        ValueError, TypeError: an argument that cannot be, or a state, time or condition of another shape.

    Source: adaLN-Zero, Peebles & Xie (arXiv 2212.09748), section 3.2; the bottleneck, Li & He
    (arXiv 2511.13720), section 4. The fused attentions of CPU and GPU have neither a forward-mode nor a
    second derivative: take those inside ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``.
    """

    name: ClassVar[str] = "dit"

    def __init__(
        self,
        image_size: int | Sequence[int],
        channels: int,
        patch: int = 2,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        *,
        num_classes: int | None = None,
        condition_dim: int | None = None,
        vector_dim: int | None = None,
        image_channels: int | None = None,
        bottleneck: int | None = None,
        mlp_ratio: float = 4.0,
        time_features: int = 64,
    ) -> None:
        super().__init__()
        size = [image_size, image_size] if isinstance(image_size, int) else list(image_size)
        self.config: dict[str, Any] = {
            "image_size": size,
            "channels": positive("channels", channels),
            "patch": positive("patch", patch),
            "width": positive("width", width),
            "depth": positive("depth", depth),
            "heads": positive("heads", heads),
            "num_classes": num_classes,
            "condition_dim": condition_dim,
            "vector_dim": vector_dim,
            "image_channels": None if image_channels is None else positive("image_channels", image_channels),
            "bottleneck": None if bottleneck is None else positive("bottleneck", bottleneck),
            "mlp_ratio": mlp_ratio,
            "time_features": check_features(time_features),
        }
        _check_geometry(size, patch, width, heads, mlp_ratio)
        self.shape = (channels, *size)
        self.patch = patch
        self.features = time_features
        pixels = channels * patch * patch
        self.image_channels = image_channels
        seen = pixels if image_channels is None else pixels + (image_channels + 1) * patch * patch
        self.embed = (
            nn.Linear(seen, width)
            if bottleneck is None
            else nn.Sequential(nn.Linear(seen, bottleneck, bias=False), nn.Linear(bottleneck, width))
        )
        self.time = nn.Sequential(nn.Linear(max(time_features, 1), width), nn.SiLU(), nn.Linear(width, width))
        self.condition = condition(num_classes, condition_dim, width)
        self.vector = vector_condition(vector_dim, width)
        hidden = max(1, round(width * mlp_ratio))
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.modulation = nn.Linear(width, (Block.modulations * depth + 2) * width)
        self.head = nn.Linear(width, pixels)
        self.register_buffer("positions", positions(size[0] // patch, size[1] // patch, width), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        for layer in (self.modulation, self.head):
            nn.init.zeros_(layer.weight)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        y: Tensor | None = None,
        vector: Tensor | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        """The prediction at ``x_t`` ``(B, C, H, W)``, ``t`` ``()`` or ``(B,)``: like ``x_t`` in shape, dtype."""
        check_state(x_t, "x_t")
        check_time_shape(t, x_t)
        if x_t.shape[1:] != self.shape:
            raise ValueError(
                f"x_t must have shape (B, {', '.join(map(str, self.shape))}), channels first, got {tuple(x_t.shape)}"
            )
        weight = self.head.weight
        seen = seen_beside(x_t.to(weight.dtype), image, self.image_channels)
        tokens = self.embed(patchify(seen, self.patch)) + self.positions

        c = self.time(time_features(t, self.features, weight))
        given = self.condition(y, x_t.shape[0])
        if given is not None:
            c = c + given
        c = add_vector(c, self.vector, vector, x_t.shape[0])
        rows = self.modulation(F.silu(c)).reshape(c.shape[0], 1, -1, tokens.shape[-1]).unbind(2)

        for i, block in enumerate(self.blocks):
            tokens = block(tokens, rows[Block.modulations * i : Block.modulations * (i + 1)])
        patches = self.head(modulate(tokens, *rows[-2:]))
        return unpatchify(patches, x_t.shape, self.patch).to(x_t.dtype)


def _check_geometry(size: list[int], patch: int, width: int, heads: int, mlp_ratio: float) -> None:
    if len(size) != 2:
        raise ValueError(f"image_size must be one number or (height, width), got {size}")
    for side in size:
        if positive("image_size", side) % patch:
            raise ValueError(f"patch {patch} does not divide image_size {side}: choose a divisor of both sides")
    if width % heads:
        raise ValueError(f"heads {heads} does not divide width {width}: each head takes width / heads units")
    if width % 4:
        raise ValueError(f"width must be a multiple of 4 (sin and cos of row and of column), got {width}")
    if not mlp_ratio > 0:
        raise ValueError(f"mlp_ratio must be positive, got {mlp_ratio}")
