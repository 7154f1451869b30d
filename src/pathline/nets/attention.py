"""Blocks of transformers: normalisation, attention and perceptron, modulated by time and condition."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pathline.nets.embed import rotate

EPS = 1e-6
NORMS = ("layer", "rms")
PERCEPTRONS = ("gelu", "swiglu")


def normalise(tokens: Tensor, norm: str = "layer") -> Tensor:
    """Tokens (..., width) over their root mean square, "layer" with their mean taken away before; no weights."""
    if norm == "rms":
        return F.rms_norm(tokens, tokens.shape[-1:], eps=EPS)
    return F.layer_norm(tokens, tokens.shape[-1:], eps=EPS)


def modulate(tokens: Tensor, shift: Tensor, scale: Tensor, norm: str = "layer") -> Tensor:
    """``(1 + scale) · normalise(tokens) + shift``;

    tokens ``(B, N, width)``, shift and scale ``(B | 1, 1, width)``.
    """
    return normalise(tokens, norm) * (1 + scale) + shift


# Up to here the scores fit into the cache, and two plain products are quicker than what the fused kernel does backwards.
_FEW_TOKENS = 256


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``softmax(q kᵀ/√d) v``; queries, keys and values ``(B, heads, N, d)``.

    On a CPU in half precision the gradient of torch's fused kernel takes 1.6 (196 tokens) to 6 times (49 tokens) as long as
    plain products, which are taken there instead.
    """
    if q.device.type == "cpu" and q.requires_grad and q.shape[-2] <= _FEW_TOKENS and _halved(q):
        return torch.softmax((q * q.shape[-1] ** -0.5) @ k.mT, dim=-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v.to(q.dtype))


def _halved(x: Tensor) -> bool:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype in (torch.bfloat16, torch.float16)


class Attention(nn.Module):
    """Self-attention of ``heads`` heads over tokens ``(B, N, width)``.

    With ``qk_norm`` queries and keys are divided by their root mean square and scaled by a learned vector each, so that
    their products cannot grow without bound (Dehghani et al., arXiv 2302.05442, section 2).
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.scales = nn.Parameter(torch.ones(2, width // heads)) if qk_norm else None

    def forward(self, tokens: Tensor, angles: "Tensor | None" = None) -> Tensor:
        """``angles`` (N, width / heads / 2) turn queries and keys (`rotate`)."""
        b, n, width = tokens.shape
        qkv = self.qkv(tokens).reshape(b, n, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, width / heads)
        if self.scales is not None:
            q, k = (normalise(each, "rms") * scale for each, scale in zip((q, k), self.scales, strict=True))
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        mixed = attend(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(b, n, width))


class SwiGLU(nn.Module):
    """``out(silu(gate(x)) · value(x))`` with ``hidden`` units (Shazeer, arXiv 2002.05202, eq. 6)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.both = nn.Linear(width, 2 * hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        gate, value = self.both(tokens).chunk(2, dim=-1)
        return self.out(F.silu(gate) * value)


def perceptron(kind: str, width: int, hidden: int) -> nn.Module:
    """The perceptron of a block; "swiglu" gets two thirds of the ``hidden`` units, which is as many weights."""
    if kind == "swiglu":
        return SwiGLU(width, max(1, round(2 * hidden / 3)))
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Block(nn.Module):
    """Attention, then a perceptron, each on modulated tokens and gated into the residual stream."""

    modulations: ClassVar[int] = 6

    def __init__(
        self, width: int, heads: int, hidden: int, *, norm: str = "layer", qk_norm: bool = False, mlp: str = "gelu"
    ) -> None:
        super().__init__()
        self.norm = norm
        self.attention = Attention(width, heads, qk_norm=qk_norm)
        self.mlp = perceptron(mlp, width, hidden)

    def forward(self, tokens: Tensor, modulation: Sequence[Tensor], angles: "Tensor | None" = None) -> Tensor:
        """``modulation``: shift, scale, gate of attention and of perceptron, each ``(B | 1, 1, width)``."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation
        tokens = tokens + gate_a * self.attention(modulate(tokens, shift_a, scale_a, self.norm), angles)
        return tokens + gate_m * self.mlp(modulate(tokens, shift_m, scale_m, self.norm))
