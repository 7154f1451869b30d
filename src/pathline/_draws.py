"""Random numbers of a batch, also where it is worked on in parts: by several processes, or piece by piece."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor


class Draws:
    """Draws for a whole batch of ``total`` rows, handed out by parts: used in place of a generator.

    The k-th draw of a part is the part's rows of what the k-th draw of the whole batch would be, so that parts together
    see the numbers that the batch sees in one piece. Each draw is made once, for all rows, and the rows of ``mine`` are
    kept until `begin`; `part` says which of them the next draws are for.
    """

    def __init__(self, generator: torch.Generator, total: int, mine: slice) -> None:
        self.generator, self.total, self.mine = generator, total, mine
        self._kept: list[Tensor] = []
        self._rows, self._next = slice(0, 0), 0

    def begin(self) -> None:
        """A new batch: what was drawn for the last one is forgotten."""
        self._kept = []

    def part(self, rows: slice) -> "Draws":
        """Draws for ``rows``, counted from the first one of ``mine``."""
        self._rows, self._next = rows, 0
        return self

    def take(self, n: int, draw: Callable[[int], Tensor]) -> Tensor:
        """``n`` rows of ``draw(total)``, which draws from the generator."""
        if n != self._rows.stop - self._rows.start:
            raise ValueError(
                f"this part of the batch has {self._rows.stop - self._rows.start} rows, {n} were asked for"
            )
        if self._next == len(self._kept):
            whole = draw(self.total)
            own = whole[self.mine]
            self._kept.append(own if len(own) == self.total else own.clone())  # let go of the rest
        self._next += 1
        return self._kept[self._next - 1][self._rows]


Randomness: TypeAlias = torch.Generator | Draws | None
"""Where random numbers come from; None is the generator of torch."""


def rand(
    n: int,
    generator: Randomness = None,
    *,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
) -> Tensor:
    """``n`` numbers from U(0, 1), one a row of the batch."""
    if isinstance(generator, Draws):
        own = generator.generator
        return generator.take(n, lambda total: torch.rand(total, generator=own, device=device, dtype=dtype))
    return torch.rand(n, generator=generator, device=device, dtype=dtype)


def rand_like(x: Tensor, generator: Randomness = None) -> Tensor:
    """Numbers from U(0, 1) in the shape of ``x`` (B, ...)."""
    if isinstance(generator, Draws):
        own = generator.generator
        return generator.take(len(x), lambda total: x.new_empty(total, *x.shape[1:]).uniform_(generator=own))
    return torch.empty_like(x).uniform_(generator=generator)


def normal_like(x: Tensor, generator: Randomness = None) -> Tensor:
    """Standard normal numbers in the shape of ``x`` (B, ...)."""
    if isinstance(generator, Draws):
        own = generator.generator
        return generator.take(len(x), lambda total: x.new_empty(total, *x.shape[1:]).normal_(generator=own))
    return torch.empty_like(x).normal_(generator=generator)
