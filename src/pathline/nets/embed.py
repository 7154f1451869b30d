"""Images as rows of patches, and the places of patches."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


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
    angles = _angles(rows, columns, width // 4)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def rotations(rows: int, columns: int, width: int, ahead: int = 0) -> Tensor:
    """Angles ``(ahead + rows · columns, width / 2)`` by which `rotate` turns pairs of a head of ``width`` units.

    The first half of the angles is that of the row, the second that of the column, each at ``width / 4`` frequencies
    10000^(−k/(width/4)); the first ``ahead`` tokens have no place and are not turned.
    Source: Su et al. (arXiv 2104.09864), eq. 15, along two axes.
    """
    angles = _angles(rows, columns, width // 4)
    return torch.cat([angles.new_zeros(ahead, angles.shape[1]), angles])


def rotate(heads: Tensor, angles: Tensor) -> Tensor:
    """The pairs (x_k, x_{k + width/2}) of ``heads`` (..., N, width) turned by ``angles`` (N, width / 2).

    Inner products of a query and a key then depend on the difference of their places alone.
    """
    cos, sin = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    a, b = heads.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _angles(rows: int, columns: int, count: int) -> Tensor:
    """Row and column of each patch times ``count`` frequencies: (rows · columns, 2 count)."""
    omega = torch.exp(-math.log(10000.0) * torch.arange(count) / count)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.cat([row.reshape(-1, 1) * omega, column.reshape(-1, 1) * omega], dim=-1)
