"""A transformer over image patches, modulated by time and condition."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pathline.nets.attention import NORMS, PERCEPTRONS, Block, modulate
from pathline.nets.base import check_features, check_images, condition, positive, time_features
from pathline.nets.conditions import add_vector, seen_beside, vector_condition
from pathline.nets.embed import patchify, positions, rotations, unpatchify


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
        norm: "layer", or "rms", which does not take the mean away.
        qk_norm: normalise queries and keys (see `Attention`).
        rope: turn queries and keys by their places, besides the positions that are added to the tokens; heads then have a
            multiple of 4 units.
        mlp: perceptron of a block, "gelu" or "swiglu".
        mlp_ratio: units of a block's perceptron over ``width``; two thirds of that with "swiglu", for as many weights.
        class_tokens: tokens put before the patches that carry the condition ``y``, besides the modulation; 0 for none.
        class_start: block before which they are put there.
        time_features: number of sines and cosines of t (see `time_features`).

    Raises:
        ValueError, TypeError: an argument that cannot be, or a state, time or condition of another shape.

    Source: adaLN-Zero, Peebles & Xie (arXiv 2212.09748), section 3.2. All options from ``bottleneck`` to ``class_start``
    together are the net of Li & He (arXiv 2511.13720), section 4: JiT-B/16 is ``DiT(256, 3, 16, 768, 12, 12,
    num_classes=1000, bottleneck=128, norm="rms", qk_norm=True, rope=True, mlp="swiglu", class_tokens=32, class_start=4)``,
    best with `pathline.DATA` prediction and the loss in velocity. The fused attentions of CPU and GPU have neither a forward-mode nor a
    second derivative: take those inside ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``.
    """

    name: ClassVar[str] = "dit"
    positions: Tensor
    turns: "Tensor | None"

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
        norm: str = "layer",
        qk_norm: bool = False,
        rope: bool = False,
        mlp: str = "gelu",
        mlp_ratio: float = 4.0,
        class_tokens: int = 0,
        class_start: int = 0,
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
            "norm": norm,
            "qk_norm": qk_norm,
            "rope": rope,
            "mlp": mlp,
            "mlp_ratio": mlp_ratio,
            "class_tokens": class_tokens,
            "class_start": class_start,
            "time_features": check_features(time_features),
        }
        _check_geometry(size, patch, width, heads, mlp_ratio)
        _check_options(self.config)
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
        self.norm, self.class_start = norm, class_start
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, norm=norm, qk_norm=qk_norm, mlp=mlp) for _ in range(depth)
        )
        self.places = nn.Parameter(0.02 * torch.randn(class_tokens, width)) if class_tokens else None
        self.modulation = nn.Linear(width, (Block.modulations * depth + 2) * width)
        self.head = nn.Linear(width, pixels)
        rows, columns = size[0] // patch, size[1] // patch
        self.register_buffer("positions", positions(rows, columns, width), persistent=False)
        turns = rotations(rows, columns, width // heads, ahead=class_tokens) if rope else None
        self.register_buffer("turns", turns, persistent=False)
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
        check_images(x_t, t, self.shape)
        weight = self.head.weight
        seen = seen_beside(x_t.to(weight.dtype), image, self.image_channels)
        tokens = self.embed(patchify(seen, self.patch)) + self.positions

        c = self.time(time_features(t, self.features, weight))
        given = self.condition(y, x_t.shape[0])
        if given is not None:
            c = c + given
        c = add_vector(c, self.vector, vector, x_t.shape[0])
        rows = self.modulation(F.silu(c)).reshape(c.shape[0], 1, -1, tokens.shape[-1]).unbind(2)

        ahead = 0
        for i, block in enumerate(self.blocks):
            if self.places is not None and given is not None and i == self.class_start:
                carried = (given[:, None] + self.places).expand(len(tokens), -1, -1)
                tokens, ahead = torch.cat([carried.to(tokens.dtype), tokens], dim=1), len(self.places)
            angles = None if self.turns is None else self.turns[-tokens.shape[1] :]
            tokens = block(tokens, rows[Block.modulations * i : Block.modulations * (i + 1)], angles)
        shift, scale = rows[-2:]
        patches = self.head(modulate(tokens[:, ahead:], shift, scale, self.norm))
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


def _check_options(given: dict[str, Any]) -> None:
    for name, known in (("norm", NORMS), ("mlp", PERCEPTRONS)):
        if given[name] not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {given[name]!r}")
    if given["rope"] and given["width"] // given["heads"] % 4:
        raise ValueError(
            f"rope needs heads of a multiple of 4 units, got {given['width']} / {given['heads']}: change width or heads"
        )
    tokens, start = given["class_tokens"], given["class_start"]
    if tokens < 0 or not 0 <= start < given["depth"]:
        raise ValueError(
            f"class_tokens must be at least 0 and class_start lie in 0 … {given['depth'] - 1}, got {tokens} and {start}"
        )
    if tokens and given["num_classes"] is None and given["condition_dim"] is None:
        raise ValueError(f"class_tokens {tokens} carry a condition, but there is none: give num_classes")
