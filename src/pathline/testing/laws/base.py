"""How a broken law is told, and what the checks share."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pathline.paths import AffinePath
from pathline.schedules import EDM, VE, VP, Cosine, Linear, Polynomial, Schedule, Trig


class LawBroken(AssertionError):
    """A part does not do what its kind promises; the message says which law, what was seen, and where to look."""


def require(holds: "bool | Tensor", law: str, seen: str, hint: str = "") -> None:
    """Raise `LawBroken` in words unless ``holds``."""
    if not bool(holds):
        raise LawBroken(f"{law}. Seen: {seen}." + (f" {hint}" if hint else ""))


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether a and b agree to ``tolerance``, relative to the largest entry of b (at least 1)."""
    return gap(a, b) <= tolerance


def gap(a: Tensor, b: Tensor) -> float:
    """max |a - b| / max(1, max |b|); infinite if a value is not finite or the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    if a.numel() == 0:
        return 0.0
    a, b = a.double(), b.double()
    value = float((a - b).abs().max() / b.abs().max().clamp(min=1.0))
    return value if value == value else float("inf")


def generator(seed: int = 0) -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(seed)


def schedules() -> Iterator[Schedule]:
    """One schedule of each kind with a closed form, at its usual settings."""
    yield from (Linear(), VP(), Cosine(), Trig(), Polynomial(2.0), VE(0.01, 50.0), EDM())


def states() -> Iterator[Tensor]:
    """Batches of rank 1 to 4, with the batch equal to another axis."""
    for shape in ((3,), (3, 3), (3, 2, 3), (3, 1, 3, 2)):
        yield torch.randn(shape, generator=generator(sum(shape)), dtype=torch.float64)


def linear_path() -> AffinePath:
    """x_t = t x_1 + (1 - t) x_0."""
    return AffinePath(Linear())
