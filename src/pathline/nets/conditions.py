"""Conditions beside ``y``: an image seen next to the state, pixel by pixel, and how it goes missing."""

import torch
from torch import Tensor

from pathline.nets.base import VectorEmbedding, positive


def seen_beside(x_t: Tensor, image: Tensor | None, channels: int | None) -> Tensor:
    """``x_t`` (B, C, H, W) with the condition ``image`` (B, channels, h, w) and its mask as ``channels`` + 1 further channels.

    Pixels that are NaN are unknown: they enter as 0, and the mask, which is 1 where every channel is known, tells them from black. So an
    image to be filled in is given with its hole as NaN, and None or all NaN is no image. One that is smaller by a whole factor is
    repeated to the size of the state (super-resolution). Raises ValueError for an image that a net without ``channels`` would
    ignore, and for a shape that does not fit.
    """
    if channels is None:
        if image is not None:
            raise ValueError("this net takes no image, but one was given: build it with image_channels")
        return x_t
    b, _, h, w = x_t.shape
    if image is None:
        return torch.cat([x_t, x_t.new_zeros(b, channels + 1, h, w)], dim=1)
    if not image.is_floating_point():
        raise TypeError(f"image must be a floating tensor, got dtype {image.dtype}: scale it to the range of the data")
    fits = image.ndim == 4 and len(image) == b and image.shape[1] == channels
    if not fits or h % image.shape[2] or w % image.shape[3]:
        raise ValueError(
            f"image must have shape ({b}, {channels}, {h}, {w}), or sides that divide {h} and {w}, got {tuple(image.shape)}"
        )
    rows, columns = h // image.shape[2], w // image.shape[3]
    if rows > 1 or columns > 1:
        image = image.repeat_interleave(rows, 2).repeat_interleave(columns, 3)
    missing = image.isnan()
    known = (~missing).all(dim=1, keepdim=True)
    return torch.cat([x_t, image.masked_fill(missing, 0.0).to(x_t.dtype), known.to(x_t.dtype)], dim=1)


def vector_condition(vector_dim: int | None, width: int) -> VectorEmbedding | None:
    """The embedding of the condition ``vector`` (B, vector_dim), None for a net that takes none."""
    return None if vector_dim is None else VectorEmbedding(positive("vector_dim", vector_dim), width)


def add_vector(hidden: Tensor, embedding: VectorEmbedding | None, vector: Tensor | None, batch: int) -> Tensor:
    """``hidden`` (B | 1, width) plus the embedded ``vector``, whose None is its learned null."""
    if embedding is None:
        if vector is not None:
            raise ValueError("this net takes no vector, but one was given: build it with vector_dim")
        return hidden
    return hidden + embedding(vector, batch)
