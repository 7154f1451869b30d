"""Random numbers of a batch, also where it is worked on in parts: by several processes, or piece by piece.

They are drawn where the generator lives and moved to where they are needed: a generator of the CPU serves every device,
with the same numbers.
"""

from collections.abc import Callable, Sequence
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


def home(generator: torch.Generator | None, otherwise: "torch.device | str" = "cpu") -> torch.device:
    """The device of ``generator``; ``otherwise`` if there is none."""
    return torch.device(otherwise) if generator is None else generator.device


def rand(
    n: int,
    generator: Randomness = None,
    *,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
) -> Tensor:
    """``n`` numbers from U(0, 1), one a row of the batch."""
    device = torch.get_default_device() if device is None else device
    if isinstance(generator, Draws):
        own = generator.generator
        return generator.take(n, lambda total: torch.rand(total, generator=own, device=own.device, dtype=dtype)).to(
            device
        )
    at = home(generator, device)
    return torch.rand(n, generator=generator, device=at, dtype=dtype).to(device)


def rand_like(x: Tensor, generator: Randomness = None) -> Tensor:
    """Numbers from U(0, 1) in the shape of ``x`` (B, ...)."""
    if isinstance(generator, Draws):
        own = generator.generator
        return generator.take(len(x), lambda total: _rows(total, x, own).uniform_(generator=own)).to(x.device)
    return torch.empty_like(x, device=home(generator, x.device)).uniform_(generator=generator).to(x.device)


def normal_like(x: Tensor, generator: Randomness = None) -> Tensor:
    """Standard normal numbers in the shape of ``x`` (B, ...)."""
    if isinstance(generator, Draws):
        own = generator.generator
        return generator.take(len(x), lambda total: _rows(total, x, own).normal_(generator=own)).to(x.device)
    return torch.empty_like(x, device=home(generator, x.device)).normal_(generator=generator).to(x.device)


def normal(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Standard normal numbers of ``like``'s dtype, on its device."""
    at = home(generator, like.device)
    return torch.randn(*shape, generator=generator, device=at, dtype=like.dtype).to(like.device)


def integers(high: int, n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """``n`` of 0 … high − 1, int64."""
    return torch.randint(high, (n,), generator=generator, device=home(generator, device)).to(device)


def permutation(n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """A random order of 0 … n − 1."""
    return torch.randperm(n, generator=generator, device=home(generator, device)).to(device)


def chosen(weights: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """``n`` indices that are as likely as their ``weights`` (K,) or (B, K), int64, with replacement."""
    at = weights.to(home(generator, weights.device))
    return torch.multinomial(at, n, replacement=True, generator=generator).to(weights.device)


def _rows(total: int, x: Tensor, generator: torch.Generator) -> Tensor:
    return x.new_empty(total, *x.shape[1:], device=generator.device)
