"""Errors over particles of which a few rule the mean.

Where the flow divides, a particle that ends elsewhere is off by the distance of the data, hundreds of times what the others
are: in an RMS it outweighs them all, and a fit follows it instead of them. What holds for one set of particles then says
little about another.
"""

import math

import torch
from torch import Tensor


def squared(off: Tensor) -> Tensor:
    """Mean square of each row (B, ...), float64 (B,)."""
    return off.double().square().flatten(1).mean(1)


def typical(squares: Tensor, parts: int = 16) -> float:
    """The mean over ``parts`` of the particles of their RMS, on which a single particle weighs a quarter of what it does in
    the RMS of all.

    >>> squares = torch.full((160,), 1e-4)
    >>> squares[7] = 1.0  # the RMS becomes 0.08
    >>> round(typical(squares), 3)
    0.029
    """
    means = [part.mean() for part in squares.tensor_split(min(parts, len(squares)))]
    return float(torch.stack(means).double().sqrt().mean())


def cauchy(squares: Tensor, scale: float) -> Tensor:
    """Mean of c² log(1 + r²/c²): squares below the ``scale`` c, logarithms above; the mean square for an infinite scale."""
    return squares.mean() if math.isinf(scale) else scale**2 * torch.log1p(squares / scale**2).mean()


def cauchy_weights(squares: Tensor, scale: float) -> Tensor:
    """1/(1 + r²/c²) (B,): what a particle counts in the least-squares problem that has the same slope."""
    return 1.0 / (1.0 + squares / scale**2)
